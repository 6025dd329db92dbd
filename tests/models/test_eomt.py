"""EoMT heads on each kind of backbone: queries among the tokens of the last layers."""
import os
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, init_default_scope

from mmvitlin.engine.hooks import MaskAnnealingHook
from mmvitlin.engine.runner.config import load_config
from mmvitlin.utils.errors import ConfigError
from tests.conftest import ROOT
from tests.models.test_high_res import sample

SIZE = (64, 96)
VIT = dict(type='mmvitlin.TimmViT', model_name='vit_tiny_patch16_224', img_size=SIZE,
           model_kwargs=dict(embed_dim=64, depth=4, num_heads=2))
ADVENTURER = dict(type='mmvitlin.Adventurer', arch=dict(embed_dims=64, num_layers=4), img_size=SIZE)
BACKBONES = {
    'softmax': VIT,
    'rotary, registers': dict(VIT, model_name='vit_small_patch16_dinov3'),
    'linear': dict(VIT, attention='linear', linear_cfg=dict(conv_kernel=3)),
    'linear, rotary': dict(VIT, model_name='vit_small_patch16_dinov3', attention='linear'),
    'focal': dict(VIT, attention='focal', focal_cfg=dict(block=2, cells=(2, 3))),
    'window': dict(VIT, attention='window', window=3, softmax_layers=(1, 3)),
    'mamba2': dict(VIT, attention='mamba2'),
    'mamba2, one direction': dict(VIT, attention='mamba2',
                                  mamba2_cfg=dict(directions='one', heading=True)),
    'adventurer': ADVENTURER,
    'adventurer, columns': dict(ADVENTURER, scan_axes='alternate', mlp_conv=3),
}
MASKED = ('softmax', 'rotary, registers', 'linear', 'linear, rotary', 'focal')


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmseg')
    torch.manual_seed(0)


def backbone(name, **options):
    net = MODELS.build(dict(BACKBONES[name], **options))
    for p in net.parameters():
        if p.ndim > 1:
            torch.nn.init.normal_(p, std=0.1)
    return net


def segmentor(name, kind='mmvitlin.HighResSegmentor', **test_cfg):
    torch.manual_seed(0)
    net = MODELS.build(dict(
        type=kind, data_preprocessor=dict(type='SegDataPreProcessor', mean=[0.] * 3, std=[1.] * 3,
                                          size=SIZE),
        backbone=dict(BACKBONES[name], out_type='stream', out_indices=1),
        decode_head=dict(type='mmvitlin.EoMTHead', in_channels=64, num_classes=5, num_queries=7,
                         loss=dict(num_points=64)),
        test_cfg=ConfigDict(dict(mode='whole'), **test_cfg)))
    for p in net.decode_head.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return net


def batch():
    samples = [sample(SIZE) for _ in range(2)]
    for n, one in enumerate(samples):
        one.gt_sem_seg.data[0, 20:, 30:] = n + 1
        one.gt_sem_seg.data[0, :4] = 255
    return torch.randn(2, 3, *SIZE), samples


@pytest.mark.parametrize('name', BACKBONES)
def test_it_trains_and_predicts(name):
    """A loss for each of the last layers, gradients everywhere, labels of any size."""
    net = segmentor(name).train()
    net.decode_head.mask_progress = 0.
    images, samples = batch()
    losses = net(images, samples, mode='loss')
    assert set(losses) == {f'decode.{n}loss_{k}' for n in ('d0.', 'd1.', '')
                           for k in ('cls', 'mask', 'dice')}
    sum(losses.values()).backward()
    assert [n for n, p in net.named_parameters() if p.grad is None] == []
    assert [n for n, p in net.named_parameters() if not p.grad.isfinite().all()] == []
    net.eval()
    with torch.no_grad():
        features = net.extract_feat(images)
        first, again = (net.decode_head(features) for _ in range(2))
        labels = net(torch.randn(1, 3, 75, 133), mode='predict')[0].pred_sem_seg.data
    assert len(first[0]) == len(first[1]) == 1  # no auxiliary predictions
    torch.testing.assert_close(first, again)  # the features are left as they were
    assert first[0][0].shape == (2, 7, 6)
    assert first[1][0].shape == (2, 7, 16, 24)
    assert labels.shape == (1, 75, 133)


