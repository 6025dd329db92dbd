"""Mamba-Reg: counts, block by its formula, where registers stand, sizes, masks, weights."""
import pytest
import torch

from mmvitlin.models import MambaReg
from mmvitlin.models.layers import BiMamba
from mmvitlin.models.utils import convert_released, load_backbone
from mmvitlin.utils.errors import CheckpointError

SMALL = dict(arch=dict(embed_dims=32, num_layers=3, num_registers=4, reduce=2), img_size=64,
             patch_size=16)


def build(**kwargs):
    torch.manual_seed(0)
    return MambaReg(**{**SMALL, **kwargs}).eval()


@pytest.mark.parametrize(('arch', 'millions'), [('small', 28), ('base', 99), ('large', 341)])
def test_parameter_counts_are_the_published_ones(arch, millions):
    with torch.device('meta'):
        net = MambaReg(arch, out_type='cls_token')
    head = net.pooled_dims * 1000 + 1000
    assert round((sum(p.numel() for p in net.parameters()) + head) / 1e6) == millions


def test_the_mixer_is_mamba_in_both_directions():
    """Each direction token by token, from the names of the released files."""
    mixer = BiMamba(32, d_state=5).double()
    state = mixer.state_dict()
    u = torch.randn(2, 9, 32, dtype=torch.float64)
    xz = u @ state['in_proj.weight'].T
    x, z = xz[..., :64], xz[..., 64:]

    def direction(x, conv, project, step, A_log, D):
        length, rank = x.shape[1], 2
        padded = torch.cat([x.new_zeros(len(x), 3, 64), x], 1)
        weight, bias = state[f'{conv}.weight'], state[f'{conv}.bias']
        x = torch.stack([(padded[:, t:t + 4] * weight[:, 0].T).sum(1) + bias
                         for t in range(length)], 1)
        x = x * torch.sigmoid(x)
        out = x @ state[f'{project}.weight'].T
        dt = out[..., :rank] @ state[f'{step}.weight'].T + state[f'{step}.bias']
        dt, A = torch.log1p(torch.exp(dt)), -torch.exp(state[A_log])
        h, rows = x.new_zeros(len(x), 64, 5), []
        for t in range(length):
            B, C = out[:, t, rank:rank + 5], out[:, t, rank + 5:]
            h = torch.exp(dt[:, t, :, None] * A) * h + (dt * x)[:, t, :, None] * B[:, None]
            rows.append((h * C[:, None]).sum(-1) + state[D] * x[:, t])
        return torch.stack(rows, 1)

    y = direction(x, 'conv1d', 'x_proj', 'dt_proj', 'A_log', 'D')
    back = direction(x.flip(1), 'conv1d_b', 'x_proj_b', 'dt_proj_b', 'A_b_log', 'D_b').flip(1)
    expected = ((y + back) / 2 * z * torch.sigmoid(z)) @ state['out_proj.weight'].T
    torch.testing.assert_close(mixer(u), expected)


def test_registers_stand_at_equal_distances():
    """Patches that say their number, registers that say theirs, in blocks that say nothing."""
    net = build()
    for parameter in net.parameters():
        torch.nn.init.zeros_(parameter)
    with torch.no_grad():
        net.pos_embed += torch.arange(16.)[:, None]
        net.cls_token += 100 + torch.arange(4.)[:, None]
    seen = []
    net.layers[0].register_forward_pre_hook(lambda _, args: seen.append(args[0][0, :, 0]))
    patches, registers = net._run(torch.randn(1, 3, 64, 64), [0], None)[0][0]
    assert seen[0].tolist() == [0, 1, 2, 100, 3, 4, 5, 101, 6, 7, 8, 102, 9, 10, 11, 103,
                                12, 13, 14, 15]
    assert patches[0, :, 0].tolist() == list(range(16))
    assert registers[0, :, 0].tolist() == [100, 101, 102, 103]


