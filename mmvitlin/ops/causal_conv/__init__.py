"""Short causal depthwise convolution along the tokens."""
from __future__ import annotations

from collections.abc import Callable
from functools import wraps

import torch
import torch.nn.functional as F
from torch import Tensor

from mmvitlin.ops import packages
from mmvitlin.ops.launch import on_gpu, triton_problem, warn_of_eager
from mmvitlin.ops.padding import zeros_around
from mmvitlin.ops.precision import no_autocast

_MOST_TAPS = 8  # of our kernels, whose backward pass has taps² loads


def conv_torch(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None,
               ahead: int = 0) -> Tensor:
    """Ordinary operators, as K shifted multiply-adds.

    The sequence stays channels-last, where ``F.conv1d`` would transpose it twice.
    """
    taps = weight.shape[-1]
    length = x.shape[1]
    with no_autocast(x):  # which would keep a widened copy of x for every tap
        padded = F.pad(x, (0, 0, taps - 1 - ahead, ahead))
        columns = weight[:, 0].t()
        y = padded[:, :length] * columns[0]
        if bias is not None:
            y = y + bias
        for k in range(1, taps):
            y = torch.addcmul(y, padded[:, k:k + length], columns[k])
        y = y.to(x.dtype)
    return F.silu(y) if activation else y


@torch.library.custom_op('mmvitlin::causal_conv', mutates_args=())
def _conv(x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool, ahead: int) -> Tensor:
    from mmvitlin.ops.causal_conv.kernels import convolve
    launches, y = convolve(x, weight, bias, silu, ahead)
    with torch.cuda.device_of(x):
        for launch in launches:
            launch.run()
    return y


@_conv.register_fake
def _(x, weight, bias, silu, ahead):
    return torch.empty(x.shape, dtype=x.dtype, device=x.device)


@torch.library.custom_op('mmvitlin::causal_conv_backward', mutates_args=())
def _conv_backward(dy: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool,
                   ahead: int) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, weight and bias (zeros of the weight's type without one)."""
    from mmvitlin.ops.causal_conv.kernels import convolve_backward
    launches, dx, parts = convolve_backward(dy, x, weight, bias, silu, ahead)
    with torch.cuda.device_of(x):
        for launch in launches:
            launch.run()
    sums = parts.sum((0, 1))
    d_weight = sums[:-1].t()[:, None].to(weight.dtype).contiguous()
    d_bias = sums[-1].to(weight.dtype if bias is None else bias.dtype, copy=True)
    return dx, d_weight, d_bias


@_conv_backward.register_fake
def _(dy, x, weight, bias, silu, ahead):
    return (torch.empty(x.shape, dtype=x.dtype, device=x.device), torch.empty_like(weight),
            torch.empty(weight.shape[0], dtype=weight.dtype if bias is None else bias.dtype,
                        device=x.device))


def _setup(ctx, inputs, output):
    *tensors, ctx.silu, ctx.ahead = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx, dy: Tensor):
    x, weight, bias = ctx.saved_tensors
    dy = dy if dy.stride(-1) == 1 else dy.contiguous()
    dx, d_weight, d_bias = torch.ops.mmvitlin.causal_conv_backward(dy, x, weight, bias, ctx.silu,
                                                                   ctx.ahead)
    return dx, d_weight, None if bias is None else d_bias, None, None


_conv.register_autograd(_differentiate, setup_context=_setup)


def conv_fused(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None,
               ahead: int = 0) -> Tensor:
    """Our Triton kernels: x is read and y written once."""
    x = x if x.stride(-1) == 1 else x.contiguous()
    return torch.ops.mmvitlin.causal_conv(x, weight.contiguous(), bias, activation is not None,
                                          ahead)


def _causal_only(run: Callable) -> Callable:
    """A backend that sees no token ahead, with the tokens moved for it."""
    @wraps(run)
    def moved(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None,
              ahead: int = 0) -> Tensor:
        y = run(zeros_around(x, 0, 0, 0, ahead), weight, bias, activation)
        return y[:, ahead:]

    return moved


