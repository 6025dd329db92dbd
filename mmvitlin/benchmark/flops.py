"""Floating-point operations and memory traffic of a network, counted from shapes.

The network runs once on torch's meta device, where tensors have shapes and no values, so an image
of any size is counted in moments. FLOPs are those of torch's ``FlopCounterMode``, with formulas for
our operators (:mod:`mmvitlin.ops.flops`) and for norms, which torch leaves out.
"""
from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Container, Iterable
from dataclasses import dataclass, field

import torch
import torch.nn as nn
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

import mmvitlin.ops.flops  # noqa: F401  formulas of our operators
from mmvitlin.benchmark.latency import time_interleaved
from mmvitlin.ops.cpu.fast_linear import linear

_ATEN = torch.ops.aten
_KINDS = {
    _ATEN.mm: 'linear', _ATEN.addmm: 'linear', _ATEN.bmm: 'batched product',
    _ATEN.baddbmm: 'batched product', _ATEN.convolution: 'convolution',
    _ATEN._scaled_dot_product_efficient_attention: 'attention',
    torch.ops.mmvitlin.ssd_chunked: 'scan', torch.ops.mmvitlin.ssd_fused: 'scan',
    torch.ops.mmvitlin.selective_scan: 'scan',
}
_NORMS = [_ATEN.native_layer_norm, _ATEN.native_batch_norm, _ATEN.native_group_norm,
          _ATEN._native_batch_norm_legit_no_training, _ATEN.cudnn_batch_norm]


def _norm(x_shape, *_, **__) -> int:
    """Mean, variance, scale and shift."""
    return 5 * math.prod(x_shape)


@dataclass
class Counts:
    """What a network does to one input.

    Attributes:
        flops: Multiplications and additions of products, convolutions, attention, scans and
            norms.
        bytes: What those operators read and write, once each; steps between them are taken to be
            fused into them. Code that keeps what lies between two operators in the processor's
            cache needs less.
        by_kind: FLOPs of 'linear', 'convolution', 'attention', 'batched product', 'scan' and
            'norm'.
        elementwise: Values written by all other operators: activations, gates, copies.
    """
    flops: int = 0
    bytes: int = 0
    by_kind: Counter = field(default_factory=Counter)
    elementwise: int = 0


class _Moved(TorchDispatchMode):
    """Bytes of the operators that have a formula, and the values that all others write."""

    def __init__(self, counts: Counts, formulas: Container, element_bytes: int):
        super().__init__()
        self.counts, self.formulas, self.element_bytes = counts, formulas, element_bytes

    def add(self, operands: Iterable) -> None:
        self.counts.bytes += self.element_bytes * sum(
            t.numel() for t in operands if isinstance(t, Tensor))

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        first = out[0] if isinstance(out, tuple) and out else out
        if func.overloadpacket in self.formulas:
            self.add((*args, first))
        elif isinstance(first, Tensor) and not func.is_view:
            self.counts.elementwise += first.numel()
        return out


def count(network: nn.Module, shape: tuple[int, ...], element_bytes: int = 4,
          method: str = 'forward') -> Counts:
    """Count one forward pass.

    Args:
        network: Called with one tensor; not changed.
        shape: Of the input, (B, 3, H, W).
        element_bytes: Size of a value: 4 for float32, 2 for half precision.
        method: What is called with the input.

    Returns:
        The counts. Attention counts as 4 L² d a layer, whichever kernel would run it.

    Raises:
        TypeError: a part of the network, such as a frozen teacher, cannot be copied.
    """
    copied = copy.deepcopy(network)
    if shared := {id(m) for m in network.modules()} & {id(m) for m in copied.modules()}:
        raise TypeError(f'{len(shared)} modules of {type(network).__name__} are not copied with it')
    copied = copied.to('meta').eval()
    counter = FlopCounterMode(display=False, custom_mapping=dict.fromkeys(_NORMS, _norm))
    counts = Counts()
    moved = _Moved(counts, counter.flop_registry, element_bytes)
    with torch.no_grad(), _WholeOperators(moved), counter, moved:
        getattr(copied, method)(torch.empty(shape, device='meta'))
    kinds = _KINDS | dict.fromkeys(_NORMS, 'norm')
    for operator, flops in counter.flop_counts['Global'].items():
        counts.by_kind[kinds.get(operator, str(operator))] += flops
    counts.flops = counts.by_kind.total()
    return counts


class _WholeOperators(torch.overrides.TorchFunctionMode):
    """Attention and RMSNorm as one operator each: on meta they are split into many."""

    def __init__(self, moved: _Moved):
        super().__init__()
        self.moved = moved

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.nn.functional.scaled_dot_product_attention:
            q, k, v = args[:3] if len(args) >= 3 else (*args, *(kwargs[n] for n in (
                'query', 'key', 'value')[len(args):]))
            if k.shape[1] != q.shape[1]:  # grouped queries
                k, v = (t.repeat_interleave(q.shape[1] // t.shape[1], 1) for t in (k, v))
            return _ATEN._scaled_dot_product_efficient_attention(q, k, v, None, False)[0]
        if func is torch.nn.functional.rms_norm:
            counts, before = self.moved.counts, self.moved.counts.elementwise
            out = func(*args, **kwargs)
            counts.elementwise = before
            counts.by_kind['norm'] += 4 * out.numel()  # a LayerNorm without mean and shift
            self.moved.add((*args, *kwargs.values(), out))
            return out
        return func(*args, **kwargs)


def machine_limits(device: torch.device | str = 'cpu', dtype: torch.dtype = torch.float32,
                   seconds: float = 2.) -> dict[str, float]:
    """What this machine reaches, measured here and now.

    Returns:
        'flops': best rate of a large matrix product, per second, by the faster of torch's
        libraries; 'bytes': best rate of a copy, read and written, per second.
    """
    side = 8192 if torch.device(device).type == 'cuda' else 2048
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    large = torch.empty(2**26 if torch.device(device).type == 'cuda' else 2**25, device=device)
    target = torch.empty_like(large)
    with torch.inference_mode():
        times = time_interleaved({'product': lambda: torch.mm(a, b), 'layer': lambda: linear(a, b),
                                  'copy': lambda: target.copy_(large)}, device, warmup=2,
                                 rounds=100, seconds=seconds)
    fastest = min(times['product']['p10'], times['layer']['p10'])
    return dict(flops=2 * side**3 / fastest * 1e3,
                bytes=2 * 4 * large.numel() / times['copy']['p10'] * 1e3)


def attainable_ms(counts: Counts, limits: dict[str, float]) -> float:
    """Least time of the counted work on a machine: the slower of its products and its traffic."""
    return 1e3 * max(counts.flops / limits['flops'], counts.bytes / limits['bytes'])
