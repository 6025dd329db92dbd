"""The loss of a set of masks: matching, terms, points."""
import re

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch.overrides import TorchFunctionMode

from mmvitlin.engine.runner.config import load_config
from mmvitlin.models.losses.mask_set import MaskSetLoss
from mmvitlin.models.losses.mask_targets import ClassMasks, InstanceMasks
from mmvitlin.utils.errors import ConfigError
from tests.conftest import ROOT
from tests.detecting import needs_mmdet
from tests.models.test_eomt import batch, segmentor


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmseg')


def test_what_is_given_costs_least():
    """Queries are matched to the targets that they have, and pay for what they have not."""
    labels = torch.zeros(1, 32, 32, dtype=torch.long)
    labels[0, :, 16:] = 2
    masks = torch.stack([labels[0] == 0, labels[0] == 2])
    target, loss = InstanceMasks(torch.tensor([0, 2]), masks), MaskSetLoss(3)
    logits = (masks.float() * 2 - 1).flip(0)[None] * 9
    classes = torch.tensor([[[-9., -9, 9, -9], [9, -9, -9, -9]]])
    (pair, ), = loss.match([classes], [logits], [target])
    assert [t.tolist() for t in pair] == [[0, 1], [1, 0]]
    losses = loss([classes], [logits], [target])
    assert losses['loss_cls'] < 1e-3
    assert loss([classes.roll(1, -1)], [logits], [target])['loss_cls'] > 10
    for name in ('loss_mask', 'loss_dice'):
        assert losses[name] < 0.6 * loss([classes], [0 * logits], [target])[name]


def same_points(*shape, device=None):
    """For ``torch.rand``: the same numbers whenever a shape is drawn, whatever came before."""
    shape = shape[0] if isinstance(shape[0], tuple) else shape
    return torch.empty(shape).uniform_(generator=torch.Generator().manual_seed(sum(shape)))


def copies_to_the_host(run):
    """Shapes of the tensors that are copied, and what ``run`` gives."""
    copies = []

    class Copies(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            if func in (torch.Tensor.cpu, torch.Tensor.item, torch.Tensor.tolist):
                copies.append(args[0].shape)
            return func(*args, **(kwargs or {}))

    with Copies():
        return copies, run()


def test_the_host_waits_once_for_all_matches():
    targets = [InstanceMasks(torch.tensor(labels), torch.rand(len(labels), 8, 8) > 0.5)
               for labels in ([0, 2], [], [1])]
    classes, masks = [torch.randn(3, 5, 4)] * 2, [torch.randn(3, 5, 8, 8)] * 2
    loss = MaskSetLoss(3, num_points=20)
    copies, matches = copies_to_the_host(lambda: loss.match(classes, masks, targets))
    assert copies == [(2 * 5 * (2 + 1), )]
    assert [[len(queries) for queries, _ in row] for row in matches] == [[2, 0, 1]] * 2


def test_label_maps_are_matched_as_their_masks(monkeypatch):
    """Losses and gradients, with one wait; classes that an image lacks are no targets."""
    torch.manual_seed(0)
    maps = [torch.randint(1, 3, (1, 16, 24)), torch.full((1, 16, 24), 255),
            torch.randint(0, 2, (1, 16, 24)) * 3]
    classes = [torch.randn(3, 5, 5, requires_grad=True) for _ in range(2)]
    masks = [torch.randn(3, 5, 8, 12, requires_grad=True) for _ in range(2)]
    monkeypatch.setattr(torch, 'rand', same_points)
    loss = MaskSetLoss(4, num_points=40)
    shown = [torch.tensor(some, dtype=torch.long) for some in ([1, 2], [], [0, 3])]
    made = [InstanceMasks(some, label_map == some[:, None, None])
            for label_map, some in zip(maps, shown, strict=True)]
    read = [ClassMasks(label_map, 4, 255) for label_map in maps]
    copies, matches = copies_to_the_host(lambda: loss.match(classes, masks, read))
    assert copies == [(2 * 3 * 5 * 4 + 3 * 4, )]
    for one, other in zip(matches, loss.match(classes, masks, made), strict=True):
        for (queries, index), (same, number), target in zip(one, other, made, strict=True):
            assert queries.tolist() == same.tolist()
            assert index.tolist() == target.labels[number].tolist()
    losses, expected = (loss(classes, masks, targets) for targets in (read, made))
    assert losses.keys() == expected.keys()
    for name, value in losses.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-5)
    for result, other in zip(*(torch.autograd.grad(sum(v.values()), classes + masks)
                               for v in (losses, expected)), strict=True):
        torch.testing.assert_close(result, other, rtol=1e-4, atol=1e-6)


