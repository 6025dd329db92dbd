"""Linear attention in the place, and with the weights, of a timm attention module."""
from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mmvitlin.models.layers.inherited_attention import InheritedAttention, TokenLayout
from mmvitlin.ops.launch import on_gpu
from mmvitlin.ops.linear_attention import (
    FEATURE_MAPS,
    LinearState,
    fused_problem,
    linear_attention,
)
from mmvitlin.ops.query_attention import query_linear_attention


class HedgehogMap(nn.Module):
    """Learned feature map ``[softmax(W x), softmax(−W x)]``, one W a head, starting as identity.

    Args:
        num_heads: H.
        head_dims: D; features are 2 D wide.

    Source: Hedgehog (arXiv 2402.04347), equation 6.
    """

    def __init__(self, num_heads: int, head_dims: int):
        super().__init__()
        self.weight = nn.Parameter(torch.eye(head_dims).repeat(num_heads, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, L, D) to (B, H, L, 2 D)."""
        return FEATURE_MAPS['paired_softmax'](self.turn(x))

    def turn(self, x: Tensor) -> Tensor:
        """``W x``, of which the features are taken: (B, H, L, D)."""
        return x @ self.weight.to(x.dtype)


class LinearAttention(InheritedAttention):
    """Linear attention over all tokens, as a replacement of a timm attention.

    Rotary positions turn queries and keys before the feature map.

    Args:
        softmax: The module to take the weights from; see :class:`InheritedAttention`.
        feature_map: 'elu', 'relu', 'focused', or 'hedgehog' (learned).
        normalize: Divide by the sum of weights.
        conv_kernel: Side of a depthwise convolution on the values over the patch grid, added
            to the output; starts at zero. 0 for none.
        output_gate: Multiply the output by ``2 sigmoid(G x)``, G starting at zero, so at one.

    Raises:
        TypeError: a module without queries, keys and values in one of timm's forms.
        ValueError: an unknown feature map, or an even kernel.

    Source: ViT-AdaLA (arXiv 2603.16063); the convolution as in FLatten and JetViT.
    """
    ADDED = ('map_q', 'map_k', 'conv', 'out_gate')
    MASKS = True

    def __init__(self,
                 softmax: nn.Module,
                 feature_map: str = 'elu',
                 normalize: bool = True,
                 conv_kernel: int = 0,
                 output_gate: bool = False):
        super().__init__(softmax)
        if feature_map not in (*FEATURE_MAPS, 'hedgehog'):
            raise ValueError(f"feature_map must be one of {[*FEATURE_MAPS, 'hedgehog']}, got "
                             f"'{feature_map}'")
        if conv_kernel and conv_kernel % 2 == 0:
            raise ValueError(f'conv_kernel must be odd, got {conv_kernel}')
        self.normalize, self.feature_map = normalize, feature_map
        self.conv_kernel, self.output_gate = conv_kernel, output_gate
        inner = self.num_heads * self.head_dims
        if feature_map == 'hedgehog':
            self.map_q = HedgehogMap(self.num_heads, self.head_dims)
            self.map_k = HedgehogMap(self.num_heads, self.head_dims)
        else:
            self.map_q = self.map_k = FEATURE_MAPS[feature_map]
        self.conv = None
        if conv_kernel:
            self.conv = nn.Conv2d(inner, inner, conv_kernel, padding=conv_kernel // 2, groups=inner)
            nn.init.zeros_(self.conv.weight)
            nn.init.zeros_(self.conv.bias)
        self.out_gate = None
        if output_gate:
            self.out_gate = nn.Linear(softmax.proj.out_features, inner)
            nn.init.zeros_(self.out_gate.weight)
            nn.init.zeros_(self.out_gate.bias)

    @property
    def streams(self) -> bool:
        """Whether :meth:`stream_` can run it."""
        return self.conv is None

    def options(self) -> dict:
        """What it was built with, beside the softmax module."""
        return dict(feature_map=self.feature_map, normalize=self.normalize,
                    conv_kernel=self.conv_kernel, output_gate=self.output_gate)

    def forward(self, x: Tensor, rope: Tensor | None = None,
                attn_mask: TokenLayout | Tensor | None = None, is_causal: bool = False) -> Tensor:
        """(B, L, C) to (B, L, C), before the residual.

        Args:
            x: Tokens.
            rope: Angles of all patches.
            attn_mask: The tokens' layout; a convolution on V needs its grid.
            is_causal: Not taken.

        Raises:
            ValueError: causality is asked for.
            RuntimeError: the convolution gets no grid.
        """
        grid, mask = self.layout(attn_mask, is_causal)
        if grid is None and self.conv is not None:
            raise RuntimeError('the convolution on V needs the grid; run it inside a TimmViT, or '
                               'give attn_mask=TokenLayout(grid)')
        q, k, v = self.queries_keys_values(x, rope)
        mapped_outside = (not on_gpu(v) or fused_problem(q, v) is not None
                          or mask is not None or self.feature_map == 'focused')
        if mapped_outside and torch.is_grad_enabled() and v.requires_grad:
            # mapped in float32, queries and keys are more than all else that a block would keep
            y = checkpoint(self._attend, q, k, v, mask, use_reentrant=False,
                           preserve_rng_state=False)
        else:
            y = self._attend(q, k, v, mask)
        y = y.transpose(1, 2).flatten(2)
        if self.conv is not None:
            y = y + self._convolved(v, grid)
        if self.out_gate is not None:
            y = y * (2 * torch.sigmoid(self.out_gate(x)))
        return self.project(y, x)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        if mask is not None:
            return query_linear_attention(self.map_q(q), self.map_k(k), v, mask, self.normalize)
        if self.feature_map == 'hedgehog':
            return linear_attention(self.map_q.turn(q), self.map_k.turn(k), v, self.normalize,
                                    'paired_softmax')
        return linear_attention(q, k, v, self.normalize, self.feature_map)

    def stream_(self, x: Tensor, norm: nn.Module, scale: Callable[[Tensor], Tensor],
                rope: Tensor | None, tile: int) -> None:
        """``x += scale(self(norm(x)))`` over tiles of tokens, in place.

        Beside the sums, what is held at full length are the mapped queries.

        Args:
            x: (B, L, C).
            norm: Of the tokens before attention.
            scale: Of its output.
            rope: See :meth:`forward`.
            tile: Tokens of a tile.

        Raises:
            RuntimeError: the convolution on V needs all values at once.
        """
        if not self.streams:
            raise RuntimeError('linear attention with a convolution on V does not stream')
        state, queries = LinearState(self.normalize), []
        for a in range(0, x.shape[1], tile):
            q, k, v = self.queries_keys_values(norm(x[:, a:a + tile]), rope, a)
            state.add(self.map_k(k), v)
            queries.append(self.map_q(q))
            dtype = v.dtype
        gated = self.out_gate is not None or getattr(self, 'gate', None) is not None
        for n, a in enumerate(range(0, x.shape[1], tile)):
            part = x[:, a:a + tile]
            y = state.read(queries[n], dtype).transpose(1, 2).flatten(2)
            queries[n] = None
            seen = norm(part) if gated else part
            if self.out_gate is not None:
                y = y * (2 * torch.sigmoid(self.out_gate(seen)))
            part += scale(self.project(y, seen))

    def _convolved(self, v: Tensor, grid: tuple[int, int]) -> Tensor:
        """Depthwise convolution of the patches' values over their grid; prefix tokens get 0."""
        patches = grid[0] * grid[1]
        values = v.transpose(1, 2).flatten(2)
        prefix = values.shape[1] - patches
        image = values[:, prefix:].transpose(1, 2).unflatten(2, grid)
        return F.pad(self.conv(image).flatten(2).transpose(1, 2), (0, 0, prefix, 0))
