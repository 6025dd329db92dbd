"""Backends from other packages."""
from __future__ import annotations

import torch
from torch import Tensor

from mmvitlin.ops import packages


def mamba_ssm_problem(x: Tensor) -> str | None:
    """Why the mamba_ssm backend cannot run on ``x``, or None."""
    return packages.why_not('mamba-ssm', x)


def fla_problem(x: Tensor) -> str | None:
    """Why the fla backend cannot run on ``x``, or None."""
    return packages.why_not('fla-core', x)


@torch.compiler.disable  # its autotuned kernels cannot be traced
def ssd_mamba_ssm(x, dt, A, B, C, D=None, chunk_size=None) -> Tensor:
    """mamba-ssm's Triton pipeline (``mamba_chunk_scan_combined``)."""
    with torch.cuda.device_of(x):
        scan = packages.mamba_scans().mamba_chunk_scan_combined
        return scan(x, dt, A, B, C, chunk_size=chunk_size or 256, D=D)


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
    with torch.cuda.device_of(x):
        y, _ = packages.fla_scan()(q, k, v, g=gate, scale=1.0)
    return y if D is None else torch.addcmul(y, x, D.to(x.dtype)[:, None])


def mixer_problem(x: Tensor, taps: int, groups: int) -> str | None:
    """Why mamba-ssm's fused mixer cannot replace :class:`mmvitlin.models.layers.Mamba2`, or None.

    It needs mamba-ssm and causal-conv1d on a CUDA device, two to four taps, and one group: with
    several it normalises each by itself, and mmvitlin's mixer all together.
    """
    if groups != 1 or not 2 <= taps <= 4:
        return f'mamba-ssm fuses mixers of one group and 2 to 4 taps, not {groups} and {taps}'
    return packages.why_not('mamba-ssm', x) or packages.why_not('causal-conv1d', x)


@torch.compiler.disable
def mixer_mamba_ssm(projected: Tensor, conv_weight: Tensor, conv_bias: Tensor, dt_bias: Tensor,
                    A: Tensor, D: Tensor, norm_weight: Tensor, eps: float, out_weight: Tensor,
                    head_dims: int, chunk_size: int | None = None) -> Tensor:
    """Convolution, scan, gate, norm and output projection as one node of mamba-ssm.

    Args:
        projected: Gates, values, B, C and step sizes before softplus, (B, L, 2 H P + 2 N + H).
        conv_weight: (H P + 2 N, 1, K).
        conv_bias: (H P + 2 N,).
        dt_bias: (H,).
        A: Negative decay rates, (H,).
        D: Skip weights, (H,).
        norm_weight: Of the RMSNorm after the gate, (H P,).
        eps: Of the RMSNorm.
        out_weight: (C, H P).
        head_dims: P.
        chunk_size: Tokens in a chunk of the scan.

    Returns:
        (B, L, C).
    """
    with torch.cuda.device_of(projected):
        return packages.mamba_scans().mamba_split_conv1d_scan_combined(
            projected, conv_weight[:, 0], conv_bias, dt_bias, A, D, chunk_size or 256,
            activation='silu', rmsnorm_weight=norm_weight, rmsnorm_eps=eps,
            outproj_weight=out_weight, headdim=head_dims, ngroups=1, norm_before_gate=False)
