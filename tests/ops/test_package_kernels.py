"""Kernels of fla-core and mamba-ssm, called as we call them, against the references.

They run by Triton's interpreter on a CPU, in a process of their own. mamba-ssm is tested where it
is installed, as ``make test-transformers`` does.
"""
import importlib.util
import sys

import pytest
import torch
import torch.nn.functional as F

from mmvitlin.models.layers import Mamba2, mamba2
from mmvitlin.ops import causal_conv, packages, ssd_reference
from tests.ops import interpreter
from tests.ops.test_kernels import compare, in_float64
from tests.ops.test_ssd import inputs

HERE = interpreter.SWITCHED_ON and not torch.cuda.is_available()
runs_kernels = pytest.mark.skipif(not HERE, reason='run by test_in_the_interpreter')
TYPES = [(torch.float32, 1e-5), (torch.float16, 4e-3)]  # the interpreter's bfloat16 is incomplete
types = pytest.mark.parametrize(('dtype', 'bound'), TYPES, ids=['float32', 'float16'])
external = sys.modules['mmvitlin.ops.ssd.external']


@pytest.mark.skipif(HERE, reason='the tests below run here')
@pytest.mark.parametrize(('module', 'tests'), [('fla', 6), ('mamba_ssm', 5)])
def test_in_the_interpreter(module, tests):
    if importlib.util.find_spec(module) is None:
        pytest.skip(f'{module} is not installed')
    pytest.importorskip('triton')
    interpreter.run_file_in_it(__file__, tests, '-k', module)


@pytest.fixture
def fla(monkeypatch):
    pytest.importorskip('fla')
    packages.fla_scan()
    packages.fla_conv()
    interpreter.repair_for_packages(monkeypatch)


@pytest.fixture
def mamba_ssm(monkeypatch):
    if importlib.util.find_spec('mamba_ssm') is None:
        pytest.skip('mamba-ssm is not installed')
    scans = packages.mamba_scans()
    interpreter.repair_for_packages(monkeypatch)
    return scans


def check_scan(run, dtype, bound, length, groups, **options):
    leaves = [t.requires_grad_() for t in inputs(length, groups, 2, 16, 16, batch=1, dtype=dtype)]
    exact = in_float64(leaves)
    compare(run(*leaves, **options), ssd_reference(*exact), leaves, exact, bound, 2e-3)


@runs_kernels
@types
@pytest.mark.parametrize(('length', 'groups'), [(70, 1), (65, 2)])
def test_scan_of_fla(fla, dtype, bound, length, groups):
    check_scan(external.ssd_fla, dtype, bound, length, groups)


@runs_kernels
@types
@pytest.mark.parametrize(('length', 'groups'), [(37, 1), (33, 2)])
def test_scan_of_mamba_ssm(mamba_ssm, dtype, bound, length, groups):
    check_scan(external.ssd_mamba_ssm, dtype, bound, length, groups, chunk_size=16)


@runs_kernels
@types
def test_convolution_of_fla(fla, dtype, bound):
    leaves = [torch.randn(2, 37, 32).to(dtype), torch.randn(32, 1, 4), torch.randn(32)]
    leaves = [t.requires_grad_() for t in leaves]
    exact = in_float64(leaves)
    compare(causal_conv.conv_fla(*leaves, 'silu'), causal_conv.conv_torch(*exact, 'silu'), leaves,
            exact, bound)


def _convolve(x, weight, bias, silu):
    y = F.conv1d(x, weight[:, None], bias, padding=weight.shape[1] - 1, groups=len(weight))
    y = y[..., :x.shape[2]]
    return F.silu(y) if silu else y


def causal_conv1d_fwd_function(x, weight, bias, seq_idx, initial_states, final_states_out, silu):
    """causal-conv1d's, which is CUDA; channels before tokens."""
    return _convolve(x, weight, bias, silu)


def causal_conv1d_bwd_function(x, weight, bias, dout, seq_idx, initial_states, dfinal_states, dx,
                               return_dinitial_states, silu):
    with torch.enable_grad():
        leaves = [t.detach().requires_grad_() for t in (x, weight, bias)]
        gradients = torch.autograd.grad(_convolve(*leaves, silu), leaves, dout)
    dx.copy_(gradients[0])
    return dx, *gradients[1:], None


@runs_kernels
def test_mixer_of_mamba_ssm_as_one_node(mamba_ssm, monkeypatch):
    for function in (causal_conv1d_fwd_function, causal_conv1d_bwd_function):
        monkeypatch.setattr(mamba_ssm, function.__name__, function)
    mixer = Mamba2(16, d_state=16, head_dims=16, chunk_size=16)
    for p in mixer.parameters():
        torch.nn.init.normal_(p, std=0.3)
    u = torch.randn(2, 37, 16, requires_grad=True)
    expected = mixer(u)
    monkeypatch.setattr(mamba2, 'mixer_problem', lambda *_: None)
    torch.testing.assert_close(mixer(u), expected, rtol=1e-3, atol=1e-4)
    gradients = [torch.autograd.grad(y.square().sum(), [u, *mixer.parameters()])
                 for y in (mixer(u), expected)]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
