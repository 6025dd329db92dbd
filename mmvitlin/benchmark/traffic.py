"""Device memory that operators read and write, and kernels that they launch, from shapes only.

What is counted runs on torch's meta device. Every operator but a view reads its inputs and writes
its outputs once, as eager execution does; an operator of mmvitlin is counted by the operators in
its body, and a Triton kernel by the tensors that its launch is given.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mmvitlin.ops import causal_conv, gating
from mmvitlin.ops.launch import Launch, recorded
from mmvitlin.ops.linear_attention import fused as fused_attention
from mmvitlin.ops.ssd import chunked, fused

_OURS = {
    'mmvitlin::causal_conv': causal_conv._conv,
    'mmvitlin::causal_conv_backward': causal_conv._conv_backward,
    'mmvitlin::gated_rms_norm': gating._norm,
    'mmvitlin::gated_rms_norm_backward': gating._norm_backward,
    'mmvitlin::linear_attention': fused_attention._attend,
    'mmvitlin::linear_attention_backward': fused_attention._attend_backward,
    'mmvitlin::silu_product': gating._product,
    'mmvitlin::silu_product_backward': gating._product_backward,
    'mmvitlin::ssd_chunked': chunked._scan,
    'mmvitlin::ssd_chunked_backward': chunked._scan_backward,
    'mmvitlin::ssd_fused': fused._fused,
    'mmvitlin::ssd_fused_backward': fused._fused_backward,
}
_NO_KERNEL = {'aten::empty.memory_format', 'aten::empty_strided', 'aten::empty_like',
              'aten::new_empty', 'aten::new_empty_strided', 'aten::detach', 'aten::alias',
              'aten::_unsafe_view', 'aten::lift_fresh'}


class _AsOnGpu(TorchFunctionMode):
    """Counts ``F.rms_norm``, softmax attention and norms of vectors as the one kernel that a GPU
    has for each, in both directions; on the meta device they come apart."""

    def __init__(self, counter: Traffic):
        super().__init__()
        self.counter = counter

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is F.rms_norm:
            weight = kwargs.get('weight', args[2] if len(args) > 2 else None)
            return _Norm.apply(args[0], weight, self.counter)
        if func is F.scaled_dot_product_attention:
            return _Attention.apply(*args[:3], self.counter)
        if func is torch.linalg.vector_norm:
            return _VectorNorm.apply(args[0], kwargs.get('dim'), kwargs.get('dtype'), self.counter)
        return func(*args, **kwargs)


class _Norm(torch.autograd.Function):

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, counter: Traffic) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.counter = counter
        counter._add('rms_norm', _size((x, x, weight)))
        return torch.empty_like(x)

    @staticmethod
    def backward(ctx, dout: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight = ctx.saved_tensors
        ctx.counter._add('rms_norm_backward', _size((dout, x, x, weight, weight)))
        return torch.empty_like(x), torch.empty_like(weight), None


class _Attention(torch.autograd.Function):

    @staticmethod
    def forward(ctx, q: Tensor, k: Tensor, v: Tensor, counter: Traffic) -> Tensor:
        ctx.save_for_backward(q, k, v)
        ctx.counter = counter
        out = torch.empty_like(q)
        counter._add('attention', _size((q, k, v, out)))
        return out

    @staticmethod
    def backward(ctx, dout: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, v = ctx.saved_tensors
        gradients = tuple(torch.empty_like(x) for x in (q, k, v))
        ctx.counter._add('attention_backward', _size((q, k, v, dout, dout, *gradients)))
        return *gradients, None


class _VectorNorm(torch.autograd.Function):

    @staticmethod
    def forward(ctx, x: Tensor, dim: int | None, dtype: torch.dtype | None, counter: Traffic
                ) -> Tensor:
        ctx.save_for_backward(x)
        ctx.dim, ctx.counter = dim, counter
        shape = () if dim is None else x.movedim(dim, 0)[0].shape
        out = x.new_empty(shape, dtype=dtype or x.dtype)
        counter._add('vector_norm', _size((x, out)))
        return out

    @staticmethod
    def backward(ctx, dout: Tensor) -> tuple[Tensor, None, None, None]:
        x, = ctx.saved_tensors
        ctx.counter._add('vector_norm_backward', _size((x, x, dout)))
        return torch.empty_like(x), None, None, None


class Traffic(TorchDispatchMode):
    """Counts while it is entered.

    Attributes:
        bytes: Read and written.
        kernels: Launched.
        by_operator: Bytes of each operator, by its name.
        launches: Those of our Triton kernels.
    """

    def __init__(self):
        super().__init__()
        self.bytes, self.kernels, self.by_operator = 0, 0, Counter()
        self.launches: list[Launch] = []

    def _add(self, name: str, moved: int) -> None:
        self.bytes += moved
        self.kernels += 1
        self.by_operator[name] += moved

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.name()
        if name in _OURS:
            with self, recorded() as launches:
                out = _OURS[name]._init_fn(*args, **(kwargs or {}))
            self.launches += launches
            for launch in launches:
                self._add(launch.kernel.fn.__name__, launch.moved_bytes())
            return out
        out = func(*args, **(kwargs or {}))
        if not func.is_view and name not in _NO_KERNEL:
            self._add(name, _size(tree_leaves((args, kwargs))) + _size(tree_leaves(out)))
        return out


def _size(values: Iterable) -> int:
    return sum(t.numel() * t.element_size() for t in values if isinstance(t, Tensor))


def traffic(call: Callable[..., Tensor], leaves: Iterable[Tensor], backward: bool = True,
            counting: Callable[[Callable], AbstractContextManager] = lambda add: nullcontext()
            ) -> Traffic:
    """Count one call with tensors on the meta device, and its backward pass.

    Args:
        call: Gives one tensor.
        leaves: Its arguments, which take gradients where ``backward``.
        backward: Count the backward pass too, less the first gradient and the sums of those of one
            tensor.
        counting: Makes a context in which kernels of other packages are counted, from what adds a
            kernel's name and bytes.
    """
    leaves = [t.detach().requires_grad_(backward and t.is_floating_point()) for t in leaves]
    counter = Traffic()
    with counting(counter._add):
        with counter, _AsOnGpu(counter):
            out = call(*leaves)
        if backward:
            gradient = torch.empty_like(out)
            with counter:
                torch.autograd.grad(out, leaves, gradient, allow_unused=True)
    return counter
