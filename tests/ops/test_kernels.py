"""Our Triton kernels, run by Triton's interpreter where there is no GPU.

The interpreter must be chosen before Triton is imported, so on a CPU these tests run in a
process of their own, which :func:`test_in_the_interpreter` starts.
"""
import importlib

import pytest
import torch
import torch.nn.functional as F

from mmvitlin.ops import (
    causal_depthwise_conv1d,
    gated_rms_norm,
    linear_attention,
    linear_attention_reference,
    silu_product,
    ssd,
    ssd_reference,
)
from mmvitlin.ops.linear_attention import FEATURE_MAPS
from tests.ops import interpreter
from tests.ops.test_ssd import inputs, relative

HERE = torch.cuda.is_available() or interpreter.SWITCHED_ON
runs_kernels = pytest.mark.skipif(not HERE, reason='run by test_in_the_interpreter')
DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
# the interpreter cuts what it rounds to bfloat16 off
TYPES = [(torch.float32, 1e-5), (torch.bfloat16, 2e-2), (torch.float16, 4e-3)]
types = pytest.mark.parametrize(('dtype', 'bound'), TYPES, ids=['float32', 'bfloat16', 'float16'])


@pytest.fixture(autouse=True)
def _interpreter(monkeypatch):
    if HERE and DEVICE == 'cpu':
        interpreter.repair(monkeypatch)


@pytest.mark.skipif(HERE, reason='the tests below run here')
def test_in_the_interpreter():
    pytest.importorskip('triton')
    interpreter.run_file_in_it(__file__, 20)


def compare(result, reference, leaves, exact, bound, least=1e-4):
    """Values, and every gradient of a random sum of them; ``least`` bounds those of float32."""
    assert result.dtype == leaves[0].dtype
    assert relative(result, reference) < bound
    weight = torch.randn_like(reference)
    actual = torch.autograd.grad((result.double() * weight).sum(), leaves)
    expected = torch.autograd.grad((reference * weight).sum(), exact)
    for place, (a, b) in enumerate(zip(actual, expected, strict=True)):
        assert a.dtype == leaves[place].dtype
        assert relative(a, b) < (least if bound < 1e-4 else 4e-2), place


def in_float64(leaves):
    return [t.detach().double().requires_grad_() for t in leaves]


@pytest.fixture
def few_programs(monkeypatch):
    """Each program takes several rows, or blocks of tokens, the last one fewer."""
    if HERE:
        for name, most in (('gating', 3), ('linear_attention', 8), ('causal_conv', 4)):
            kernels = importlib.import_module(f'mmvitlin.ops.{name}.kernels')
            monkeypatch.setattr(kernels, '_PROGRAMS', most)


@runs_kernels
@types
@pytest.mark.parametrize(('length', 'chunk', 'groups', 'heads', 'width', 'state'), [
    (1, 16, 1, 3, 16, 16), (16, 16, 1, 2, 16, 16), (50, 16, 2, 2, 16, 16), (70, 64, 1, 2, 32, 16),
    (33, 32, 1, 1, 24, 10),  # padded to powers of two
    (20, 16, 1, 1, 72, 16), (20, 16, 1, 1, 16, 72)])  # beyond what one program takes
def test_scan(dtype, bound, length, chunk, groups, heads, width, state):
    args = inputs(length, groups, heads, width, state, batch=1, dtype=dtype)
    leaves = [t.to(DEVICE).requires_grad_() for t in args]
    exact = in_float64(leaves)
    compare(ssd(*leaves, backend='fused', chunk_size=chunk), ssd_reference(*exact), leaves, exact,
            bound)


@runs_kernels
@types
@pytest.mark.parametrize(('length', 'groups', 'heads', 'programs', 'segments', 'chunks'), [
    (70, 1, 4, 1, 1, 5), (70, 2, 4, 4, 1, 5), (100, 1, 2, 4, 2, 4), (90, 2, 4, 9, 3, 2)])
