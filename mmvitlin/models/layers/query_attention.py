"""Softmax attention whose first tokens may be masked; replaces a timm attention."""
from __future__ import annotations

from torch import Tensor, nn

from mmvitlin.models.layers.inherited_attention import InheritedAttention, TokenLayout
from mmvitlin.ops.query_attention import query_attention


class QueryAttention(InheritedAttention):
    """The softmax attention it inherits, in layers that the queries of a head pass too.

    Without a mask it computes what the inherited module does.

    Args:
        softmax: The module to take the weights from; see :class:`InheritedAttention`.

    Source: EoMT (arXiv 2503.19108), section 3.3.
    """
    MASKS = True

    def __init__(self, softmax: nn.Module):
        super().__init__(softmax)
        self.fused_attn = getattr(softmax, 'fused_attn', True)  # as timm's modules have it

    def forward(self, x: Tensor, rope: Tensor | None = None,
                attn_mask: TokenLayout | Tensor | None = None, is_causal: bool = False) -> Tensor:
        """(B, L, C) to (B, L, C), before the residual.

        Args:
            x: Tokens.
            rope: Angles of all patches.
            attn_mask: The tokens' layout; the grid is not used.
            is_causal: Not taken.

        Raises:
            ValueError: causality is asked for.
        """
        mask = self.layout(attn_mask, is_causal).seen
        q, k, v = self.queries_keys_values(x, rope)
        if not self.fused_attn and mask is None:
            y = self.attn_drop((self.scale * q @ k.transpose(-1, -2)).softmax(-1)) @ v
        else:
            dropout = self.attn_drop.p if self.training else 0.
            y = query_attention(q, k, v, mask, self.scale, dropout)
        return self.project(y.transpose(1, 2).flatten(2), x)
