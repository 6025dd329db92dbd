"""Networks of timm as students: layers on one grid, masks, groups, refusals."""
import pytest
import timm
import torch
from mmengine.registry import MODELS

from mmvitlin.models import TimmBackbone, ViTLinearizer
from mmvitlin.utils.errors import ConfigError

CONVNEXT = dict(model_name='convnext_tiny', model_kwargs=dict(
    depths=(1, 1, 2, 1), dims=(8, 16, 32, 48), output_stride=16))
MIXER = dict(model_name='mlp_mixer.MlpMixer', img_size=(64, 96), model_kwargs=dict(
    patch_size=16, embed_dim=24, num_blocks=4))
SWIN = dict(model_name='swin_tiny_patch4_window7_224', img_size=(64, 96), model_kwargs=dict(
    window_size=4, embed_dim=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1)))
MAMBAOUT = dict(model_name='mambaout_femto', model_kwargs=dict(
    depths=(1, 1, 1, 1), dims=(8, 16, 24, 32)))
ALL = dict(convnext=CONVNEXT, mixer=MIXER, swin=SWIN, mambaout=MAMBAOUT)


def build(cfg, **more):
    torch.manual_seed(0)
    return TimmBackbone(**cfg, **more)


@pytest.mark.parametrize(('name', 'depth', 'stride', 'widths'), [
    ('convnext', 4, 16, [8, 16, 32, 48]), ('mixer', 4, 16, [24] * 4),
    ('swin', 4, 32, [8, 16, 32, 64]), ('mambaout', 4, 32, [8, 16, 24, 32])])