@_causal_only
@torch.compiler.disable  # its autotuned kernels cannot be traced
def conv_fla(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None) -> Tensor:
    """flash-linear-attention's Triton kernels."""
    with torch.cuda.device_of(x):
        return packages.fla_conv()(x, weight[:, 0], bias, activation=activation)[0]


@_causal_only
@torch.compiler.disable
def conv_cuda(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None) -> Tensor:
    """causal-conv1d's CUDA kernels, on channels-last memory."""
    with torch.cuda.device_of(x):
        return packages.causal_conv1d()(x.transpose(1, 2), weight[:, 0], bias,
                                        activation=activation).transpose(1, 2)


def _fused_problem(x: Tensor, taps: int) -> str | None:
    if taps > _MOST_TAPS:
        return f'the kernels take up to {_MOST_TAPS} taps, not {taps}'
    return triton_problem(x)


def _cuda_problem(x: Tensor, taps: int) -> str | None:
    if reason := packages.why_not('causal-conv1d', x):
        return reason
    if not 2 <= taps <= 4:
        return f'causal-conv1d takes 2 to 4 taps, not {taps}'
    if x.stride(-1) != 1 or x.stride(1) % 8 or x.stride(0) % 8 or x.shape[-1] % 8:
        return f'causal-conv1d takes rows of a multiple of 8 channels, not strides {x.stride()}'
    return None


BACKENDS = {
    'causal_conv1d': (conv_cuda, _cuda_problem),
    'fused': (conv_fused, _fused_problem),
    'fla': (conv_fla, lambda x, taps: packages.why_not('fla-core', x)),
    'torch': (conv_torch, lambda x, taps: None),
}


def causal_depthwise_conv1d(x: Tensor, weight: Tensor, bias: Tensor | None = None,
                            activation: str | None = None, backend: str = 'auto',
                            ahead: int = 0) -> Tensor:
    """Causal depthwise convolution over tokens, channels last.

    ``y[t] = act(bias + Σ_k weight[k] x[t + ahead - K + 1 + k])`` with zeros outside the sequence.

    Args:
        x: (B, L, C).
        weight: (C, 1, K), the layout of ``nn.Conv1d(C, C, K, groups=C)``.
        bias: (C,) or None.
        activation: 'silu' or None.
        backend: 'auto' (the first below that is installed and fits), 'causal_conv1d', 'fused' (our
            Triton kernels), 'fla' or 'torch' (eager, the CPU's).
        ahead: Tokens behind its own that each looks at, less than K; with more than 0 it is not
            causal.

    Returns:
        (B, L, C), in the type of ``x``; sums are kept in the wider of the types of ``x`` and
        ``weight``, as a fused kernel does in mixed precision.

    Raises:
        ValueError: an unknown activation or backend, or ``ahead`` is not from 0 to K − 1.
        RuntimeError: the named backend cannot run here; says why and what to install.
    """
    if activation not in (None, 'silu'):
        raise ValueError(f"activation must be 'silu' or None, got '{activation}'")
    taps = weight.shape[-1]
    if not 0 <= ahead < taps:
        raise ValueError(f'ahead must be from 0 to {taps - 1} with {taps} taps, got {ahead}')
    if backend == 'auto':
        backend = next(name for name, (_, problem) in BACKENDS.items()
                       if name == 'torch' or on_gpu(x) and problem(x, taps) is None)
        if backend == 'torch':
            warn_of_eager('the causal convolution', x, _fused_problem(x, taps))
    elif backend not in BACKENDS:
        raise ValueError(f"unknown convolution backend '{backend}'; choose 'auto' or one of "
                         f'{sorted(BACKENDS)}')
    run, problem = BACKENDS[backend]
    if reason := problem(x, taps):
        raise RuntimeError(f"convolution backend '{backend}' cannot run: {reason}")
    return run(x, weight, bias, activation, ahead)
