"""Calls of other packages' kernels, against stand-ins with their exact signatures.

The stand-ins compute what the packages document; where a package is installed, its signature is
compared with the stand-in's. The Triton kernels themselves are in test_package_kernels.py.
"""
import inspect
import sys
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from mmvitlin import ops
from mmvitlin.models.layers import Mamba2, mamba2
from mmvitlin.ops import causal_conv, packages, selective_scan_reference, ssd, ssd_reference
from tests.ops.test_ssd import inputs, relative
from tests.simulated_gpu import simulated_gpu

external = sys.modules['mmvitlin.ops.ssd.external']


def mamba_chunk_scan_combined(x, dt, A, B, C, chunk_size, D=None, z=None, dt_bias=None,
                              initial_states=None, seq_idx=None, cu_seqlens=None,
                              dt_softplus=False, dt_limit=(0.0, float('inf')),
                              return_final_states=False, return_varlen_states=False):
    assert not dt_softplus
    return ssd_reference(x, dt, A, B, C, D)


def mamba_split_conv1d_scan_combined(zxbcdt, conv1d_weight, conv1d_bias, dt_bias, A, D, chunk_size,
                                     initial_states=None, seq_idx=None,
                                     dt_limit=(0.0, float('inf')), return_final_states=False,
                                     activation='silu', rmsnorm_weight=None, rmsnorm_eps=1e-6,
                                     outproj_weight=None, outproj_bias=None, headdim=None,
                                     ngroups=1, norm_before_gate=True):
    heads, taps = A.shape[0], conv1d_weight.shape[1]
    inner = heads * headdim
    state = (conv1d_weight.shape[0] - inner) // 2
    z, xbc, dt = zxbcdt.split([inner, inner + 2 * state, heads], -1)
    xbc = F.conv1d(xbc.mT, conv1d_weight[:, None], conv1d_bias, padding=taps - 1,
                   groups=len(conv1d_weight))[..., :zxbcdt.shape[1]].mT
    x, B, C = F.silu(xbc).split([inner, state, state], -1)
    y = ssd_reference(x.unflatten(-1, (heads, headdim)), F.softplus(dt + dt_bias), A, B[:, :, None],
                      C[:, :, None], D).flatten(2)
    assert (activation, norm_before_gate) == ('silu', False)
    y = F.rms_norm(y * F.silu(z), (inner, ), rmsnorm_weight, rmsnorm_eps)
    return F.linear(y, outproj_weight, outproj_bias)


def chunk_simple_gla(q, k, v, g=None, g_gamma=None, scale=None, initial_state=None,
                     output_final_state=False, state_v_first=False, cu_seqlens=None,
                     cu_seqlens_cpu=None, **kwargs):
    """``S_t = exp(g_t) S_{t−1} + k_tᵀ v_t``, ``o_t = scale q_t S_t``; a head for every key."""
    state, outputs = q.new_zeros(*q[:, 0].shape, v.shape[-1]), []
    for t in range(q.shape[1]):
        state = state * g[:, t, :, None, None].exp() + k[:, t, ..., None] * v[:, t, :, None]
        outputs.append(scale * (q[:, t, ..., None] * state).sum(-2))
    return torch.stack(outputs, 1), None


def causal_conv1d(x, weight=None, bias=None, residual=None, initial_state=None,
                  output_final_state=False, activation=None, backend='triton', cu_seqlens=None,
                  cu_seqlens_cpu=None, chunk_indices=None, cp_context=None, **kwargs):
    """fla's; channels last."""
    assert residual is None
    assert not kwargs
    return causal_conv1d_fn(x.mT, weight, bias, activation=activation).mT, None


def causal_conv1d_fn(x, weight, bias=None, seq_idx=None, initial_states=None,
                     return_final_states=False, final_states_out=None, activation=None):
    assert x.stride(1) == 1
    y = F.conv1d(x, weight[:, None], bias, padding=weight.shape[1] - 1, groups=len(weight))
    y = y[..., :x.shape[2]]
    return F.silu(y) if activation else y


def selective_scan_fn(u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False,
                      return_last_state=False):
    assert not delta_softplus
    assert {t.dtype for t in (u, delta, A, B, C)} == {torch.float32}
    return selective_scan_reference(u.mT, delta.mT, A, B.mT, C.mT, D).mT


@pytest.fixture
def stand_ins(monkeypatch):
    monkeypatch.setattr(packages, 'mamba_scans', lambda: SimpleNamespace(
        mamba_chunk_scan_combined=mamba_chunk_scan_combined,
        mamba_split_conv1d_scan_combined=mamba_split_conv1d_scan_combined))
    monkeypatch.setattr(packages, 'fla_scan', lambda: chunk_simple_gla)
    monkeypatch.setattr(packages, 'causal_conv1d', lambda: causal_conv1d_fn)
    monkeypatch.setattr(packages, 'fla_conv', lambda: causal_conv1d)
    monkeypatch.setattr(packages, 'mamba_selective_scan', lambda: selective_scan_fn)


@pytest.mark.parametrize('run', ['ssd_mamba_ssm', 'ssd_fla'])
@pytest.mark.parametrize('groups', [1, 2])
def test_scans(stand_ins, run, groups):
    args = inputs(9, groups)
    assert relative(getattr(external, run)(*args), ssd_reference(*args)) < 1e-5


