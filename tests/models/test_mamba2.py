"""The mixer against an independent writing-out of its equations."""
import warnings

import pytest
import torch
import torch.nn.functional as F

from mmvitlin.models.layers import Mamba2, PlainMamba2
from mmvitlin.ops import ssd_reference


def by_the_book(m: Mamba2, u):
    inner, state = m.inner, m.num_groups * m.d_state
    proj = u @ m.in_proj.weight.t()
    z, x_bc, dt = proj[..., :inner], proj[..., inner:-m.num_heads], proj[..., -m.num_heads:]
    conv = F.conv1d(x_bc.transpose(1, 2), m.conv1d.weight, m.conv1d.bias, padding=3,
                    groups=x_bc.shape[-1])[..., :u.shape[1]].transpose(1, 2)
    conv = conv * torch.sigmoid(conv)
    x = conv[..., :inner].reshape(*u.shape[:2], m.num_heads, m.head_dims)
    B = conv[..., inner:inner + state].reshape(*u.shape[:2], m.num_groups, -1)
    C = conv[..., inner + state:].reshape(*u.shape[:2], m.num_groups, -1)
    y = ssd_reference(x, torch.log1p(torch.exp(dt + m.dt_bias)), -m.A_log.exp(), B, C, m.D)
    y = y.reshape(*u.shape[:2], inner) * (z * torch.sigmoid(z))
    y = y / (y.square().mean(-1, keepdim=True) + 1e-5).sqrt() * m.norm.weight
    return y @ m.out_proj.weight.t()


@pytest.mark.parametrize('groups', [1, 2])
def test_equals_the_equations(groups):
    m = Mamba2(32, d_state=16, head_dims=16, num_groups=groups)
    u = torch.randn(2, 70, 32)
    torch.testing.assert_close(m(u), by_the_book(m, u), atol=2e-5, rtol=1e-4)


def test_parameters_have_the_names_and_shapes_of_mamba_ssm():
    m = Mamba2(256)  # inner 512, 8 heads, state 64: in_proj 2·512 + 2·64 + 8
    assert {n: tuple(p.shape) for n, p in m.named_parameters()} == {
        'dt_bias': (8, ), 'A_log': (8, ), 'D': (8, ), 'in_proj.weight': (1160, 256),
        'conv1d.weight': (640, 1, 4), 'conv1d.bias': (640, ), 'norm.weight': (512, ),
        'out_proj.weight': (256, 512)}


def test_initial_steps_and_decays_are_in_range():
    m = Mamba2(512)
    dt = F.softplus(m.dt_bias)
    assert 1e-3 * 0.99 <= dt.min() <= dt.max() <= 0.1 * 1.01
    assert 1 <= m.A_log.exp().min() <= m.A_log.exp().max() <= 16


def test_width_that_heads_do_not_divide():
    with pytest.raises(ValueError, match='multiple of head_dims=64'):
        Mamba2(48)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_mixed_precision_reaches_the_scan(dtype, monkeypatch):
    """Values in the half type, steps and decays in float32, and the equations' result."""
    given = {}

    def spy(x, dt, A, B, C, D, **kwargs):
        given.update(x=x.dtype, B=B.dtype, C=C.dtype, dt=dt.dtype, A=A.dtype)
        return ssd_reference(x, dt, A, B, C, D)

    m = Mamba2(32, d_state=16, head_dims=16)
    u = torch.randn(2, 70, 32)
    expected = by_the_book(m, u)
    monkeypatch.setattr('mmvitlin.models.layers.mamba2.ssd', spy)
    with warnings.catch_warnings(), torch.autocast('cpu', dtype):
        warnings.simplefilter('error')  # torch warns where a norm cannot be fused
        y = m(u)
    assert given == dict(x=dtype, B=dtype, C=dtype, dt=torch.float32, A=torch.float32)
    assert (y - expected).norm() < 0.02 * expected.norm()


@pytest.mark.parametrize('groups', [1, 2])
@pytest.mark.parametrize('length', [1, 64, 150])
def test_the_form_of_exported_files_equals_the_equations(groups, length):
    m = Mamba2(32, d_state=16, head_dims=16, num_groups=groups)
    for parameter in m.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    u = torch.randn(2, length, 32)
    with torch.inference_mode():
        torch.testing.assert_close(PlainMamba2(m)(u), by_the_book(m, u), atol=1e-4, rtol=1e-4)


def test_the_form_of_exported_files_splits_no_activation():
    graph = torch.export.export(PlainMamba2(Mamba2(32, d_state=16, head_dims=16)).eval(),
                                (torch.randn(1, 70, 32), ), strict=False).graph
    used = {str(node.target) for node in graph.nodes if node.op == 'call_function'}
    assert not [name for name in used if 'split' in name]
    assert any('cumsum' in name for name in used)
