"""The Mamba-2 token mixer."""
from __future__ import annotations

import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from mmvitlin.ops import (
    causal_depthwise_conv1d,
    gated_rms_norm,
    mixer_mamba_ssm,
    mixer_problem,
    ssd,
)


class Mamba2(nn.Module):
    """Mamba-2 mixer, causal and linear in the number of tokens.

    ``z, xBC, dt = in_proj(u)``; ``xBC = SiLU(conv1d(xBC))``; ``y = ssd(x, softplus(dt +
    dt_bias), −exp(A_log), B, C, D)``; ``out_proj(RMSNorm(y · SiLU(z)))``. Parameter names
    and shapes are those of mamba-ssm's ``Mamba2``.

    Args:
        embed_dims: Channels in and out, C.
        d_state: State size, N.
        d_conv: Taps of the causal depthwise convolution.
        expand: Inner width over C.
        head_dims: Width of a head, P; must divide ``expand · C``.
        num_groups: Groups that share B and C, G.
        backend: Backend of :func:`mmvitlin.ops.ssd`.
        chunk_size: Tokens in a chunk of the scan; None leaves it to the backend.

    Raises:
        ValueError: the inner width is no multiple of ``head_dims``.

    Source: Mamba-2 (arXiv 2405.21060), figure 6; initial values as mamba-ssm's.
    """

    def __init__(self,
                 embed_dims: int,
                 d_state: int = 64,
                 d_conv: int = 4,
                 expand: int = 2,
                 head_dims: int = 64,
                 num_groups: int = 1,
                 backend: str = 'auto',
                 chunk_size: int | None = None):
        super().__init__()
        inner = expand * embed_dims
        if inner % head_dims:
            raise ValueError(f'the inner width {expand} x {embed_dims} = {inner} must be a '
                             f'multiple of head_dims={head_dims}')
        self.head_dims, self.d_state, self.num_groups = head_dims, d_state, num_groups
        self.inner, self.num_heads = inner, inner // head_dims
        self.backend, self.chunk_size = backend, chunk_size
        conv_dims = inner + 2 * num_groups * d_state
        self.in_proj = nn.Linear(embed_dims, inner + conv_dims + self.num_heads, bias=False)
        self.conv1d = nn.Conv1d(conv_dims, conv_dims, d_conv, groups=conv_dims)
        self.dt_bias = nn.Parameter(torch.empty(self.num_heads))
        self.A_log = nn.Parameter(torch.empty(self.num_heads))
        self.D = nn.Parameter(torch.ones(self.num_heads))
        self.norm = nn.RMSNorm(inner, eps=1e-5)
        self.out_proj = nn.Linear(inner, embed_dims, bias=False)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """A from U(1, 16); dt log-uniform in [1e-3, 0.1], kept as inverse softplus."""
        self.A_log.uniform_(1, 16).log_()
        dt = torch.empty_like(self.dt_bias).uniform_(math.log(1e-3), math.log(0.1)).exp_()
        self.dt_bias.copy_(dt + torch.log(-torch.expm1(-dt)))

    def one_node(self, projected: Tensor) -> bool:
        """Whether mamba-ssm runs everything after the first projection as one node.

        So it is where the backend is 'auto' or 'mamba_ssm' and
        :func:`~mmvitlin.ops.mixer_problem` gives no reason against it.
        """
        return (self.backend in ('auto', 'mamba_ssm') and projected.dtype != torch.float64
                and mixer_problem(projected, self.conv1d.weight.shape[-1], self.num_groups) is None)

    def forward(self, u: Tensor) -> Tensor:
        """(B, L, C) to (B, L, C)."""
        projected = self.in_proj(u)
        if self.one_node(projected):
            return mixer_mamba_ssm(projected, self.conv1d.weight, self.conv1d.bias, self.dt_bias,
                                   -torch.exp(self.A_log.float()), self.D, self.norm.weight,
                                   self.norm.eps, self.out_proj.weight, self.head_dims,
                                   self.chunk_size)
        state_dims = self.num_groups * self.d_state
        z, x_bc, dt = projected.split(
            [self.inner, self.inner + 2 * state_dims, self.num_heads], dim=-1)
        x_bc = causal_depthwise_conv1d(x_bc, self.conv1d.weight, self.conv1d.bias, 'silu')
        x, B, C = x_bc.split([self.inner, state_dims, state_dims], dim=-1)
        wide = torch.promote_types(u.dtype, torch.float32)
        y = ssd(x.unflatten(-1, (self.num_heads, self.head_dims)),
                F.softplus(dt.to(wide) + self.dt_bias.to(wide)),
                -torch.exp(self.A_log.to(wide)),
                B.unflatten(-1, (self.num_groups, self.d_state)),
                C.unflatten(-1, (self.num_groups, self.d_state)),
                self.D,
                chunk_size=self.chunk_size,
                backend=self.backend)
        return self.out_proj(gated_rms_norm(y.flatten(2), z, self.norm.weight, self.norm.eps))