def test_the_scan_of_fla_is_what_its_stand_in_computes():
    naive = pytest.importorskip('fla.ops.simple_gla.naive').naive_recurrent_simple_gla
    q, k, v = torch.randn(3, 2, 9, 3, 4)
    g = -torch.rand(2, 9, 3)
    torch.testing.assert_close(naive(q, k, v, g, scale=0.5)[0],
                               chunk_simple_gla(q, k, v, g, scale=0.5)[0])


@pytest.mark.parametrize('run', ['conv_cuda', 'conv_fla'])
def test_convolutions(stand_ins, run):
    x, weight, bias = torch.randn(2, 7, 5), torch.randn(5, 1, 4), torch.randn(5)
    torch.testing.assert_close(getattr(causal_conv, run)(x, weight, bias, 'silu'),
                               causal_conv.conv_torch(x, weight, bias, 'silu'))


def test_the_scan_of_mamba_1(stand_ins):
    from mmvitlin.ops.selective_scan import selective_scan_mamba_ssm
    args = [torch.randn(2, 6, 3), torch.rand(2, 6, 3), -torch.rand(3, 4), torch.randn(2, 6, 4),
            torch.randn(2, 6, 4), torch.randn(3)]
    torch.testing.assert_close(selective_scan_mamba_ssm(*args), selective_scan_reference(*args))


def test_the_mixer_as_one_node_is_the_mixer(stand_ins, monkeypatch):
    mixer = Mamba2(16, d_state=8, head_dims=8)
    for p in mixer.parameters():
        torch.nn.init.normal_(p, std=0.3)
    u = torch.randn(2, 9, 16, requires_grad=True)
    expected = mixer(u)
    assert not mixer.one_node(u)  # on a CPU
    monkeypatch.setattr(mamba2, 'mixer_problem', lambda *_: None)
    assert mixer.one_node(u)
    torch.testing.assert_close(mixer(u), expected)
    gradients = [torch.autograd.grad(y.square().sum(), [u, *mixer.parameters()])
                 for y in (mixer(u), expected)]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(('taps', 'groups', 'words'), [
    (4, 2, 'one group and 2 to 4 taps, not 2 and 4'), (5, 1, 'not 1 and 5'), (4, 1, 'CUDA device')])
def test_what_keeps_a_mixer_from_one_node(taps, groups, words):
    assert words in external.mixer_problem(torch.randn(1, 2, 3), taps, groups)


@pytest.mark.parametrize(('module', 'stand_in'), [
    ('mamba_ssm.ops.triton.ssd_combined', mamba_chunk_scan_combined),
    ('mamba_ssm.ops.triton.ssd_combined', mamba_split_conv1d_scan_combined),
    ('fla.ops.simple_gla', chunk_simple_gla), ('fla.modules.causal_conv1d', causal_conv1d),
    ('causal_conv1d', causal_conv1d_fn),
    ('mamba_ssm.ops.selective_scan_interface', selective_scan_fn)])
def test_signatures_of_what_is_installed(module, stand_in):
    try:
        real = getattr(__import__(module, fromlist=['x']), stand_in.__name__)
    except Exception as error:
        pytest.skip(f'{module} is not here: {error}')
    assert list(inspect.signature(real).parameters) == list(inspect.signature(stand_in).parameters)


def test_one_warning_of_the_eager_scan_on_a_gpu(monkeypatch):
    import warnings

    from mmvitlin.ops import launch
    monkeypatch.setattr(launch, '_surroundings', lambda: (False, False))
    monkeypatch.setattr(launch, '_WARNED', set())
    x = SimpleNamespace(device=torch.device('cuda'), dtype=torch.bfloat16)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('ignore')  # as PYTHONWARNINGS=ignore in the stages of a recipe
        for _ in range(2):
            launch.warn_of_eager('the scan of Mamba-2', x)
        launch.warn_of_eager('the scan of Mamba-2', torch.ones(1))
    assert len(caught) == 1
    assert 'Triton is not installed' in str(caught[0].message)
    assert "pip install 'mmvitlin[cuda]'" in str(caught[0].message)


def _half(*shape):
    return torch.zeros(shape, device='cuda', dtype=torch.bfloat16)


def _wide(*shape):
    return torch.zeros(shape, device='cuda')


@pytest.mark.parametrize(('call', 'what'), [
    (lambda: ssd(_half(1, 70, 2, 16), _wide(1, 70, 2), _wide(2), _half(1, 70, 1, 16),
                 _half(1, 70, 1, 16), _wide(2)), 'the scan of Mamba-2'),
    (lambda: ops.causal_depthwise_conv1d(_half(1, 9, 8), _wide(8, 1, 4), _wide(8)),
     'the causal convolution'),
    (lambda: ops.linear_attention(_half(1, 2, 9, 16), _half(1, 2, 9, 16), _half(1, 2, 9, 16),
                                  feature_map='elu'), 'linear attention'),
    (lambda: ops.silu_product(_half(1, 9, 16), _half(1, 9, 16)), 'SwiGLU'),
    (lambda: ops.gated_rms_norm(_half(1, 9, 16), _half(1, 9, 16), _wide(16), 1e-5), 'norm')])
def test_every_operator_says_that_it_runs_without_a_kernel(call, what, monkeypatch):
    from mmvitlin.ops import launch
    monkeypatch.setattr(launch, '_surroundings', lambda: (False, False))
    monkeypatch.setattr(launch, '_WARNED', set())
    with simulated_gpu(), pytest.warns(UserWarning, match='without a fused kernel') as caught:
        call()
    assert any(what in str(warning.message) for warning in caught)