def test_layers_share_a_grid(name, depth, stride, widths):
    net = build(ALL[name])
    assert (net.num_layers, net.patch_size, net.embed_dims) == (depth, stride, widths[-1])
    tokens = net.forward_tokens(torch.randn(2, 3, 64, 96), range(depth))
    grid = (64 // stride, 96 // stride)
    assert [t.patches.shape for t in tokens] == [(2, grid[0] * grid[1], w) for w in widths]
    assert all(t.grid == grid and t.cls is None for t in tokens)
    assert len(net.blocks()) == depth
    assert net(torch.randn(1, 3, 64, 96))[0].shape == (1, widths[-1], *grid)


@pytest.mark.parametrize('name', ALL)
def test_the_last_layer_is_timms_own(name):
    net = build(ALL[name]).eval()
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        expected = net.net.forward_features(images)
        if name == 'convnext':  # timm keeps the final norm in its head
            expected = net.final_norm(expected)
        actual, = net.forward_tokens(images)
    if expected.ndim == 4:
        channels_first = expected.shape[1] == net.embed_dims
        expected = (expected.flatten(2).transpose(1, 2) if channels_first
                    else expected.flatten(1, 2))
    torch.testing.assert_close(actual.patches, expected, atol=1e-5, rtol=1e-5)


def test_earlier_stages_are_averaged():
    net = build(CONVNEXT).eval()
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        _, maps = net.net.forward_intermediates(images, indices=[0], output_fmt='NCHW')
        actual, = net.forward_tokens(images, 0)
    expected = torch.nn.functional.avg_pool2d(maps[0], 4)
    torch.testing.assert_close(actual.featmap(), expected)


@pytest.mark.parametrize('name', ALL)
def test_masked_pixels_are_not_seen(name):
    net = build(ALL[name]).eval()
    net.enable_masking()
    grid = (64 // net.patch_size, 96 // net.patch_size)
    mask = torch.zeros(1, grid[0] * grid[1], dtype=torch.bool)
    mask[0, 1] = True
    images = torch.randn(1, 3, 64, 96)
    changed = images.clone()
    side = net.patch_size
    # well inside of the masked patch: stems look a few pixels around
    changed[..., 8:side - 8 if side > 16 else 9, side + 8:2 * side - 8 if side > 16 else side + 9] \
        += 5
    with torch.no_grad():
        plain = net.forward_tokens(images)[0].patches
        one, two = (net.forward_tokens(x, -1, mask)[0].patches for x in (images, changed))
        seen = net.forward_tokens(changed)[0].patches
    torch.testing.assert_close(one, two)
    assert not torch.allclose(plain, seen)
    assert not torch.allclose(plain, one)
    torch.testing.assert_close(net.forward_tokens(images)[0].patches, plain)  # the mask is gone


@pytest.mark.parametrize('name', ['convnext', 'mixer', 'mambaout'])
def test_it_is_distilled_by_both_objectives(name):
    side = build(ALL[name]).patch_size
    model = ViTLinearizer(
        backbone=dict(type='mmvitlin.TimmBackbone', **ALL[name]),
        teacher=dict(backbone=dict(
            type='mmvitlin.TimmViT', model_name='vit_tiny_patch16_224', img_size=(64, 96),
            model_kwargs=dict(patch_size=side, embed_dim=48, depth=8, num_heads=3))),
        objectives=dict(activation=dict(type='mmvitlin.ActivationMatchingLoss'),
                        mask=dict(type='mmvitlin.MaskedPredictionLoss')), mask_ratio=0.5)
    losses = model(torch.randn(2, 3, 64, 96), mode='loss')
    sum(losses.values()).backward()
    assert set(losses) == {'loss_activation', 'loss_mask'}
    without = [n for n, p in model.named_parameters() if p.grad is None]
    assert without == []


def test_any_size_where_the_network_takes_any():
    net = build(CONVNEXT)
    for size, grid in (((50, 70), (4, 5)), ((16, 16), (1, 1))):
        assert net.forward_tokens(torch.randn(1, 3, *size))[0].grid == grid
    with pytest.raises(ValueError, match='MlpMixer was made for images of 64x96, and got 64x64'):
        build(MIXER).forward_tokens(torch.randn(1, 3, 64, 64))


def test_groups_of_layer_decay():
    net = build(CONVNEXT)
    net.enable_masking()
    depth = {n: net.get_layer_depth(n)[0] for n, _ in net.named_parameters()}
    assert {n: d for n, d in depth.items() if d == 0}.keys() == {
        'mask_token', *(n for n in depth if n.startswith('net.stem.'))}
    assert all(d == int(n.split('.')[2]) + 1 for n, d in depth.items() if 'stages' in n)
    frozen = build(CONVNEXT, frozen_stages=2)
    assert {n.split('.')[2] for n, p in frozen.named_parameters()
            if 'stages' in n and p.requires_grad} == {'2', '3'}
    assert not frozen.net.stem[0].weight.requires_grad


def test_convnexts_final_norm_stays():
    net = build(CONVNEXT)
    assert any(n == 'final_norm.weight' for n, _ in net.named_parameters())
    original = timm.create_model('convnext_tiny', **CONVNEXT['model_kwargs'])
    assert net.final_norm.weight.shape == original.head.norm.weight.shape


@pytest.mark.parametrize('name', ['resnet18', 'mlp_mixer.MlpMixer', 'convnext_tiny'])
def test_mmengine_does_not_draw_the_weights_anew(name):
    more = MIXER if 'mixer' in name else dict(model_name=name)
    net = build(more)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    net.init_weights()
    assert all(torch.equal(v, net.state_dict()[k]) for k, v in before.items())


def test_an_efficientnet_ends_with_its_last_stage():
    net = TimmBackbone('efficientnet_b0')
    tokens, = net.forward_tokens(torch.randn(1, 3, 64, 96))
    assert tokens.patches.shape == (1, 6, net.embed_dims) == (1, 6, 320)
    assert not any('conv_head' in n for n, _ in net.named_parameters())
    assert net.get_layer_depth('net.conv_stem.weight')[0] == 0


def test_recomputing_blocks_gives_the_same():
    plain, again = build(CONVNEXT), build(CONVNEXT, with_cp=True)
    assert any(getattr(m, 'grad_checkpointing', False) for m in again.modules())
    images = torch.randn(1, 3, 64, 96)
    for net in (plain, again):
        net.train()
        net.forward_tokens(images)[0].patches.square().mean().backward()
    for a, b in zip(plain.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_weights_travel(tmp_path):
    net = build(CONVNEXT)
    torch.save(dict(state_dict={f'backbone.{k}': v for k, v in net.state_dict().items()}),
               tmp_path / 'student.pth')
    torch.manual_seed(1)
    again = MODELS.build(dict(type='mmvitlin.TimmBackbone', **CONVNEXT, init_cfg=dict(
        type='Pretrained', checkpoint=str(tmp_path / 'student.pth'), prefix='backbone.')))
    again.init_weights()
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in net.state_dict().items())


def test_weights_that_cannot_be_had(monkeypatch):
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_OFFLINE', True)
    with pytest.raises(ConfigError, match=r"weights of 'convnext_atto.d2_in1k'.*HF_HOME"):
        TimmBackbone('convnext_atto.d2_in1k', pretrained=True)


def test_refusals():
    with pytest.raises(ValueError, match=r"no model 'convnext_enormous'; the nearest are \['conv"):
        TimmBackbone('convnext_enormous')
    with pytest.raises(ValueError, match="knows no model 'mlp_mixer.Nothing'"):
        TimmBackbone('mlp_mixer.Nothing')
    resnet = TimmBackbone('resnet18', model_kwargs=dict(output_stride=16))
    assert resnet.forward_tokens(torch.randn(1, 3, 64, 64))[0].grid == (4, 4)
    with pytest.raises(TypeError, match='ResNet has no stem of its own'):
        resnet.enable_masking()
    net = build(CONVNEXT)
    mask = torch.zeros(1, 24, dtype=torch.bool)
    with pytest.raises(RuntimeError, match='no mask token'):
        net.forward_tokens(torch.randn(1, 3, 64, 96), -1, mask)
    net.enable_masking()
    with pytest.raises(ValueError, match=r'mask must be bool \(1, 24\)'):
        net.forward_tokens(torch.randn(1, 3, 64, 96), -1, mask[:, :5])
