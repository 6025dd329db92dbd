"""Our own Triton kernels as a backend: forward fused, backward by the chunked operator."""
from __future__ import annotations

import importlib.util
import os

import torch
from torch import Tensor

from mmvitlin.ops.ssd.chunked import DEFAULT_CHUNK

CHUNKS = (16, 32, 64, 128)
_PROGRAMS_PER_PROCESSOR = 4


@torch.compiler.assume_constant_result  # torch.compile cannot trace imports
def _surroundings() -> tuple[bool, bool]:
    """Whether Triton is installed, and whether its interpreter is asked for."""
    return (importlib.util.find_spec('triton') is not None,
            os.environ.get('TRITON_INTERPRET') == '1')


def fused_problem(x: Tensor) -> str | None:
    """Why the kernels cannot run on ``x``, or None."""
    installed, interpreted = _surroundings()
    if not installed:
        return "Triton is not installed; install it with pip install triton, or take 'torch'"
    if x.device.type != 'cuda' and not interpreted:
        return (f"Triton kernels need a CUDA device, and the input is on '{x.device.type}'; move "
                "it to a GPU or take backend='torch'")
    if x.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return f"the kernels take float32, bfloat16 and float16, not {x.dtype}; take 'torch'"
    return None


def _power_from_16(n: int) -> bool:
    return n >= 16 and n & (n - 1) == 0


@torch.library.custom_op('mmvitlin::ssd_fused', mutates_args=())
def _fused(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
           chunk: int) -> Tensor:
    from mmvitlin.ops.ssd.kernels import scan_forward
    if x.device.type != 'cuda':
        return scan_forward(x, dt, A, B, C, D, chunk, programs=6 * x.shape[2])
    processors = torch.cuda.get_device_properties(x.device).multi_processor_count
    with torch.cuda.device(x.device):
        return scan_forward(x, dt, A, B, C, D, chunk, _PROGRAMS_PER_PROCESSOR * processors)


@_fused.register_fake
def _(x, dt, A, B, C, D, chunk):
    return x.new_empty(x.shape)


def _setup(ctx, inputs, output):
    *tensors, ctx.chunk = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx, dy: Tensor):
    x, dt, A, B, C, D = ctx.saved_tensors
    dy = dy.contiguous()
    _, states = torch.ops.mmvitlin.ssd_chunked(x, dt, A, B, C, ctx.chunk, True)
    d_x, *others = torch.ops.mmvitlin.ssd_chunked_backward(dy, x, dt, A, B, C, states, ctx.chunk)
    d_D = None
    if D is not None:
        d_x = torch.addcmul(d_x, dy, D.to(dy.dtype)[:, None])
        d_D = (dy.float() * x).sum((0, 1, 3)).to(D.dtype)
    return d_x, *others, d_D, None


_fused.register_autograd(_differentiate, setup_context=_setup)


def ssd_fused(x, dt, A, B, C, D=None, chunk_size: int | None = None) -> Tensor:
    """The scan in two Triton launches; see :mod:`mmvitlin.ops.ssd.kernels`.

    Raises:
        ValueError: a head width, state size or chunk that is no power of two from 16.
    """
    # float32 tiles of 64 tokens need more shared memory than GPUs for desktops have
    chunk = chunk_size or (DEFAULT_CHUNK // 2 if x.dtype == torch.float32 else DEFAULT_CHUNK)
    for name, size in (('head width P', x.shape[3]), ('state size N', B.shape[3])):
        if not _power_from_16(size):
            raise ValueError(f"backend 'fused' needs a {name} that is a power of two from 16, got "
                             f"{size}; take backend='torch'")
    if chunk not in CHUNKS:
        raise ValueError(f"backend 'fused' takes chunk_size {CHUNKS}, got {chunk}")
    return torch.ops.mmvitlin.ssd_fused(x, dt, A, B, C, D, chunk)
