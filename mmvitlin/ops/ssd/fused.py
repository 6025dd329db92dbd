"""Our own Triton kernels as a backend, forward and backward."""
from __future__ import annotations

import torch
from torch import Tensor

from mmvitlin.ops.launch import triton_problem
from mmvitlin.ops.padding import zeros_around

CHUNKS = (16, 32, 64)
WIDTH = 64  # channels of a head, and numbers of its state, that the kernels take at most
_PROGRAMS = 4 * 132  # of an H100


def fused_problem(x: Tensor) -> str | None:
    """Why the kernels cannot run on ``x``, or None."""
    return triton_problem(x)


def _programs(x: Tensor) -> int:
    """Programs that keep a GPU busy; few for the interpreter."""
    if x.device.type == 'cpu':
        return 6 * x.shape[2]
    if x.device.type != 'cuda' or not torch.cuda.is_available():  # shapes only
        return _PROGRAMS
    return _PROGRAMS // 132 * torch.cuda.get_device_properties(x.device).multi_processor_count


@torch.library.custom_op('mmvitlin::ssd_fused', mutates_args=())
def _fused(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
           chunk: int, keep: bool) -> tuple[Tensor, Tensor]:
    """Outputs, and the state before every chunk if ``keep`` (else an empty tensor)."""
    from mmvitlin.ops.ssd.kernels import scan_forward
    launches, y, starts = scan_forward(x, dt, A, B, C, D, chunk, _programs(x), keep)
    with torch.cuda.device_of(x):
        for launch in launches:
            launch.run()
    return y, starts


@_fused.register_fake
def _(x, dt, A, B, C, D, chunk, keep):
    from mmvitlin.ops.ssd.kernels import scan_forward
    _, y, starts = scan_forward(x, dt, A, B, C, D, chunk, _programs(x), keep)
    return y, starts


@torch.library.custom_op('mmvitlin::ssd_fused_backward', mutates_args=())
def _fused_backward(dy: Tensor, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor,
                    D: Tensor | None, starts: Tensor, chunk: int
                    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, dt, A, B, C and D (zeros without one)."""
    from mmvitlin.ops.ssd.backward_kernels import scan_backward
    launches, grads = scan_backward(dy, x, dt, A, B, C, D, starts, chunk, _programs(x))
    with torch.cuda.device_of(x):
        for launch in launches:
            launch.run()
    B_parts, C_parts = (parts.sum(3) if parts.shape[3] > 1 else parts.squeeze(3)
                        for parts in (grads['B'], grads['C']))
    return (grads['x'], grads['dt'].to(dt.dtype), grads['A'].sum((0, 1)).to(A.dtype),
            B_parts.to(B.dtype), C_parts.to(C.dtype),
            grads['D'].sum((0, 1)).to(A.dtype if D is None else D.dtype))


@_fused_backward.register_fake
def _(dy, x, dt, A, B, C, D, starts, chunk):
    return tuple(t.new_empty(t.shape) for t in (x, dt, A, B, C, A if D is None else D))


def _setup(ctx, inputs, output):
    *tensors, ctx.chunk, _ = inputs
    ctx.save_for_backward(*tensors, output[1])


def _differentiate(ctx, dy: Tensor, _):
    *tensors, starts = ctx.saved_tensors
    *grads, d_D = torch.ops.mmvitlin.ssd_fused_backward(dy.contiguous(), *tensors, starts,
                                                        ctx.chunk)
    return *grads, None if tensors[5] is None else d_D, None, None


_fused.register_autograd(_differentiate, setup_context=_setup)


def _fitting(size: int) -> int:
    """The power of two from 16 that holds ``size``."""
    return max(16, 1 << (size - 1).bit_length())


def _chunk(chunk_size: int | None, dtype: torch.dtype) -> int:
    """The longest chunk that is not above the one asked for and spills no registers."""
    longest = min(chunk_size or CHUNKS[-1], 32 if dtype == torch.float32 else CHUNKS[-1])
    return max((n for n in CHUNKS if n <= longest), default=CHUNKS[0])


def ssd_fused(x, dt, A, B, C, D=None, chunk_size: int | None = None) -> Tensor:
    """The scan by :mod:`mmvitlin.ops.ssd.kernels`, with gradients.

    Any head width and state size: heads wider than 64 are several with the same decay, a larger
    state is the sum of scans with a part of it each, and sizes that are no power of two are padded.

    Args:
        chunk_size: Tokens in a chunk at most: 16, 32 or (not in float32) 64 are taken.
    """
    heads, width, state = x.shape[2], x.shape[3], B.shape[3]
    if width > WIDTH:
        parts = -(-width // WIDTH)
        dt, A = dt.repeat_interleave(parts, -1), A.repeat_interleave(parts)
        D = None if D is None else D.repeat_interleave(parts)
        x = zeros_around(x, 0, -width % WIDTH).unflatten(3, (parts, WIDTH)).flatten(2, 3)
        return ssd_fused(x, dt, A, B, C, D, chunk_size).unflatten(
            2, (heads, parts)).flatten(3)[..., :width]
    x = zeros_around(x, 0, _fitting(width) - width)
    if state > WIDTH:
        parts = (t.split([WIDTH, state - WIDTH], -1) for t in (B, C))
        first, rest = (ssd_fused(x, dt, A, *part, d, chunk_size)
                       for part, d in zip(zip(*parts, strict=True), (D, None), strict=True))
        return (first + rest)[..., :width]
    B, C = (zeros_around(t.to(x.dtype), 0, _fitting(state) - state) for t in (B, C))
    keep = torch.is_grad_enabled() and any(
        t is not None and t.requires_grad for t in (x, dt, A, B, C, D))
    y, _ = torch.ops.mmvitlin.ssd_fused(x, dt, A, B, C, D, _chunk(chunk_size, x.dtype), keep)
    return y[..., :width]
