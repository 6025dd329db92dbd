"""Kernels against their references, on a GPU: ours, and those of other packages."""
from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mmvitlin.ops import (
    available_backends,
    causal_depthwise_conv1d,
    gated_rms_norm,
    linear_attention,
    linear_attention_reference,
    silu_product,
    ssd,
    ssd_reference,
)
from mmvitlin.ops.linear_attention import FEATURE_MAPS

Tell = Callable[[str, object], None]
OWN = ('fused', 'torch')
BOUNDS = {torch.float32: 5e-3, torch.bfloat16: 4e-2}  # relative; float32 products may be in TF32


class Sizes(NamedTuple):
    """Sizes of a check."""
    lengths: tuple[int, ...] = (64, 197, 1000)  # of tokens, kernels against references
    long: tuple[int, int] = (16, 4097)  # images and tokens of kernels that go through many blocks
    images: tuple[tuple[int, int], ...] = ((1024, 2048), (2048, 4096))
    batch: int = 128  # of the training step
    network: dict | None = None  # instead of the base networks: width and depth
    rounds: int = 20
    seconds: float = 15.
    stages: tuple[str, ...] = ('elu_attention', 'elu_both', 'elu_both_tuned', 'softmax_tuned')


TINY = Sizes((33, ), (2, 65), ((32, 64), ), 2, dict(width=64, depth=4), 2, 0.1, ())


def tried(call: Callable[[], object]) -> object:
    """The result, or why there is none: a row must not end a part."""
    try:
        result = call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # what fails there is this call's fault
        return result
    except Exception as error:
        with suppress(Exception):  # after some faults nothing runs any more
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        return f'{type(error).__name__}: {str(error)[:300]}'


def _relative(actual: Tensor, expected: Tensor) -> float:
    expected = expected.double()
    return ((actual.double() - expected).norm() / expected.norm().clamp_min(1e-30)).item()


def compare(function: Callable[..., Tensor], reference: Callable[..., Tensor], leaves: list[Tensor],
            names: str) -> dict[str, float]:
    """Relative errors of an output and of every gradient against the reference in float64."""
    inputs = [t.clone().requires_grad_() for t in leaves]
    exact = [t.double().requires_grad_() for t in leaves]
    actual, expected = function(*inputs), reference(*exact)
    weight = torch.randn_like(expected)
    actual_grads = torch.autograd.grad((actual.double() * weight).sum(), inputs)
    expected_grads = torch.autograd.grad((expected * weight).sum(), exact)
    return dict(output=_relative(actual, expected), **{
        name: _relative(a, b)
        for name, a, b in zip(names.split(), actual_grads, expected_grads, strict=True)})


def others(x: Tensor) -> list[str]:
    """Scans of other packages that can run on the device of a tensor; they compile many forms of
    a kernel to find the fastest."""
    return [b for b in available_backends(x) if b in ('mamba_ssm', 'fla')]


def scan_inputs(device: str, length: int, dtype: torch.dtype, heads: int = 24, batch: int = 1,
                width: int = 64, state: int = 64, groups: int = 1) -> list[Tensor]:
    """x, dt, A, B, C, D of a scan."""
    def normal(*shape):
        return torch.randn(*shape, device=device)
    return [normal(batch, length, heads, width).to(dtype),
            F.softplus(normal(batch, length, heads) - 4),
            -torch.empty(heads, device=device).uniform_(1, 16),
            *(normal(batch, length, groups, state).to(dtype) for _ in 'BC'), normal(heads)]


def _linear(q: Tensor, k: Tensor, v: Tensor, normalize: bool = True, feature_map: str = 'elu'
            ) -> Tensor:
    phi = FEATURE_MAPS[feature_map]
    return linear_attention_reference(phi(q), phi(k), v, normalize)


