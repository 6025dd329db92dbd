"""The Mamba-2 mixer in the form that is fastest in other runtimes."""
from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from mmvitlin.models.layers.mamba2 import Mamba2
from mmvitlin.ops import causal_depthwise_conv1d, ssd


class PlainMamba2(nn.Module):
    """A :class:`Mamba2` in ordinary operators, with one product for each of z, x, B, C and dt.

    Runtimes split the output of one wide product by copying it, which costs them more than five
    products instead of one.

    Args:
        mixer: Whose weights it has; of those that are split it has copies.
        chunk_size: Tokens in a chunk of the scan.
    """

    def __init__(self, mixer: Mamba2, chunk_size: int = 64):
        super().__init__()
        state = mixer.num_groups * mixer.d_state
        parts = [mixer.inner, mixer.inner, state, state, mixer.num_heads]
        self.chunk_size, self.num_groups, self.head_dims = (
            chunk_size, mixer.num_groups, mixer.head_dims)
        self.projections = nn.ModuleList()
        for weight in mixer.in_proj.weight.detach().split(parts):
            linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device='meta')
            linear.weight = nn.Parameter(weight.clone(), requires_grad=False)
            self.projections.append(linear)
        for name in ('weight', 'bias'):
            pieces = getattr(mixer.conv1d, name).detach().split(parts[1:4])
            for key, piece in zip('xBC', pieces, strict=True):
                self.register_buffer(f'conv_{name}_{key}', piece.clone(), persistent=False)
        wide = torch.promote_types(mixer.A_log.dtype, torch.float32)
        self.register_buffer('dt_bias', mixer.dt_bias.detach().to(wide), persistent=False)
        self.register_buffer('A', -torch.exp(mixer.A_log.detach().to(wide)), persistent=False)
        self.D, self.norm, self.out_proj = mixer.D, mixer.norm, mixer.out_proj

    def forward(self, u: Tensor) -> Tensor:
        """(B, L, C) to (B, L, C)."""
        z, *mixed, dt = (linear(u) for linear in self.projections)
        x, B, C = (F.silu(causal_depthwise_conv1d(
            part, getattr(self, f'conv_weight_{key}'), getattr(self, f'conv_bias_{key}')))
            for key, part in zip('xBC', mixed, strict=True))
        y = ssd(x.unflatten(-1, (-1, self.head_dims)),
                F.softplus(dt.to(self.A.dtype) + self.dt_bias),
                self.A,
                B.unflatten(-1, (self.num_groups, -1)),
                C.unflatten(-1, (self.num_groups, -1)),
                self.D,
                chunk_size=self.chunk_size,
                backend='plain')
        y = y.flatten(2) * F.silu(z)
        return self.out_proj(F.rms_norm(y, self.norm.normalized_shape, self.norm.weight,
                                        self.norm.eps))
