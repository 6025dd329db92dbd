"""Triton kernels of gates. Import only where Triton is installed.

A program takes whole rows, one after the other, and reads and writes each number once.
"""
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from mmvitlin.ops.launch import Launch

_PROGRAMS = 1024  # enough for any GPU; each has a part of the weight's gradient


@triton.jit
def load_row(ptr, row, columns, width, stride):
    """One row in float32, zero beyond its end."""
    return tl.load(ptr + row * stride + columns, mask=columns < width, other=0.).to(tl.float32)


@triton.jit
def store_row(ptr, row, columns, width, value):
    """One row of a contiguous tensor."""
    tl.store(ptr + row * width + columns, value.to(ptr.dtype.element_ty), mask=columns < width)


@triton.jit
def product_forward(gate_ptr, value_ptr, out_ptr, rows, width, gate_row, value_row, per_program,
                    W: tl.constexpr):
    """SiLU(gate) · value."""
    columns = tl.arange(0, W)
    first = tl.program_id(0).to(tl.int64) * per_program
    for row in range(first, tl.minimum(first + per_program, rows)):
        gate = load_row(gate_ptr, row, columns, width, gate_row)
        value = load_row(value_ptr, row, columns, width, value_row)
        store_row(out_ptr, row, columns, width, gate * tl.sigmoid(gate) * value)


@triton.jit
def product_backward(gate_ptr, value_ptr, dout_ptr, dgate_ptr, dvalue_ptr, rows, width, gate_row,
                     value_row, dout_row, per_program, W: tl.constexpr):
    """Gradients of gate and value."""
    columns = tl.arange(0, W)
    first = tl.program_id(0).to(tl.int64) * per_program
    for row in range(first, tl.minimum(first + per_program, rows)):
        gate = load_row(gate_ptr, row, columns, width, gate_row)
        value = load_row(value_ptr, row, columns, width, value_row)
        dout = load_row(dout_ptr, row, columns, width, dout_row)
        share = tl.sigmoid(gate)
        store_row(dvalue_ptr, row, columns, width, dout * gate * share)
        store_row(dgate_ptr, row, columns, width,
                  dout * value * share * (1 + gate * (1 - share)))


@triton.jit
def norm_forward(value_ptr, gate_ptr, weight_ptr, out_ptr, rows, width, value_row, gate_row, eps,
                 per_program, W: tl.constexpr):
    """RMSNorm(value · SiLU(gate)) · weight."""
    columns = tl.arange(0, W)
    weight = load_row(weight_ptr, 0, columns, width, 0)
    first = tl.program_id(0).to(tl.int64) * per_program
    for row in range(first, tl.minimum(first + per_program, rows)):
        gate = load_row(gate_ptr, row, columns, width, gate_row)
        gated = load_row(value_ptr, row, columns, width, value_row) * gate * tl.sigmoid(gate)
        scale = tl.rsqrt(tl.sum(gated * gated, 0) / width + eps)
        store_row(out_ptr, row, columns, width, gated * scale * weight)


@triton.jit
def norm_backward(value_ptr, gate_ptr, weight_ptr, dout_ptr, dvalue_ptr, dgate_ptr, parts_ptr, rows,
                  width, value_row, gate_row, dout_row, eps, per_program, W: tl.constexpr):
    """Gradients of value and gate, and a program's part of the weight's."""
    columns = tl.arange(0, W)
    weight = load_row(weight_ptr, 0, columns, width, 0)
    part = tl.zeros((W, ), tl.float32)
    first = tl.program_id(0).to(tl.int64) * per_program
    for row in range(first, tl.minimum(first + per_program, rows)):
        gate = load_row(gate_ptr, row, columns, width, gate_row)
        value = load_row(value_ptr, row, columns, width, value_row)
        dout = load_row(dout_ptr, row, columns, width, dout_row)
        share = tl.sigmoid(gate)
        gated = value * gate * share
        scale = tl.rsqrt(tl.sum(gated * gated, 0) / width + eps)
        part += dout * gated * scale
        dnormed = dout * weight
        dgated = scale * (dnormed - gated * (scale * scale * tl.sum(dnormed * gated, 0) / width))
        store_row(dvalue_ptr, row, columns, width, dgated * gate * share)
        store_row(dgate_ptr, row, columns, width,
                  dgated * value * share * (1 + gate * (1 - share)))
    tl.store(parts_ptr + tl.program_id(0) * width + columns, part, mask=columns < width)


def _cut(rows: int, width: int) -> tuple[tuple[int], int, dict]:
    """Grid, rows of a program, and compile-time arguments."""
    per_program = max(triton.cdiv(rows, _PROGRAMS), 1)
    block = triton.next_power_of_2(width)
    return (triton.cdiv(rows, per_program), ), per_program, dict(
        W=block, num_warps=min(max(block // 256, 1), 16), num_stages=1)


def product(gate: Tensor, value: Tensor, out: Tensor) -> list[Launch]:
    """Launch that fills ``out``.

    Args:
        gate: (N, C), its columns contiguous.
        value: Likewise.
        out: Likewise, contiguous.
    """
    grid, per_program, options = _cut(*gate.shape)
    return [Launch(product_forward, grid, (gate, value, out, *gate.shape, gate.stride(0),
                                           value.stride(0), per_program), options)]


def product_gradients(gate: Tensor, value: Tensor, dout: Tensor, dgate: Tensor, dvalue: Tensor
                      ) -> list[Launch]:
    """Launch that fills ``dgate`` and ``dvalue``, which are contiguous."""
    grid, per_program, options = _cut(*gate.shape)
    return [Launch(product_backward, grid, (
        gate, value, dout, dgate, dvalue, *gate.shape, gate.stride(0), value.stride(0),
        dout.stride(0), per_program), options)]


def norm(value: Tensor, gate: Tensor, weight: Tensor, eps: float, out: Tensor) -> list[Launch]:
    """Launch that fills ``out``, as :func:`product`; ``weight`` is (C,), contiguous."""
    grid, per_program, options = _cut(*value.shape)
    return [Launch(norm_forward, grid, (value, gate, weight, out, *value.shape, value.stride(0),
                                        gate.stride(0), eps, per_program), options)]


def norm_gradients(value: Tensor, gate: Tensor, weight: Tensor, eps: float, dout: Tensor,
                   dvalue: Tensor, dgate: Tensor) -> tuple[list[Launch], Tensor]:
    """Launch that fills ``dvalue`` and ``dgate``, and parts (programs, C) of the weight's
    gradient, to be added up."""
    grid, per_program, options = _cut(*value.shape)
    parts = torch.empty(grid[0], value.shape[1], dtype=torch.float32, device=value.device)
    return [Launch(norm_backward, grid, (
        value, gate, weight, dout, dvalue, dgate, parts, *value.shape, value.stride(0),
        gate.stride(0), dout.stride(0), eps, per_program), options)], parts
