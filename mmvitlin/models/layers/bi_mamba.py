"""The Mamba-1 mixer that scans in both directions."""
from __future__ import annotations

import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from mmvitlin.ops import causal_depthwise_conv1d, selective_scan


class BiMamba(nn.Module):
    """Mamba-1 over the tokens and over their reverse, averaged; linear in their number.

    ``x, z = in_proj(u)``; in each direction ``x = SiLU(conv1d(x))``, ``dt, B, C = x_proj(x)``,
    ``y = scan(x, softplus(dt_proj(dt)), −exp(A_log), B, C, D)``; ``out_proj((y + y_b) / 2 ·
    SiLU(z))``. Parameter names and shapes are those of the released Mamba-Reg weights, what
    belongs to the reverse direction ending in ``_b`` (``A_b_log``).

    Args:
        embed_dims: Channels in and out, C.
        d_state: Numbers a channel remembers, N.
        d_conv: Taps of the causal depthwise convolution.
        expand: Inner width over C.

    Source: Mamba (arXiv 2312.00752), section 3.4; both directions as in Vim (arXiv 2401.09417).
    """

    def __init__(self, embed_dims: int, d_state: int = 16, d_conv: int = 4, expand: int = 2):
        super().__init__()
        inner, self.rank, self.d_state = expand * embed_dims, math.ceil(embed_dims / 16), d_state
        self.in_proj = nn.Linear(embed_dims, 2 * inner, bias=False)
        for end in ('', '_b'):
            setattr(self, f'conv1d{end}', nn.Conv1d(inner, inner, d_conv, groups=inner))
            setattr(self, f'x_proj{end}', nn.Linear(inner, self.rank + 2 * d_state, bias=False))
            setattr(self, f'dt_proj{end}', nn.Linear(self.rank, inner))
            setattr(self, f'A{end}_log', nn.Parameter(torch.empty(inner, d_state)))
            setattr(self, f'D{end}', nn.Parameter(torch.ones(inner)))
        self.out_proj = nn.Linear(inner, embed_dims, bias=False)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """A to 1 … N; dt log-uniform in [1e-3, 0.1], kept as inverse softplus."""
        for end in ('', '_b'):
            A_log, project = getattr(self, f'A{end}_log'), getattr(self, f'dt_proj{end}')
            A_log.copy_(torch.arange(1, self.d_state + 1).log().expand_as(A_log))
            bound = self.rank**-0.5
            project.weight.uniform_(-bound, bound)
            dt = torch.empty_like(project.bias).uniform_(math.log(1e-3), math.log(0.1)).exp_()
            project.bias.copy_(dt + torch.log(-torch.expm1(-dt)))

    def _scan(self, x: Tensor, end: str) -> Tensor:
        """(B, L, inner) to the same, in the order of the tokens."""
        conv, project = getattr(self, f'conv1d{end}'), getattr(self, f'dt_proj{end}')
        x = causal_depthwise_conv1d(x, conv.weight, conv.bias, 'silu')
        dt, B, C = getattr(self, f'x_proj{end}')(x).split(
            [self.rank, self.d_state, self.d_state], dim=-1)
        wide = torch.promote_types(x.dtype, torch.float32)
        dt = F.softplus(F.linear(dt, project.weight).to(wide) + project.bias.to(wide))
        A = -torch.exp(getattr(self, f'A{end}_log').to(wide))
        return selective_scan(x, dt, A, B, C, getattr(self, f'D{end}'))

    def forward(self, u: Tensor) -> Tensor:
        """(B, L, C) to (B, L, C)."""
        x, z = self.in_proj(u).chunk(2, dim=-1)
        y = self._scan(x, '') + self._scan(x.flip(1), '_b').flip(1)
        return self.out_proj(y * F.silu(z) / 2)
