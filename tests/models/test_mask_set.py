"""The loss of a set of masks: matching, terms, points."""
import pytest
import torch
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData
from torch.overrides import TorchFunctionMode

from mmvitlin.engine.runner.config import load_config
from mmvitlin.models.losses.mask_set import MaskSetLoss, sample_points
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
    target, loss = InstanceData(labels=torch.tensor([0, 2]), masks=masks), MaskSetLoss(3)
    logits = (masks.float() * 2 - 1).flip(0)[None] * 9
    classes = torch.tensor([[[-9., -9, 9, -9], [9, -9, -9, -9]]])
    (pair, ), = loss.match([classes], [logits], [target])
    assert [t.tolist() for t in pair] == [[0, 1], [1, 0]]
    losses = loss([classes], [logits], [target])
    assert losses['loss_cls'] < 1e-3
    assert loss([classes.roll(1, -1)], [logits], [target])['loss_cls'] > 10
    for name in ('loss_mask', 'loss_dice'):
        assert losses[name] < 0.6 * loss([classes], [0 * logits], [target])[name]


def test_points_are_read_as_mmcv_s_are():
    maps = torch.arange(6.).view(1, 2, 3)
    points = torch.tensor([[[0.5, 0.5], [0.5 / 3, 0.25], [2 / 3, 0.75]]])
    assert sample_points(maps, points)[0].tolist() == pytest.approx([2.5, 0., 4.5], abs=1e-6)


def same_points(*shape, device=None):
    """For ``torch.rand``: the same numbers whenever a shape is drawn, whatever came before."""
    shape = shape[0] if isinstance(shape[0], tuple) else shape
    return torch.empty(shape).uniform_(generator=torch.Generator().manual_seed(sum(shape)))


def test_the_host_waits_once_for_all_matches():
    targets = [InstanceData(labels=torch.tensor(labels), masks=torch.rand(len(labels), 8, 8) > 0.5)
               for labels in ([0, 2], [], [1])]
    classes, masks = [torch.randn(3, 5, 4)] * 2, [torch.randn(3, 5, 8, 8)] * 2
    loss, copies = MaskSetLoss(3, num_points=20), []

    class Copies(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            if func is torch.Tensor.cpu:
                copies.append(args[0].shape)
            return func(*args, **(kwargs or {}))

    with Copies():
        matches = loss.match(classes, masks, targets)
    assert copies == [(2 * 5 * (2 + 1), )]
    assert [[len(queries) for queries, _ in row] for row in matches] == [[2, 0, 1]] * 2


@needs_mmdet
def test_the_loss_is_mask2former_s(monkeypatch):
    """mmdet's head with the same random points: every term of two predictions."""
    path = ROOT / 'configs/seg/mask2former_adventurer-base_cityscapes-1024.py'
    cfg = load_config(str(path)).model.decode_head
    cfg.update(num_queries=9, num_classes=4)
    cfg.loss_cls.class_weight = [1.] * 4 + [0.1]
    cfg.pixel_decoder.encoder.num_layers = cfg.transformer_decoder.num_layers = 1
    cfg.train_cfg.num_points = 80
    reference = MODELS.build(cfg)
    reference.num_classes = 4
    classes = [torch.randn(2, 9, 5, requires_grad=True) for _ in range(2)]
    masks = [torch.randn(2, 9, 16, 24, requires_grad=True) for _ in range(2)]
    net = segmentor('softmax')
    targets = net.decode_head.targets([s.gt_sem_seg.data for s in batch()[1]])
    for target in targets:
        target.masks = target.masks.long()
    monkeypatch.setattr(torch, 'rand', same_points)
    expected = reference.loss_by_feat(classes, masks, targets, [{}, {}])
    actual = MaskSetLoss(4, num_points=80)(classes, masks, targets)
    assert actual.keys() == expected.keys()
    for name, loss in actual.items():
        torch.testing.assert_close(loss, expected[name].squeeze(), rtol=1e-5, atol=1e-5)
    for result, other in zip(*(torch.autograd.grad(sum(v.values()), classes + masks)
                               for v in (actual, expected)), strict=True):
        torch.testing.assert_close(result, other, rtol=1e-4, atol=1e-6)
