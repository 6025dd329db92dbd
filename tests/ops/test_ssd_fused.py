"""Our Triton kernels, run by Triton's interpreter where there is no GPU.

The interpreter must be chosen before Triton is imported, so on a CPU these tests run in a
process of their own, which :func:`test_in_the_interpreter` starts.
"""
import os
import subprocess
import sys

import pytest
import torch

from mmvitlin.ops import ssd, ssd_reference
from tests.conftest import ROOT
from tests.ops.test_ssd import inputs, relative

HERE = torch.cuda.is_available() or os.environ.get('TRITON_INTERPRET') == '1'
runs_kernels = pytest.mark.skipif(not HERE, reason='run by test_in_the_interpreter')
no_bf16 = pytest.mark.skipif(not torch.cuda.is_available(),
                             reason="Triton's interpreter multiplies bfloat16 as integers")
BF16 = pytest.param(torch.bfloat16, 2e-2, marks=no_bf16)
DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'


@pytest.fixture(autouse=True)
def _loop_bounds(monkeypatch):
    """Triton's interpreter (3.5 and 3.6) keeps scalars as arrays of one element, which NumPy from
    2.4 on no longer turns into loop bounds."""
    if not HERE or DEVICE == 'cuda':
        return
    from triton.runtime import interpreter
    patch = interpreter._patch_lang_tensor

    def patched(tensor, *scope):  # there is none before 3.6
        patch(tensor, *scope)
        bind = scope[0].set_attr if scope else setattr
        bind(tensor, '__index__', lambda self: self.handle.data.item())

    monkeypatch.setattr(interpreter, '_patch_lang_tensor', patched)


@pytest.mark.skipif(HERE, reason='the tests below run here')
def test_in_the_interpreter():
    pytest.importorskip('triton')
    done = subprocess.run([sys.executable, '-m', 'pytest', '-q', '-x', '-p', 'no:cacheprovider',
                           __file__], env=dict(os.environ, TRITON_INTERPRET='1'), cwd=ROOT,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    assert done.stdout.split()[0].count('.') > 15, done.stdout  # tests that ran


def small(length, **kwargs):
    kwargs = dict(dict(heads=2, width=16, state=16), **kwargs)
    return [t.to(DEVICE) for t in inputs(length, **kwargs)]


@runs_kernels
@pytest.mark.parametrize(('dtype', 'bound'), [(torch.float32, 1e-5), (torch.float16, 5e-3), BF16])
@pytest.mark.parametrize(('length', 'chunk'), [(1, 16), (16, 16), (17, 16), (197, 16), (197, 64)])
def test_values(dtype, bound, length, chunk):
    args = small(length, dtype=dtype)
    got = ssd(*args, backend='fused', chunk_size=chunk)
    assert got.dtype == dtype
    assert relative(got, ssd_reference(*[t.double() for t in args])) < bound


@runs_kernels
def test_groups_no_skip_and_strided_inputs():
    x, dt, A, B, C, _ = small(70, groups=2, heads=4)
    wide = torch.randn(2, 70, 4, 32, device=DEVICE)
    wide[..., :16] = x
    got = ssd(wide[..., :16], dt, A, B, C, backend='fused', chunk_size=16)
    assert relative(got, ssd_reference(x.double(), dt.double(), A.double(), B.double(),
                                       C.double())) < 1e-5


@runs_kernels
def test_every_gradient():
    leaves = [t.requires_grad_() for t in small(50)]
    weight = torch.randn(2, 50, 2, 16, device=DEVICE)
    got = torch.autograd.grad((ssd(*leaves, backend='fused', chunk_size=16) * weight).sum(), leaves)
    exact = [t.detach().double().requires_grad_() for t in leaves]
    want = torch.autograd.grad((ssd_reference(*exact) * weight).sum(), exact)
    for name, a, b in zip(['x', 'dt', 'A', 'B', 'C', 'D'], got, want, strict=True):
        assert relative(a, b) < 1e-4, name


@runs_kernels
@pytest.mark.parametrize(('dtype', '_'), [(torch.float32, 0), (torch.float16, 0), BF16])
@pytest.mark.parametrize('step', [1e-4, 0.1, 20.])
def test_no_overflow_at_the_limits(dtype, _, step):
    x, dt, A, B, C, D = small(100, dtype=dtype)
    y = ssd(x, torch.full_like(dt, step), torch.full_like(A, -16.), B, C, D, backend='fused')
    assert torch.isfinite(y).all()


@runs_kernels
def test_sizes_it_cannot_take():
    x, dt, A, B, C, D = small(8, width=24)
    with pytest.raises(ValueError, match='head width P that is a power of two from 16, got 24'):
        ssd(x, dt, A, B, C, D, backend='fused')
    x, dt, A, B, C, D = small(8)
    with pytest.raises(ValueError, match='chunk_size'):
        ssd(x, dt, A, B, C, D, backend='fused', chunk_size=48)


@pytest.mark.skipif(HERE, reason='it can run here')
def test_on_a_cpu_it_says_what_to_do():
    with pytest.raises(RuntimeError, match="'fused' cannot run.*CUDA device.*backend='torch'"):
        ssd(*small(8), backend='fused')
