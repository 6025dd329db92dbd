"""Gates: SiLU(a) · b, and RMSNorm(y · SiLU(z)), in one kernel each on a GPU."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmvitlin.ops.launch import on_gpu, triton_problem, warn_of_eager

_MOST_WIDE = 8192  # numbers of a row that a program of the kernels holds


def silu_product(gate: Tensor, value: Tensor, backend: str = 'auto') -> Tensor:
    """``SiLU(gate) · value``, the hidden layer of a SwiGLU.

    Args:
        gate: (…, C).
        value: Likewise.
        backend: 'auto', 'fused' (our Triton kernels; on a GPU the automatic choice) or 'torch'.

    Returns:
        (…, C), in the wider of both types.

    Raises:
        ValueError: an unknown backend.
        RuntimeError: the kernels cannot run here; says why.

    Source: SwiGLU (arXiv 2002.05202).
    """
    if _choose(backend, 'the gate of the SwiGLU', gate) == 'torch':
        return F.silu(gate) * value
    return torch.ops.mmvitlin.silu_product(_rows(gate), _rows(value)).view(gate.shape)


def gated_rms_norm(value: Tensor, gate: Tensor, weight: Tensor, eps: float, backend: str = 'auto'
                   ) -> Tensor:
    """``RMSNorm(value · SiLU(gate)) · weight``, the gate of Mamba-2's mixer.

    Args:
        value: (…, C).
        gate: Likewise.
        weight: (C,).
        eps: Added to the mean square.
        backend: See :func:`silu_product`.

    Returns:
        (…, C), in the wider type of value and gate; sums are in float32.

    Raises:
        ValueError: an unknown backend.
        RuntimeError: the kernels cannot run here; says why.

    Source: Mamba-2 (arXiv 2405.21060), section 7.1.
    """
    if _choose(backend, 'the gated norm of Mamba-2', value) == 'torch':
        y = value * F.silu(gate)
        scale = weight.to(y.dtype)  # of another type there is no fused norm
        return F.rms_norm(y, weight.shape, scale, eps)
    return torch.ops.mmvitlin.gated_rms_norm(_rows(value), _rows(gate), weight.contiguous(),
                                             eps).view(value.shape)


def _choose(backend: str, what: str, x: Tensor) -> str:
    if backend not in ('auto', 'fused', 'torch'):
        raise ValueError(f"unknown backend '{backend}' of a gate; choose 'auto', 'fused' or "
                         "'torch'")
    problem = triton_problem(x)
    if problem is None and x.shape[-1] > _MOST_WIDE:
        problem = f'the kernels take up to {_MOST_WIDE} channels, not {x.shape[-1]}'
    if backend == 'fused' and problem:
        raise RuntimeError(f"{what} cannot run with backend='fused': {problem}")
    if backend != 'auto':
        return backend
    if not x.numel():
        return 'torch'
    if on_gpu(x) and problem is None:
        return 'fused'
    warn_of_eager(what, x, problem)
    return 'torch'


def _rows(x: Tensor) -> Tensor:
    """(…, C) as (N, C) with contiguous columns; a slice of wider rows is not copied."""
    x = x if x.stride(-1) == 1 else x.contiguous()
    return x.reshape(-1, x.shape[-1])


def _run(launches: list, x: Tensor) -> None:
    with torch.cuda.device_of(x):
        for launch in launches:
            launch.run()


def _new(x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    return torch.empty(x.shape, dtype=dtype or x.dtype, device=x.device)


@torch.library.custom_op('mmvitlin::silu_product', mutates_args=())
def _product(gate: Tensor, value: Tensor) -> Tensor:
    from mmvitlin.ops.gating.kernels import product
    out = _new(gate, torch.promote_types(gate.dtype, value.dtype))
    _run(product(gate, value, out), gate)
    return out


@_product.register_fake
def _(gate, value):
    return _new(gate, torch.promote_types(gate.dtype, value.dtype))


@torch.library.custom_op('mmvitlin::silu_product_backward', mutates_args=())
def _product_backward(dout: Tensor, gate: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    from mmvitlin.ops.gating.kernels import product_gradients
    dgate, dvalue = _new(gate), _new(value)
    _run(product_gradients(gate, value, dout, dgate, dvalue), gate)
    return dgate, dvalue


@_product_backward.register_fake
def _(dout, gate, value):
    return _new(gate), _new(value)


@torch.library.custom_op('mmvitlin::gated_rms_norm', mutates_args=())
def _norm(value: Tensor, gate: Tensor, weight: Tensor, eps: float) -> Tensor:
    from mmvitlin.ops.gating.kernels import norm
    out = _new(value, torch.promote_types(value.dtype, gate.dtype))
    _run(norm(value, gate, weight, eps, out), value)
    return out


@_norm.register_fake
def _(value, gate, weight, eps):
    return _new(value, torch.promote_types(value.dtype, gate.dtype))


@torch.library.custom_op('mmvitlin::gated_rms_norm_backward', mutates_args=())
def _norm_backward(dout: Tensor, value: Tensor, gate: Tensor, weight: Tensor, eps: float
                   ) -> tuple[Tensor, Tensor, Tensor]:
    from mmvitlin.ops.gating.kernels import norm_gradients
    dvalue, dgate = _new(value), _new(gate)
    launches, parts = norm_gradients(value, gate, weight, eps, dout, dvalue, dgate)
    _run(launches, value)
    return dvalue, dgate, parts.sum(0).to(weight.dtype, copy=True)


@_norm_backward.register_fake
def _(dout, value, gate, weight, eps):
    return _new(value), _new(gate), torch.empty_like(weight)


def _keep(ctx, inputs, output):
    tensors = [t for t in inputs if isinstance(t, Tensor)]
    ctx.save_for_backward(*tensors)
    ctx.rest = inputs[len(tensors):]


def _differentiate_product(ctx, dout: Tensor):
    return torch.ops.mmvitlin.silu_product_backward(_rows(dout), *ctx.saved_tensors)


def _differentiate_norm(ctx, dout: Tensor):
    return *torch.ops.mmvitlin.gated_rms_norm_backward(_rows(dout), *ctx.saved_tensors,
                                                       *ctx.rest), None


_product.register_autograd(_differentiate_product, setup_context=_keep)
_norm.register_autograd(_differentiate_norm, setup_context=_keep)