def head(scope, **options):
    path = ROOT / 'configs/seg/mask2former_adventurer-base_cityscapes-1024.py'
    cfg = load_config(str(path)).model.decode_head
    cfg.update(type=f'{scope}.Mask2FormerHead', num_queries=9, num_classes=4,
               in_channels=[16] * 4)
    cfg.loss_cls.class_weight = [1.] * 4 + [0.1]
    cfg.pixel_decoder.encoder.num_layers = cfg.transformer_decoder.num_layers = 1
    cfg.train_cfg.num_points = 80
    whole = Config(dict(head=cfg))
    whole.merge_from_dict({f'head.{key}': value for key, value in options.items()})
    return MODELS.build(whole.head)


@needs_mmdet
def test_the_loss_is_mask2former_s(monkeypatch):
    """mmseg's head with the same random points: every term of two predictions, and gradients."""
    ours, reference = head('mmvitlin'), head('mmseg')
    assert ours.state_dict().keys() == reference.state_dict().keys()
    ours.load_state_dict(reference.state_dict())
    samples = batch()[1]
    x = [torch.randn(len(samples), 16, 64 >> n, 96 >> n, requires_grad=True) for n in range(4)]
    monkeypatch.setattr(torch, 'rand', same_points)
    actual, expected = (h.loss(x, samples, None) for h in (ours, reference))
    assert actual.keys() == expected.keys()
    assert len(actual) == 6
    for name, loss in actual.items():
        torch.testing.assert_close(loss, expected[name].squeeze(), rtol=1e-4, atol=1e-4)
    for result, other in zip(*(torch.autograd.grad(sum(v.values()), x)
                               for v in (actual, expected)), strict=True):
        assert (result - other).norm() <= 1e-4 * other.norm()


@needs_mmdet
def test_mask2former_waits_once(monkeypatch):
    ours, samples = head('mmvitlin'), batch()[1]
    x = [torch.randn(len(samples), 16, 64 >> n, 96 >> n) for n in range(4)]
    copies, _ = copies_to_the_host(lambda: ours.loss(x, samples, None))
    assert len(copies) == 1


@needs_mmdet
@pytest.mark.parametrize(('options', 'key'), [
    ({'loss_cls.class_weight': [1., 2., 1., 1., 0.1]}, 'decode_head.loss_cls.class_weight'),
    ({'loss_dice.eps': 1e-3}, 'decode_head.loss_dice.eps is 0.001'),
    ({'loss_mask.type': 'mmdet.FocalLoss'}, "decode_head.loss_mask.type is 'FocalLoss'"),
    ({'loss_cls.ignore_index': 3}, 'decode_head.loss_cls.ignore_index is 3')])
def test_other_losses_are_refused(options, key):
    with pytest.raises(ConfigError, match=re.escape(key)):
        head('mmvitlin', **options)
    if 'loss_mask.type' not in options:  # which has options of its own
        head('mmseg', **options)


def test_what_is_not_finite_is_left_to_the_hook():
    """Matching has some result, and the loss says it."""
    target = ClassMasks(torch.zeros(1, 16, 16, dtype=torch.long), 3, 255)
    loss = MaskSetLoss(3)
    for bad in (float('nan'), float('inf')):
        losses = loss([torch.full((1, 4, 4), bad)], [torch.full((1, 4, 8, 8), bad)], [target])
        assert not torch.stack(list(losses.values())).sum().isfinite()


@pytest.mark.parametrize(('options', 'words'), [
    (dict(weights=dict(bce=9.)), r"loss.weights has \['bce'\]; there are 'cls', 'mask' and 'dice'"),
    (dict(oversample_ratio=0.5), 'importance_sample_ratio=0.75 must be .*oversample_ratio=0.5')])
def test_options_that_cannot_be(options, words):
    with pytest.raises(ConfigError, match=words):
        MaskSetLoss(3, **options)


def test_probabilities_are_the_same_of_one_view_and_of_the_same_view_twice():
    net = segmentor('softmax', top_k=1, probabilities=True).eval()
    with torch.no_grad():
        once, twice = (net.decide(net.row_sources(torch.randn(
            1, 3, 96, 128, generator=torch.Generator().manual_seed(1))) * count)
            for count in (1, 2))
    torch.testing.assert_close(once['class_probs'], twice['class_probs'], atol=1e-3, rtol=0)
    torch.testing.assert_close(once['top_probs'], twice['top_probs'], atol=1e-3, rtol=0)
