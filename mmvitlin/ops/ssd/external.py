"""Backends from other packages, imported only when they are asked for."""
from __future__ import annotations

import importlib.util
import sys
import types
import warnings
from functools import cache

import torch
from torch import Tensor


@cache
def _mamba_kernel():
    """mamba-ssm's chunked scan; Mamba-2 needs none of its CUDA extension.

    ``import mamba_ssm`` imports ``selective_scan_cuda`` unguarded, so where the package
    was installed without its CUDA build an empty module takes that name.
    """
    extension = 'selective_scan_cuda'
    stand_in = (importlib.util.find_spec('mamba_ssm') is not None
                and importlib.util.find_spec(extension) is None)
    if stand_in:
        sys.modules[extension] = types.ModuleType(extension)
    try:
        from mamba_ssm.ops.triton.ssd_combined import mamba_chunk_scan_combined
    except Exception:
        if stand_in:
            del sys.modules[extension]
        raise
    return mamba_chunk_scan_combined


@cache
def _fla_kernel():
    from fla.ops.simple_gla import chunk_simple_gla
    return chunk_simple_gla


_LOADERS = {'mamba-ssm': ('mamba_ssm', _mamba_kernel), 'fla-core': ('fla', _fla_kernel)}


@cache
def _find_import_problem(package: str) -> str | None:
    """None if the package can be imported, else the reason and the remedy.

    Warns of one that is installed and cannot: another backend would take its place unnoticed.
    """
    module, load = _LOADERS[package]
    try:
        load()
    except Exception as error:
        reason = (f'{package} cannot be imported ({type(error).__name__}: {error}); '
                  "install it with: pip install 'mmvitlin[cuda]'")
        if importlib.util.find_spec(module) is not None:
            warnings.warn(reason, stacklevel=2)
        return reason
    return None


@torch.compiler.assume_constant_result  # torch.compile can trace neither imports nor caches
def _import_problem(package: str) -> str | None:
    return _find_import_problem(package)


def _why_not(package: str, x: Tensor) -> str | None:
    """None if the package's kernel can run on ``x``, else the reason and the remedy."""
    if x.device.type != 'cuda':
        return (f'{package} runs Triton kernels on a CUDA device, and the input is on '
                f"'{x.device.type}'; move it to a GPU or take backend='torch'")
    return _import_problem(package)


def mamba_ssm_problem(x: Tensor) -> str | None:
    """Why the mamba_ssm backend cannot run on ``x``, or None."""
    return _why_not('mamba-ssm', x)


def fla_problem(x: Tensor) -> str | None:
    """Why the fla backend cannot run on ``x``, or None."""
    return _why_not('fla-core', x)


@torch.compiler.disable  # its autotuned kernels cannot be traced
def ssd_mamba_ssm(x, dt, A, B, C, D=None, chunk_size=None) -> Tensor:
    """mamba-ssm's Triton pipeline (``mamba_chunk_scan_combined``)."""
    with torch.cuda.device(x.device):
        return _mamba_kernel()(x, dt, A, B, C, chunk_size=chunk_size or 256, D=D)


def ssd_fla(x, dt, A, B, C, D=None, chunk_size=None) -> Tensor:
    """flash-linear-attention's gated linear attention with one decay a head.

    The scan is linear attention with queries C, keys B, values ``dt x`` and log decay
    ``dt A``, scale 1.
    """
    repeat = x.shape[2] // B.shape[2]
    q = C.repeat_interleave(repeat, dim=2).to(x.dtype).contiguous()
    k = B.repeat_interleave(repeat, dim=2).to(x.dtype).contiguous()
    v = (x * dt[..., None].to(x.dtype)).contiguous()
    gate = (dt.float() * A.float()).contiguous()
    with torch.cuda.device(x.device):
        y, _ = _fla_kernel()(q, k, v, g=gate, scale=1.0)
    return y if D is None else torch.addcmul(y, x, D.to(x.dtype)[:, None])