@pytest.mark.parametrize(('height', 'width'), [(64, 64), (64, 128), (50, 77), (16, 16)])
def test_any_size(height, width):
    net = build(out_indices=(0, -1))
    grid = -(-height // 16), -(-width // 16)
    maps = net(torch.randn(2, 3, height, width))
    assert [tuple(m.shape) for m in maps] == [(2, 32, *grid)] * 2
    assert all(torch.isfinite(m).all() for m in maps)
    tokens, = net.forward_tokens(torch.randn(2, 3, height, width))
    assert tokens.cls.shape == (2, 32)


def test_fewer_patches_than_registers():
    net = build()
    seen = []
    net.layers[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    patches, registers = net._run(torch.randn(1, 3, 16, 32), [0], None)[0][0]
    assert (patches.shape[1], registers.shape[1]) == (2, 4)
    assert torch.equal(seen[0][:, :4], net.cls_token + net.pos_embed_cls)


def test_the_network_is_its_blocks_between_embedding_and_norm():
    net = build(out_type='cls_token').double()
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    x = torch.nn.functional.conv2d(images, net.patch_embed.proj.weight, net.patch_embed.proj.bias,
                                   stride=16).flatten(2).mT + net.pos_embed
    own = (net.cls_token + net.pos_embed_cls).expand(2, -1, -1)
    x = torch.cat([x[:, :3], own[:, :1], x[:, 3:6], own[:, 1:2], x[:, 6:9], own[:, 2:3],
                   x[:, 9:12], own[:, 3:], x[:, 12:]], 1)

    def norm(x, module):
        return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * module.weight

    for layer in net.layers:
        x = x + layer.mixer(norm(x, layer.norm))
    x = norm(x, net.norm_f)[:, [3, 7, 11, 15]] @ net.neck.weight.T
    torch.testing.assert_close(net(images)[0], norm(x.flatten(1), net.norm_neck))


def test_recomputed_blocks_give_the_same_gradients():
    images = torch.randn(2, 3, 64, 64)
    gradients = []
    for again in (False, True):
        net = build(with_cp=again).train()
        net(images)[0].square().mean().backward()
        gradients.append([p.grad for p in net.parameters() if p.grad is not None])
    assert all(map(torch.equal, *gradients))


def test_groups_of_layers():
    net = build(out_type='cls_token', frozen_stages=1)
    free = {n for n, p in net.named_parameters() if p.requires_grad}
    assert not any(n.startswith(('patch_embed', 'pos_embed', 'cls_token', 'layers.0.'))
                   for n in free)
    assert {'layers.1.mixer.A_b_log', 'norm_f.weight', 'neck.weight'} <= free
    assert net.get_layer_depth('pos_embed_cls') == (0, 5)
    assert net.get_layer_depth('layers.2.mixer.D_b') == (3, 5)
    assert net.get_layer_depth('norm_f.weight') == (4, 5)


def test_decays_are_not_decayed():
    """A has two axes here, so that the schedules do not spare it as they spare vectors."""
    from mmengine.config import Config
    from mmengine.optim import build_optim_wrapper

    from tests.conftest import ROOT
    cfg = Config.fromfile(ROOT / 'configs/seg/upernet_mamba-reg-base_cityscapes-1024.py')
    model = torch.nn.Module()
    model.backbone = build()
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    decays = {n: g['weight_decay'] for n, p in model.named_parameters()
              for g in wrapper.param_groups if any(p is q for q in g['params'])}
    spared = {n for n, decay in decays.items() if not decay}
    assert {n for n in decays if n.endswith(('A_log', 'A_b_log'))} <= spared
    assert 'backbone.layers.0.mixer.in_proj.weight' not in spared


def test_a_graph_of_it():
    net = build()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(net, backend='aot_eager')(images)[0],
                                   net(images)[0])


def test_other_runtimes_are_refused_in_words(tmp_path):
    from mmvitlin.apis.export import Deployed, ExportError, export
    deployed = Deployed(build(), [0.] * 3, [1.] * 3)
    with pytest.raises(ExportError, match='MambaReg cannot be written as onnx: other runtimes'):
        export(deployed, tmp_path / 'net.onnx', 'onnx')
    assert export(deployed, tmp_path / 'net.pth', 'checkpoint').path.is_file()


def test_positions_that_could_be_of_another_grid(tmp_path, monkeypatch):
    torch.save(build().state_dict(), tmp_path / 'square.pth')
    messages = []
    monkeypatch.setattr('mmvitlin.models.layers.position.print_log',
                        lambda message, **_: messages.append(message))
    build().load_weights(str(tmp_path / 'square.pth'))
    assert not messages
    build(img_size=(32, 128)).load_weights(str(tmp_path / 'square.pth'))
    assert 'taken for the 2x8 of the network; if they are those of 4x4' in messages[0]


def test_what_a_classifier_takes():
    net = build(out_type='cls_token')
    assert net(torch.randn(2, 3, 64, 64))[0].shape == (2, net.pooled_dims) == (2, 64)
    assert not hasattr(build(), 'neck')  # no parameters that nothing uses
    with pytest.raises(ValueError, match='of the last layer'):
        build(out_type='cls_token', out_indices=(0, ))
    with pytest.raises(ValueError, match="unknown MambaReg arch 'huge'"):
        MambaReg('huge')
    with pytest.raises(ValueError, match='must be positive'):
        build(arch=dict(embed_dims=32, num_layers=2, num_registers=0, reduce=1))
    with pytest.raises(ValueError, match='num_registers'):
        MambaReg(dict(embed_dims=32, num_layers=2))


def test_masked_patches_do_not_reach_the_network():
    net = build()
    net.enable_masking()
    images = torch.randn(1, 3, 64, 64)
    mask = torch.zeros(1, 16, dtype=torch.bool)
    mask[0, 5] = True
    other = images.clone()
    other[..., 16:32, 16:32] += 1
    a, b = (net.forward_tokens(i, mask=mask)[0].patches for i in (images, other))
    assert torch.equal(a, b)
    assert not torch.equal(a, net.forward_tokens(images)[0].patches)


def test_every_parameter_learns():
    net = build(drop_path_rate=0.1, with_cp=True).train()
    tokens, = net.forward_tokens(torch.randn(2, 3, 64, 64))
    (tokens.patches.square().mean() + tokens.cls.square().mean()).backward()
    assert not [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()]


def test_released_files(tmp_path):
    net = build(out_type='cls_token')
    state = {**net.state_dict(), 'head.weight': torch.randn(10, 64), 'head.bias': torch.randn(10)}
    torch.save({'model': state, 'epoch': 3}, tmp_path / 'released.pth')
    cfg, report = convert_released(tmp_path / 'released.pth', tmp_path / 'mm.pth')
    assert cfg == dict(type='mmvitlin.MambaReg', **SMALL)
    assert not report.unexpected
    converted = torch.load(tmp_path / 'mm.pth', weights_only=True)['state_dict']
    assert {'head.fc.weight', 'backbone.neck.weight'} <= converted.keys()
    images = torch.randn(1, 3, 64, 64)
    maps = build()
    torch.nn.init.zeros_(maps.cls_token)
    for file, prefix in (('released.pth', None), ('mm.pth', 'backbone.')):
        maps.load_weights(str(tmp_path / file), prefix)
        assert torch.equal(maps.forward_tokens(images)[0].patches,
                           net.forward_tokens(images)[0].patches)
    wide = build(img_size=(64, 128))
    assert wide.load_weights(str(tmp_path / 'released.pth')).resized == ['pos_embed']
    del state['layers.1.mixer.D_b']
    torch.save(state, tmp_path / 'cut.pth')
    with pytest.raises(CheckpointError, match=r'1 missing: layers.1.mixer.D_b'):
        load_backbone(build(), tmp_path / 'cut.pth')
    torch.save({'layers.0.mixer.A_b_log': torch.ones(2)}, tmp_path / 'odd.pth')
    with pytest.raises(CheckpointError, match='not a Mamba-Reg checkpoint: no'):
        convert_released(tmp_path / 'odd.pth', tmp_path / 'no.pth')