def test_scan_of_several_chunks_a_segment_and_heads_a_program(
        dtype, bound, length, groups, heads, programs, segments, chunks, monkeypatch):
    """As long sequences and large batches are cut on a GPU."""
    cut = importlib.import_module('mmvitlin.ops.ssd.kernels').cut
    assert cut(length, 16, heads, programs) == (segments, chunks)
    fused = importlib.import_module('mmvitlin.ops.ssd.fused')
    monkeypatch.setattr(fused, '_programs', lambda x: programs)
    leaves = [t.to(DEVICE).requires_grad_() for t in inputs(
        length, groups, heads, 16, 16, batch=1, dtype=dtype)]
    exact = in_float64(leaves)
    compare(ssd(*leaves, backend='fused', chunk_size=16), ssd_reference(*exact), leaves, exact,
            bound)


@runs_kernels
def test_scan_without_skip_of_strided_inputs():
    x, dt, A, B, C, _ = (t.to(DEVICE) for t in inputs(40, heads=2, width=16, state=16, batch=1))
    wide = torch.randn(1, 40, 2, 32, device=DEVICE)
    wide[..., :16] = x
    actual = ssd(wide[..., :16], dt, A, B, C, backend='fused', chunk_size=16)
    assert relative(actual, ssd_reference(*(t.double() for t in (x, dt, A, B, C)))) < 1e-5


@runs_kernels
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('step', [1e-4, 20.])
def test_scan_does_not_overflow_at_the_limits(dtype, step):
    args = inputs(40, heads=2, width=16, state=16, batch=1, dtype=dtype)
    x, dt, A, B, C, D = (t.to(DEVICE).requires_grad_() for t in args)
    y = ssd(x, torch.full_like(dt, step), torch.full_like(A, -16.), B, C, D, backend='fused')
    grads = torch.autograd.grad(y.float().square().sum(), (x, B, C, D))
    assert all(torch.isfinite(t).all() for t in (y, *grads))


@runs_kernels
@types
@pytest.mark.parametrize(('length', 'channels', 'taps', 'bias', 'activation', 'ahead'), [
    (1, 5, 4, True, 'silu', 0), (20, 66, 4, True, 'silu', 0), (33, 8, 3, False, None, 0),
    (150, 8, 4, True, 'silu', 0), (33, 66, 3, True, None, 1), (40, 8, 5, True, 'silu', 2),
    (1, 5, 3, True, None, 1)])
def test_convolution(dtype, bound, length, channels, taps, bias, activation, ahead, few_programs):
    """Of a slice of wider rows, as a mixer's projection gives it."""
    wide = torch.randn(2, length, channels + 3, device=DEVICE).to(dtype).requires_grad_()
    leaves = [wide, torch.randn(channels, 1, taps, device=DEVICE, requires_grad=True)]
    if bias:
        leaves.append(torch.randn(channels, device=DEVICE, requires_grad=True))
    exact = in_float64(leaves)
    actual = causal_depthwise_conv1d(wide[..., 3:], *leaves[1:], *[None] * (not bias),
                                     activation=activation, backend='fused', ahead=ahead)
    expected = F.conv1d(exact[0][..., 3:].mT, *exact[1:], padding=taps - 1, groups=channels)
    expected = expected[..., ahead:ahead + length].mT
    compare(actual, F.silu(expected) if activation else expected, leaves, exact, bound)


@runs_kernels
@types
@pytest.mark.parametrize(('length', 'width', 'out', 'normalize', 'feature_map'), [
    (70, 20, 24, True, 'elu'), (33, 16, 16, True, 'relu'), (150, 16, 16, False, 'elu'),
    (70, 20, 24, True, 'paired_softmax'), (40, 16, 16, False, 'paired_softmax'),
    (40, 16, 16, True, None)])
def test_linear_attention(dtype, bound, length, width, out, normalize, feature_map, few_programs):
    leaves = [torch.randn(2, length, 2, n, device=DEVICE).abs_().to(dtype).requires_grad_()
              for n in (width, width, out)]
    if feature_map:  # of which only 'elu' of small numbers needs mapping with care
        leaves = [(t.detach() - 0.5).requires_grad_() for t in leaves]
    exact = in_float64(leaves)
    q, k, v = (t.transpose(1, 2) for t in exact)
    if feature_map:
        q, k = FEATURE_MAPS[feature_map](q), FEATURE_MAPS[feature_map](k)
    compare(linear_attention(*(t.transpose(1, 2) for t in leaves), normalize, feature_map, 'fused'),
            linear_attention_reference(q, k, v, normalize), leaves, exact, bound)


