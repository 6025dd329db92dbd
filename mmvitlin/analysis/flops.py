"""Floating-point operations and memory traffic of a network, counted from shapes.

The network runs once on torch's meta device, where tensors have shapes and no values, so an image
of any size is counted in moments. Counters that hook modules miss fused attention and scans; here
every operator that multiplies is seen where it is dispatched.
"""
from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn as nn
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


def _matmul(a: Tensor, b: Tensor) -> int:
    return 2 * math.prod(a.shape) * b.shape[-1]


def _convolution(x: Tensor, weight: Tensor, bias, stride, padding, dilation, transposed: bool,
                 *_, out: Tensor) -> int:
    # each output (each input, if transposed) meets the kernel of its group
    pixels = math.prod((x if transposed else out).shape[2:]) * len(x)
    return 2 * pixels * math.prod(weight.shape)


def _attention(q: Tensor, k: Tensor, v: Tensor) -> int:
    return 2 * math.prod(q.shape[:-1]) * k.shape[-2] * (q.shape[-1] + v.shape[-1])


def _scan(x: Tensor, B: Tensor, chunk: int, per_head: bool) -> int:
    """C Bᵀ and its product with x inside chunks, states in, states out."""
    batch, length, heads, width = x.shape
    groups, state = B.shape[2:]
    inside = chunk * (state * (heads if per_head else groups) + heads * width)
    return 2 * batch * length * (inside + 2 * heads * state * width)


_FORMULAS: dict[str, tuple[str, Callable]] = {
    'aten.mm': ('linear', lambda a, out: _matmul(*a[:2])),
    'aten.addmm': ('linear', lambda a, out: _matmul(*a[1:3])),
    'aten.bmm': ('batched product', lambda a, out: _matmul(*a[:2])),
    'aten.baddbmm': ('batched product', lambda a, out: _matmul(*a[1:3])),
    'aten.convolution': ('convolution', lambda a, out: _convolution(*a, out=out)),
    'mmvitlin.ssd_chunked': ('scan', lambda a, out: _scan(a[0], a[3], a[5], False)),
    'mmvitlin.ssd_fused': ('scan', lambda a, out: _scan(a[0], a[3], a[6], True)),
    # decay, input and output of every number that a channel remembers
    'mmvitlin.selective_scan': ('scan', lambda a, out: 6 * a[0].numel() * a[2].shape[1]),
    **{f'aten.{name}': ('norm', lambda a, out: 5 * out.numel())  # mean, variance, scale, shift
       for name in ('native_layer_norm', 'native_batch_norm', 'native_group_norm',
                    '_native_batch_norm_legit_no_training', 'cudnn_batch_norm')},
    **{f'aten._scaled_dot_product_{kind}': ('attention', lambda a, out: _attention(*a[:3]))
       for kind in ('flash_attention', 'flash_attention_for_cpu', 'efficient_attention',
                    'cudnn_attention', 'fused_attention_overrideable')},
}


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


class _Counting(TorchDispatchMode):

    def __init__(self, element_bytes: int):
        super().__init__()
        self.counts, self.element_bytes = Counts(), element_bytes

    def add(self, kind: str, flops: int, operands: tuple) -> None:
        self.counts.flops += flops
        self.counts.by_kind[kind] += flops
        self.counts.bytes += self.element_bytes * sum(
            t.numel() for t in operands if isinstance(t, Tensor))

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        first = out[0] if isinstance(out, tuple) and out else out
        name = str(func.overloadpacket)
        if found := _FORMULAS.get(name):
            kind, formula = found
            self.add(kind, formula(args, first), (*args, first))
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
        TypeError: a part of the network, such as a frozen teacher, lets nobody copy it.
    """
    twin = copy.deepcopy(network)
    if shared := {id(m) for m in network.modules()} & {id(m) for m in twin.modules()}:
        raise TypeError(f'{len(shared)} modules of {type(network).__name__} are not copied with it')
    twin = twin.to('meta').eval()
    mode = _Counting(element_bytes)
    with torch.no_grad(), _WholeOperators(mode), mode:
        getattr(twin, method)(torch.empty(shape, device='meta'))
    return mode.counts


class _WholeOperators(torch.overrides.TorchFunctionMode):
    """Attention and RMSNorm as one operator each: on meta they fall apart into many."""

    def __init__(self, counting: _Counting):
        super().__init__()
        self.counting = counting

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.nn.functional.scaled_dot_product_attention:
            q, k, v = args[:3] if len(args) >= 3 else (*args, *(kwargs[n] for n in (
                'query', 'key', 'value')[len(args):]))
            if k.shape[1] != q.shape[1]:  # grouped queries
                k, v = (t.repeat_interleave(q.shape[1] // t.shape[1], 1) for t in (k, v))
            return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v)[0]
        if func is torch.nn.functional.rms_norm:
            before = self.counting.counts.elementwise
            out = func(*args, **kwargs)
            self.counting.counts.elementwise = before
            # a LayerNorm without mean and shift
            self.counting.add('norm', 4 * out.numel(), (*args, *kwargs.values(), out))
            return out
        return func(*args, **kwargs)


def machine_limits(device: torch.device | str = 'cpu', dtype: torch.dtype = torch.float32,
                   seconds: float = 2.) -> dict[str, float]:
    """What this machine reaches, measured here and now.

    Returns:
        'flops': best rate of a large matrix product, per second, by the faster of torch's
        libraries; 'bytes': best rate of a copy, read and written, per second.
    """
    from mmvitlin.analysis.latency import time_interleaved
    from mmvitlin.ops.fast_linear import linear
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