@pytest.mark.parametrize('name', ['softmax', 'mamba2, one direction', 'adventurer'])
def test_layers_that_are_computed_again_have_the_same_gradients(name):
    gradients = []
    for again in (False, True):
        net = segmentor(name).train()
        net.backbone.with_cp, net.decode_head.mask_progress = again, 0.
        torch.manual_seed(1)
        losses = net(*batch(), mode='loss')
        sum(losses.values()).backward()
        gradients.append([p.grad for p in net.parameters()])
    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(again, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', BACKBONES)
@pytest.mark.parametrize('inference', [True, False])
def test_without_queries_it_is_the_plain_network(name, inference):
    net = backbone(name, out_type='stream', out_indices=1).eval()
    images = torch.randn(2, 3, 50, 90)
    with torch.set_grad_enabled(not inference):
        expected = net.forward_tokens(images)[0].featmap()
        stream = net(images)[0].join(torch.zeros(0, 64))
        queries, actual = stream.step().step().read()
    assert queries.shape == (2, 0, 64)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', BACKBONES)
def test_queries_see_every_patch_in_every_layer(name):
    net = backbone(name, out_type='stream', out_indices=1).eval()
    stream = net(torch.randn(1, 3, *SIZE))[0].join(torch.randn(3, 64))
    for layer in (2, 3):
        tokens = stream.tokens.detach().requires_grad_()
        out = stream._replace(tokens=tokens, layer=layer).step()
        queries, _ = net.split_queries(out)
        grad, = torch.autograd.grad((queries * torch.randn_like(queries)).sum(), tokens)
        assert (grad.abs().amax(-1) > 0).all()


@pytest.mark.parametrize('name', ['softmax', 'rotary, registers'])
def test_a_masked_layer_is_timm_s_block_with_the_whole_mask(name):
    """Values and every gradient; other tokens see all, and a query the prefix and all queries."""
    net = backbone(name, out_type='stream', out_indices=1)
    plain = backbone(name)
    plain.load_state_dict(net.state_dict())
    stream = net(torch.randn(2, 3, *SIZE))[0].join(torch.randn(5, 64))
    tokens = stream.tokens.detach().requires_grad_()
    seen = torch.rand(2, 5, 24) > 0.5
    seen[0, 0] = False
    actual = stream._replace(tokens=tokens).step(seen).tokens
    length = tokens.shape[1]
    mask = torch.ones(2, 1, length, length, dtype=torch.bool)
    mask[:, 0, :5, -24:] = seen
    block = plain.vit.blocks[2]
    turn = {} if stream.rope is None else dict(rope=stream.rope)
    expected = block(tokens, attn_mask=mask, **turn)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
    weights = torch.randn_like(expected)
    parameters = [p for n, p in sorted(net.vit.blocks[2].named_parameters())]
    reference = [p for n, p in sorted(block.named_parameters())]
    result = torch.autograd.grad((actual * weights).sum(), [tokens, *parameters])
    expected_grads = torch.autograd.grad((expected * weights).sum(), [tokens, *reference])
    for a, b in zip(result, expected_grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize('name', MASKED)
def test_a_masked_query_sees_no_hidden_patch(name):
    net = backbone(name, out_type='stream', out_indices=1)
    stream = net(torch.randn(1, 3, *SIZE))[0].join(torch.randn(3, 64))
    tokens = stream.tokens.detach().requires_grad_()
    seen = torch.rand(1, 3, 24) > 0.5
    out = stream._replace(tokens=tokens).step(seen).tokens
    for query in range(3):
        grad, = torch.autograd.grad(out[0, query].square().sum(), tokens, retain_graph=True)
        assert ((grad[0, -24:].abs().amax(-1) > 0) == seen[0, query]).all()


def test_layers_that_scan_take_no_mask():
    for name in ('mamba2', 'adventurer', 'window'):
        stream = backbone(name, out_type='stream', out_indices=1)(torch.randn(1, 3, *SIZE))[0]
        assert not stream.maskable
        with pytest.raises(ValueError, match='layer 2 of a .* takes no mask'):
            stream.join(torch.randn(3, 64)).step(torch.ones(1, 3, 24, dtype=torch.bool))


@pytest.mark.parametrize('schedule', [(), (2, 3)])
def test_adventurer_s_tiles_with_queries(schedule, monkeypatch):
    """For inference and for training, over several tiles, against the modules one by one."""
    from mmvitlin.ops import streamed_block_, trained_block
    net = backbone('adventurer', flip_schedule=schedule)
    block, grid, tokens = net.layers[2], (4, 6), torch.randn(2, 24 + 1 + 5, 64)
    weights = torch.randn_like(tokens)
    tokens.requires_grad_()
    expected = block(tokens, grid)
    parameters = block.parameters_in_order()
    expected_grads = torch.autograd.grad((expected * weights).sum(), [tokens, *parameters])
    actual = trained_block(tokens, parameters, 1, block.norm.eps, block.reverse, tokens.dtype,
                           tile=10, behind=6)
    gradients = torch.autograd.grad((actual * weights).sum(), [tokens, *parameters])
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
    for a, b in zip(gradients, expected_grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    with torch.no_grad():
        fast = streamed_block_(tokens.clone(), block.weights(tokens.dtype), block.reverse, 10, 6)
    torch.testing.assert_close(fast, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('mode', [{}, dict(mode='slide', crop_size=(64, 64), stride=(40, 48))])
def test_strips_and_windows_give_mmseg_s_labels(mode):
    reference, high_res = (segmentor('softmax', kind, strip_mib=0.001, **mode).eval()
                           for kind in ('EncoderDecoder', 'mmvitlin.HighResSegmentor'))
    data = dict(inputs=[torch.randn(3, 96, 128)], data_samples=[
        sample((96, 128), (130, 170), pad_shape=(96, 128))])
    with torch.no_grad():
        expected, actual = (net.test_step(dict(data))[0].pred_sem_seg.data.long().clone()
                            for net in (reference, high_res))
    assert len(expected.unique()) > 2
    assert (expected != actual).float().mean() < 1e-3


def test_the_probability_of_a_mask_layer_by_layer():
    """The released settings of four layers on Cityscapes: 19,902 steps of 107 epochs."""
    head, hook = segmentor('softmax').decode_head, MaskAnnealingHook()
    assert head.mask_probability(0, 4) == head.mask_probability(3, 4) == 0  # without the hook
    model = SimpleNamespace(modules=lambda: [head])
    starts, ends = (3317, 6634, 9951, 13268), (6634, 9951, 13268, 16585)
    for step in (0, 3317, 5000, 6634, 12000, 16585, 19901):
        hook.before_train_iter(SimpleNamespace(model=model, iter=step, max_iters=19902), 0)
        for layer, (start, end) in enumerate(zip(starts, ends, strict=True)):
            done = min(max((step - start) / (end - start), 0), 1)
            assert head.mask_probability(layer, 4) == pytest.approx((1 - done)**0.9, abs=1e-9)


def test_masks_are_drawn_query_by_query_and_only_in_training():
    net = segmentor('softmax')
    head, stream = net.decode_head, net.backbone(torch.randn(2, 3, *SIZE))[0]
    masks = torch.randn(2, 7, 16, 24)
    hidden = torch.nn.functional.interpolate(masks, (4, 6), mode='bilinear').flatten(2) <= 0
    assert torch.equal(head.seen(masks, stream, 1.), ~hidden)
    assert head.seen(masks, stream, 0.) is None
    some = (head.seen(masks, stream, 0.5) == ~hidden).all(-1)
    assert 0 < some.float().mean() < 1
    head.mask_progress = 0.
    requested = []
    head.seen = lambda *args: requested.append(args[-1])
    net.eval().decode_head((stream, ))
    assert requested == []
    net.train().decode_head((stream, ))
    assert requested == [1., 1.]


def runner(model):
    return SimpleNamespace(model=model)


@pytest.mark.parametrize(('make', 'words'), [
    (lambda: MaskAnnealingHook(0.5, 0.5), 'shares of the training'),
    (lambda: MaskAnnealingHook().before_train(runner(segmentor('adventurer'))),
     r'layers \[2, 3\] of this Adventurer take no masks of queries; take the hook out'),
    (lambda: MaskAnnealingHook().before_train(runner(torch.nn.Linear(1, 1))), 'has no EoMT head'),
    (lambda: segmentor('softmax').decode_head((torch.randn(1, 64, 4, 6), )),
     "set model.backbone.out_type='stream'"),
    (lambda: backbone('softmax', out_type='stream', out_indices=-1), 'before the last of 4'),
    (lambda: backbone('adventurer', out_type='stream', out_indices=(1, 2)), 'the one layer'),
    (lambda: MODELS.build(dict(type='mmvitlin.MambaReg', out_type='stream')),
     'take a TimmViT or an Adventurer'),
    (lambda: MODELS.build(dict(type='mmvitlin.EoMTHead', in_channels=8, num_classes=2,
                               align_corners=True)), 'align_corners')])
def test_settings_that_cannot_work_are_reported(make, words):
    MaskAnnealingHook().before_train(runner(segmentor('softmax')))
    with pytest.raises(ConfigError, match=words):
        make()


def test_another_width_is_reported():
    stream = backbone('softmax', out_type='stream', out_indices=1)(torch.randn(1, 3, *SIZE))[0]
    with pytest.raises(ValueError, match='set decode_head.in_channels=64'):
        stream.join(torch.randn(3, 32))


def test_an_image_without_labels():
    net = segmentor('softmax').train()
    images, samples = batch()
    for one in samples:
        one.gt_sem_seg.data[:] = 255
    losses = net(images, samples, mode='loss')
    assert losses['decode.loss_mask'] == losses['decode.loss_dice'] == 0
    assert losses['decode.loss_cls'] > 0
    sum(losses.values()).backward()


def test_the_benchmark_times_its_parts_and_softmax_baselines():
    from mmvitlin.benchmark.measuring_process import _counts
    from mmvitlin.benchmark.subjects import Built, Subject, softmax_baselines
    subject = Subject('x', 'config', str(ROOT / 'configs/seg/eomt_linear-vit-nano_camvid.py'),
                      options={'model.backbone.model_kwargs.depth': 6})
    images = torch.randn(1, 3, 48, 64)
    net = Built(subject, (48, 64))
    assert net.parts() == ('backbone', 'head', 'post', 'whole', 'labels')
    for part in net.parts():
        run = net.call(part, images, 'inference', 'fp32')
        run(), run()
    net.call('whole', images, 'train', 'fp32')()
    assert _counts(net, 'whole', images.shape, torch.float32).flops > _counts(
        net, 'backbone', images.shape, torch.float32).flops > 0
    fused, materialised, windowed = (Built(s, (48, 64)).network.eval()
                                     for s in softmax_baselines(subject))
    materialised.load_state_dict(fused.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(*(net.decode_head(net.extract_feat(images))[1]
                                     for net in (fused, materialised)), rtol=1e-3, atol=1e-4)
    windowed.predict(images)


@pytest.mark.skipif('MMVITLIN_LONG_TESTS' not in os.environ, reason='traces for many seconds; set '
                    'MMVITLIN_LONG_TESTS=1')
def test_it_is_exported():
    """A graph for any batch and size, with labels and scores of classes."""
    from mmvitlin.apis.export import Deployed
    from mmvitlin.apis.symbolic import SymbolicSizes
    net = Deployed(segmentor('softmax'), [0.] * 3, [1.] * 3).eval()
    dynamic = torch.export.Dim.DYNAMIC
    with SymbolicSizes():
        graph = torch.export.export(net, (torch.rand(2, 3, 64, 96), ), dynamic_shapes=(
            {0: dynamic, 2: dynamic, 3: dynamic}, ), strict=False).module()
    for shape in ((1, 3, 64, 96), (3, 3, 50, 133)):
        images = torch.rand(shape)
        with torch.no_grad():
            (labels, scores), expected = graph(images), net(images)
        assert labels.shape == (shape[0], *shape[2:])
        assert scores.shape[1] == 5
        torch.testing.assert_close(scores, expected[1], rtol=1e-4, atol=1e-4)
        assert (labels != expected[0]).float().mean() < 1e-3


def test_rates_of_layers_and_queries():
    """Layers that queries pass keep the backbone's rates; queries and the head the full one."""
    from mmengine.optim import build_optim_wrapper
    net, path = segmentor('softmax'), 'configs/seg/eomt_vit-base_cityscapes-1024.py'
    wrapper = load_config(str(ROOT / path)).optim_wrapper
    rates = {n: (g['lr'], g['weight_decay'])
             for g in build_optim_wrapper(net, wrapper).optimizer.param_groups for n in g['names']}
    assert rates['backbone.vit.blocks.3.attn.qkv.weight'] == (pytest.approx(0.8e-4), 0.05)
    assert rates['backbone.vit.blocks.2.attn.qkv.weight'] == (pytest.approx(0.64e-4), 0.05)
    assert rates['decode_head.query_feat.weight'] == (pytest.approx(1e-4), 0)
    assert rates['decode_head.mask_embed.0.weight'] == (pytest.approx(1e-4), 0.05)