def _conv(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Written out: a padded depthwise convolution, bias and SiLU."""
    padded = F.pad(x.transpose(1, 2), (weight.shape[-1] - 1, 0))
    return F.silu(F.conv1d(padded, weight, bias, groups=weight.shape[0])).transpose(1, 2)


def _gated_norm(value: Tensor, gate: Tensor, weight: Tensor) -> Tensor:
    gated = value * F.silu(gate)
    return gated / (gated.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight


def kernels(device: str, sizes: Sizes, tell: Tell) -> None:
    """Every form of our operators against its reference; what training uses comes first."""
    for dtype in (torch.bfloat16, torch.float32):
        for length in sizes.lengths:
            scan = scan_inputs(device, length, dtype, heads=2, batch=2)
            qkv = [torch.randn(2, 2, length, 64, device=device).to(dtype) for _ in 'qkv']
            conv = [torch.randn(2, length, 128, device=device).to(dtype),
                    torch.randn(128, 1, 4, device=device), torch.randn(128, device=device)]
            calls = {f'scan {b}': partial(compare, partial(ssd, backend=b), ssd_reference, scan,
                                          'x dt A B C D')
                     for b in OWN if b in available_backends(scan[0])}
            for (phi, normalize), b in itertools.product(
                    (('elu', True), ('elu', False), ('relu', True), ('paired_softmax', True)),
                    OWN):
                how = dict(feature_map=phi, normalize=normalize)
                name = f"linear attention {b} {phi}{'' if normalize else ' not normalised'}"
                calls[name] = partial(compare, partial(linear_attention, backend=b, **how),
                                      partial(_linear, **how), qkv, 'q k v')
            for b in OWN:
                calls[f'convolution {b}'] = partial(
                    compare, partial(causal_depthwise_conv1d, activation='silu', backend=b), _conv,
                    conv, 'x weight bias')
            gates = [torch.randn(2, length, 96, device=device).to(dtype) for _ in 'yz']
            scale = torch.randn(96, device=device)
            for b in OWN:
                calls[f'gate of SwiGLU {b}'] = partial(
                    compare, partial(silu_product, backend=b), lambda a, b: F.silu(a) * b, gates,
                    'gate value')
                calls[f'gated norm {b}'] = partial(
                    compare, partial(gated_rms_norm, eps=1e-5, backend=b), _gated_norm,
                    [*gates, scale], 'value gate weight')
            _judge(calls, dtype, length, tell)
        images, length = sizes.long
        heads = 24 if images > 2 else 2  # several a program, and several chunks a segment
        scan = scan_inputs(device, length, dtype, heads, max(images // 4, 1))
        wide = scan_inputs(device, length, dtype, 6, 1, width=65, state=128, groups=6)
        whole = partial(ssd, backend='torch')
        if 'fused' in available_backends(scan[0]):
            _judge({f'scan fused{what}': partial(compare, partial(ssd, backend='fused'), whole,
                                                 leaves, 'x dt A B C D')
                    for what, leaves in (('', scan), (' of a Mamba-2 ViT', wide))},
                   dtype, length, tell)
        qkv = [torch.randn(images, 4, length, 64, device=device).to(dtype) for _ in 'qkv']
        calls = {f'linear attention fused {phi}': partial(
            compare, partial(linear_attention, feature_map=phi, backend='fused'),
            partial(linear_attention, feature_map=phi, backend='torch'), qkv, 'q k v')
            for phi in ('elu', 'paired_softmax')}
        conv = [torch.randn(images, length, 128, device=device).to(dtype),
                torch.randn(128, 1, 4, device=device), torch.randn(128, device=device)]
        calls['convolution fused'] = partial(
            compare, partial(causal_depthwise_conv1d, activation='silu', backend='fused'), _conv,
            conv, 'x weight bias')
        _judge(calls, dtype, length, tell)


def libraries(device: str, sizes: Sizes, tell: Tell) -> None:
    """Scans and convolutions of other packages that are installed, as we call them, against the
    references."""
    length = sizes.lengths[-1]
    for dtype in (torch.bfloat16, torch.float32):
        scan = scan_inputs(device, length, dtype, heads=2, batch=2)
        conv = [torch.randn(2, length, 128, device=device).to(dtype),
                torch.randn(128, 1, 4, device=device), torch.randn(128, device=device)]
        calls = {f'scan {b}': partial(compare, partial(ssd, backend=b), ssd_reference, scan,
                                      'x dt A B C D') for b in others(scan[0])}
        calls |= {f'convolution {b}': partial(
            compare, partial(causal_depthwise_conv1d, activation='silu', backend=b), _conv, conv,
            'x weight bias') for b in ('causal_conv1d', 'fla')}
        _judge(calls, dtype, length, tell)


def _judge(calls: dict[str, Callable[[], object]], dtype: torch.dtype, length: int, tell: Tell
           ) -> None:
    """Tell each call's errors, and whether they are small enough."""
    for name, call in calls.items():
        row = tried(call)
        if isinstance(row, dict):
            row = dict(row, right=all(error < BOUNDS[dtype] for error in row.values()))
        tell(f"{name} {length} {str(dtype).removeprefix('torch.')}", row)
