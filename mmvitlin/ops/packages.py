"""Kernels of other packages, imported when they are first used.

Source: the signatures are those of mamba-ssm 2.2.5 to 2.3.2, causal-conv1d 1.4 to 1.7 and fla-core
0.4 to 0.6.
"""
from __future__ import annotations

import importlib.util
import sys
import types
import warnings
from functools import cache

import torch
from torch import Tensor

from mmvitlin.ops.launch import counts_package


@cache
def mamba_scans():
    """mamba-ssm's module of Mamba-2's scans, which need none of its CUDA extension.

    ``import mamba_ssm`` imports ``selective_scan_cuda`` unguarded, so where the package
    was installed without its CUDA build an empty module takes that name.
    """
    extension = 'selective_scan_cuda'
    stand_in = (importlib.util.find_spec('mamba_ssm') is not None
                and importlib.util.find_spec(extension) is None)
    if stand_in:
        sys.modules[extension] = types.ModuleType(extension)
    try:
        from mamba_ssm.ops.triton import ssd_combined
    except Exception:
        if stand_in:
            del sys.modules[extension]
        raise
    return ssd_combined


@cache
def mamba_selective_scan():
    """mamba-ssm's scan of Mamba-1, which is in its CUDA extension."""
    from mamba_ssm.ops import selective_scan_interface
    if not hasattr(sys.modules['selective_scan_cuda'], 'fwd'):
        raise ImportError('mamba-ssm was installed without its CUDA build, where the scan of '
                          'Mamba-1 is')
    return selective_scan_interface.selective_scan_fn


@cache
def causal_conv1d():
    """causal-conv1d's convolution."""
    from causal_conv1d import causal_conv1d_fn
    return causal_conv1d_fn


@cache
def fla_scan():
    """flash-linear-attention's linear attention with one decay a head."""
    from fla.ops.simple_gla import chunk_simple_gla
    return chunk_simple_gla


@cache
def fla_conv():
    """flash-linear-attention's causal convolution."""
    try:
        from fla.modules.causal_conv1d import causal_conv1d
    except ImportError:  # before 0.6
        from fla.modules.convolution import causal_conv1d
    return causal_conv1d


_CUDA = "pip install 'mmvitlin[cuda]'"
_LOADERS = {
    'mamba-ssm': ('mamba_ssm', mamba_scans,
                  'MAMBA_FORCE_BUILD=TRUE MAMBA_SKIP_CUDA_BUILD=TRUE pip install --no-deps '
                  "--no-build-isolation mamba-ssm && pip install einops 'transformers<5'"),
    "mamba-ssm's CUDA extension": ('mamba_ssm', mamba_selective_scan,
                                   'pip install --no-build-isolation mamba-ssm (needs nvcc)'),
    'causal-conv1d': ('causal_conv1d', causal_conv1d,
                      'pip install --no-build-isolation causal-conv1d (needs nvcc)'),
    'fla-core': ('fla', fla_scan, _CUDA),
}


def is_installed(package: str) -> bool:
    """Whether it is installed, and can be imported: it warns of one that cannot."""
    return _find_import_problem(package) is None


@cache
def _find_import_problem(package: str) -> str | None:
    """None if the package can be imported, else the reason and the remedy.

    Warns of one that is installed and cannot be imported: another backend would silently take its
    place.
    """
    module, load, remedy = _LOADERS[package]
    try:
        load()
    except Exception as error:
        reason = (f'{package} cannot be imported ({type(error).__name__}: {error}); '
                  f'install it with: {remedy}')
        if importlib.util.find_spec(module) is not None:
            warnings.warn(reason, stacklevel=2)
        return reason
    return None


@torch.compiler.assume_constant_result  # torch.compile can trace neither imports nor caches
def _import_problem(package: str) -> str | None:
    return _find_import_problem(package)


def why_not(package: str, x: Tensor) -> str | None:
    """None if the package's kernel can run on ``x``, else the reason and the remedy."""
    if x.device.type != 'cuda' and not counts_package(package, x):
        return (f'{package} runs on a CUDA device, and the input is on '
                f"'{x.device.type}'; move it to a GPU or take backend='torch'")
    return _import_problem(package)
