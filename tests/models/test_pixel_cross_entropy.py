"""The loss of labels is averaged over labelled pixels, with and without class weights."""
import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS, init_default_scope

from mmvitlin.engine.runner.config import load_config
from tests.conftest import ROOT


def build(**kwargs):
    init_default_scope('mmseg')
    return MODELS.build(dict(type='mmvitlin.PixelCrossEntropyLoss', **kwargs))


@pytest.fixture
def batch():
    draw = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 3, 4, 5, generator=draw, requires_grad=True)
    labels = torch.randint(0, 3, (2, 4, 5), generator=draw)
    labels[0, :2], labels[1, 0, 0] = 255, 255
    return scores, labels


@pytest.mark.parametrize('weights', [None, [0.2, 1.0, 4.0]])
@pytest.mark.parametrize('ignore_index', [255, 2])
def test_as_torch_has_it(weights, ignore_index, batch):
    scores, labels = batch
    labels = labels.where(labels != 255, ignore_index)
    loss = build(class_weight=weights, loss_weight=0.4)(scores, labels, ignore_index=ignore_index)
    reference = 0.4 * F.cross_entropy(scores, labels, ignore_index=ignore_index,
                                      weight=None if weights is None else torch.tensor(weights))
    torch.testing.assert_close(loss, reference)
    actual, expected = (torch.autograd.grad(x, scores, retain_graph=True)[0]
                        for x in (loss, reference))
    torch.testing.assert_close(actual, expected)


def test_half_of_a_label_being_void_does_not_halve_the_loss(batch):
    scores, labels = batch
    alone = build()(scores[1:, :, 1:], labels[1:, 1:], ignore_index=255)
    padded = torch.cat([labels[1:, 1:], torch.full((1, 3, 5), 255)], 1)
    with_void = build()(torch.cat([scores[1:, :, 1:]] * 2, 2), padded, ignore_index=255)
    torch.testing.assert_close(with_void, alone)
    halved = build(avg_non_ignore=False)(torch.cat([scores[1:, :, 1:]] * 2, 2), padded,
                                         ignore_index=255)
    torch.testing.assert_close(halved, alone / 2)


@pytest.mark.parametrize('weights', [None, [0.2, 1.0, 4.0]])
def test_a_crop_without_labels_gives_zero(weights, batch):
    scores, labels = batch
    loss = build(class_weight=weights)(scores, torch.full_like(labels, 255), ignore_index=255)
    assert loss == 0
    assert not torch.autograd.grad(loss, scores)[0].any()


def test_pixels_that_a_sampler_chose_and_other_reductions(batch):
    scores, labels = batch
    chosen = torch.zeros(2, 4, 5)
    chosen[1, 1] = 1
    losses = F.cross_entropy(scores, labels, ignore_index=255, reduction='none')
    count = (labels != 255).sum()
    torch.testing.assert_close(build()(scores, labels, chosen, ignore_index=255),
                               losses[1, 1].sum() / count)
    torch.testing.assert_close(build(reduction='sum')(scores, labels, ignore_index=255),
                               losses.sum())
    foreground = (labels == 1).long().where(labels != 255, 255)
    single = build(use_sigmoid=True)(scores[:, :1], foreground, ignore_index=255)
    expected = F.binary_cross_entropy_with_logits(scores[:, 0][labels != 255],
                                                  foreground[labels != 255].float())
    torch.testing.assert_close(single, expected)


def test_every_shipped_segmentor_leaves_ignored_pixels_out_of_the_mean():
    seen = 0
    for path in sorted((ROOT / 'configs/seg').glob('*.py')):
        model = load_config(str(path)).model
        for key in ('decode_head', 'auxiliary_head'):
            loss = (model.get(key) or {}).get('loss_decode')
            if loss is not None:
                assert (loss.type, loss.avg_non_ignore) == ('mmvitlin.PixelCrossEntropyLoss', True)
                seen += 1
    assert seen > 20


@pytest.mark.parametrize('ignored', [255, 1, 0])
def test_the_accuracy_of_heads_is_mmseg_s(ignored):
    from mmseg.models.decode_heads import decode_head

    from mmvitlin.compat.mmseg import accuracy_without_masks
    accuracy_without_masks()
    draw = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 3, 4, 5, generator=draw)
    labels = torch.randint(0, 3, (2, 4, 5), generator=draw)
    for target in (labels, torch.full_like(labels, ignored)):
        for options in ({}, dict(topk=(1, 2))):
            actual = decode_head.accuracy(scores, target, ignore_index=ignored, **options)
            expected = decode_head.accuracy.__wrapped__(scores, target, ignore_index=ignored,
                                                        **options)
            torch.testing.assert_close(actual, expected)
