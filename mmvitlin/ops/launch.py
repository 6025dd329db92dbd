"""Triton launches as values: run on a GPU, compiled for another, or counted without one."""
from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import torch
from torch import Tensor

REMEDY = "pip install 'mmvitlin[cuda]'"
_WARNED: set[str] = set()
_RECORD: ContextVar[list | None] = ContextVar('launches', default=None)
_AS_GPU: ContextVar[tuple[str, ...] | None] = ContextVar('meta as a GPU', default=None)


class Launch(NamedTuple):
    """One launch of a Triton kernel.

    Attributes:
        kernel: The ``triton.jit`` function.
        grid: Programs along each axis.
        args: Its positional arguments, each tensor read or written once as a whole.
        options: Its compile-time arguments, ``num_warps`` and ``num_stages``.
    """
    kernel: object
    grid: tuple[int, ...]
    args: tuple
    options: dict

    def run(self) -> None:
        """Launch it on the current device; within :func:`recorded` record it."""
        record = _RECORD.get()
        if record is not None:
            record.append(self)
        else:
            self.kernel[self.grid](*self.args, **self.options)

    def moved_bytes(self) -> int:
        """Bytes that it reads and writes in device memory; reads from caches are not counted."""
        tensors = {(id(t), t.data_ptr()): t for t in self.args if isinstance(t, Tensor)}
        return sum(t.numel() * t.element_size() for t in tensors.values())


@contextmanager
def recorded() -> Iterator[list[Launch]]:
    """Launches within the context are recorded in the list it returns, and not made."""
    record: list[Launch] = []
    token = _RECORD.set(record)
    try:
        yield record
    finally:
        _RECORD.reset(token)


@torch.compiler.assume_constant_result  # torch.compile cannot trace imports
def _surroundings() -> tuple[bool, bool]:
    """Whether Triton is installed, and whether its interpreter is switched on."""
    return (importlib.util.find_spec('triton') is not None,
            os.environ.get('TRITON_INTERPRET') == '1')


def triton_problem(x: Tensor) -> str | None:
    """Why our Triton kernels cannot run on ``x``, with the remedy, or None."""
    installed, interpreted = _surroundings()
    if not installed:
        return "Triton is not installed; install it with pip install triton, or take 'torch'"
    if x.device.type not in ('cuda', 'meta') and not interpreted:  # meta: shapes are all there is
        return (f"Triton kernels need a CUDA device, and the input is on '{x.device.type}'; move "
                "it to a GPU or take backend='torch'")
    if x.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return f"the kernels take float32, bfloat16 and float16, not {x.dtype}; take 'torch'"
    return None


def on_gpu(x: Tensor) -> bool:
    """Whether 'auto' takes what a GPU runs: of a GPU's tensor, and within :func:`meta_as_gpu`."""
    return x.device.type == 'cuda' or x.device.type == 'meta' and _AS_GPU.get() is not None


@contextmanager
def meta_as_gpu(*packages: str) -> Iterator[None]:
    """Within the context 'auto' takes on the meta device what it takes on a GPU: to be counted.

    Args:
        packages: Whose kernels may be taken, of those that are installed: 'mamba-ssm',
            'causal-conv1d', 'fla-core'.
    """
    token = _AS_GPU.set(packages)
    try:
        yield
    finally:
        _AS_GPU.reset(token)


def counts_package(package: str, x: Tensor) -> bool:
    """Whether ``x`` stands for a GPU's tensor that the package's kernels may take."""
    return x.device.type == 'meta' and package in (_AS_GPU.get() or ())


@torch.compiler.assume_constant_result
def _warn_once(message: str) -> None:
    if message not in _WARNED:
        _WARNED.add(message)
        with warnings.catch_warnings():  # recipes and demos ignore those of libraries
            warnings.simplefilter('always')
            warnings.warn(message, stacklevel=2)


def warn_of_eager(what: str, x: Tensor, reason: str | None = None) -> None:
    """Warn, once a process, that something runs as many small operators on a GPU; also where
    warnings are ignored.

    Args:
        what: Such as 'the scan of Mamba-2'.
        x: Its input; nothing is said of CPUs.
        reason: Why, with the remedy; None where our Triton kernels are what is missing.
    """
    if x.device.type == 'cuda' and x.dtype != torch.float64:  # for which there is no kernel
        reason = reason or f"{triton_problem(x) or 'not these shapes'}; {REMEDY} gives it one"
        _warn_once(f'{what} runs on the GPU without a fused kernel, several times slower: {reason}')