@runs_kernels
def test_linear_attention_of_other_queries_than_keys():
    leaves = [torch.randn(1, 2, n, 16, device=DEVICE, requires_grad=True) for n in (20, 45, 45)]
    exact = in_float64(leaves)
    for normalize in (True, False):
        compare(linear_attention(*leaves, normalize, 'elu', 'fused'),
                linear_attention(*exact, normalize, 'elu', 'torch'), leaves, exact, 1e-5)


@runs_kernels
@pytest.mark.parametrize('feature_map', ['elu', 'paired_softmax'])
def test_small_gradients_in_float16(feature_map):
    """Of a long sequence, whose sums are large and whose shares are small."""
    leaves = [torch.randn(1, 1, 3000, 16, device=DEVICE).half().requires_grad_() for _ in 'qkv']
    exact = in_float64(leaves)
    dy = torch.randn(1, 1, 3000, 16, device=DEVICE).half() * 0.01
    y = linear_attention(*leaves, feature_map=feature_map, backend='fused')
    plain = linear_attention(*exact, feature_map=feature_map, backend='torch')
    for a, b in zip(torch.autograd.grad(y, leaves, dy),
                    torch.autograd.grad(plain, exact, dy.double()), strict=True):
        unit = b.abs().max()
        assert (a - b).abs().max() < max(0.02 * unit, 1e-7)  # half of float16's smallest number


@pytest.mark.skipif(HERE, reason='it can run here')
@pytest.mark.parametrize('name', ['scan', 'convolution', 'attention'])
def test_on_a_cpu_they_say_what_to_do(name):
    run = dict(scan=lambda: ssd(*inputs(8), backend='fused'),
               convolution=lambda: causal_depthwise_conv1d(
                   torch.randn(1, 4, 3), torch.randn(3, 1, 4), backend='fused'),
               attention=lambda: linear_attention(*torch.randn(3, 1, 1, 4, 8), backend='fused'))
    with pytest.raises(RuntimeError, match="'fused' cannot run.*CUDA device.*backend='torch'"):
        run[name]()


def of_wider_rows(*shape, dtype):
    """A tensor whose rows are parts of wider ones, as those of a split projection."""
    wide = torch.randn(*shape[:-1], shape[-1] + 7, device=DEVICE, dtype=dtype)
    return wide[..., 3:3 + shape[-1]]




@runs_kernels
@types
@pytest.mark.parametrize('shape', [(1, 1, 16), (2, 5, 24), (3, 1, 7)])
def test_product_of_a_gate(dtype, bound, shape, few_programs):
    leaves = [of_wider_rows(*shape, dtype=dtype).requires_grad_() for _ in range(2)]
    exact = in_float64(leaves)
    compare(silu_product(*leaves, backend='fused'), F.silu(exact[0]) * exact[1], leaves, exact,
            bound)


@runs_kernels
@types
@pytest.mark.parametrize('shape', [(1, 1, 16), (2, 5, 24), (3, 1, 7)])
def test_gated_norm(dtype, bound, shape, few_programs):
    leaves = [of_wider_rows(*shape, dtype=dtype).requires_grad_() for _ in range(2)]
    leaves.append(torch.randn(shape[-1], device=DEVICE, requires_grad=True))
    exact = in_float64(leaves)
    value, gate, weight = exact
    expected = F.rms_norm(value * F.silu(gate), weight.shape, weight, 1e-5)
    compare(gated_rms_norm(*leaves, 1e-5, backend='fused'), expected, leaves, exact, bound)


@runs_kernels
def test_gates_of_two_types_are_in_the_wider():
    value, gate = (torch.randn(2, 3, 16, device=DEVICE, dtype=t)
                   for t in (torch.float32, torch.bfloat16))
    weight = torch.randn(16, device=DEVICE)
    for fused, plain in ((gated_rms_norm(value, gate, weight, 1e-5, backend=b) for b in
                          ('fused', 'torch')), (silu_product(gate, value, backend=b) for b in
                                                ('fused', 'torch'))):
        assert fused.dtype == plain.dtype == torch.float32
        torch.testing.assert_close(fused, plain, atol=2e-2, rtol=2e-2)
