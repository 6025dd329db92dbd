"""Tokens that have passed the first layers of a backbone, to continue with the queries of a
head."""
from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn


class TokenStream(NamedTuple):
    """What a backbone with ``out_type='stream'`` returns: its tokens before its last layers.

    Each step returns a new stream, which begins with a copy of the tokens when queries join;
    without gradients its own tokens may be overwritten by the next step.

    Attributes:
        tokens: (B, N, C), in the backbone's own order, before any final norm.
        grid: (h, w) of the patches.
        layer: Number of the layer that is next.
        backbone: The token backbone whose layers are left.
        rope: Rotary angles of the tokens, where the backbone has any.
        num_queries: How many queries have joined.
    """
    tokens: Tensor
    grid: tuple[int, int]
    layer: int
    backbone: nn.Module
    rope: Tensor | None = None
    num_queries: int = 0

    @property
    def layers_left(self) -> int:
        """Number of layers that are left."""
        return self.backbone.num_layers - self.layer

    @property
    def maskable(self) -> bool:
        """Whether the next layer can keep queries from seeing some of the patches."""
        return self.backbone.can_mask(self.layer)

    def join(self, queries: Tensor) -> TokenStream:
        """The stream with the tokens of (Q, C) queries added, the same for every image.

        Raises:
            ValueError: the backbone has another width.
        """
        if queries.shape[1] != self.tokens.shape[2]:
            raise ValueError(f'queries of {queries.shape[1]} channels cannot join tokens of '
                             f'{self.tokens.shape[2]}; set decode_head.in_channels='
                             f'{self.tokens.shape[2]}')
        queries = queries.to(self.tokens.dtype).expand(self.tokens.shape[0], -1, -1)
        return self.backbone.join_queries(self, queries)

    def step(self, seen: Tensor | None = None) -> TokenStream:
        """Through the next layer.

        Args:
            seen: bool (B, Q, h·w), which patches each query sees; it sees all other tokens. None
                for all patches.

        Raises:
            ValueError: the layer takes no mask.
        """
        mask = None
        if seen is not None:
            if not self.maskable:
                raise ValueError(f'layer {self.layer} of a {type(self.backbone).__name__} takes '
                                 'no mask')
            others = self.tokens.shape[1] - seen.shape[2]
            mask = F.pad(seen, (others, 0), value=True)
        tokens = self.backbone.run_layer(self.layer, self.tokens, self.grid, self.rope, mask)
        return self._replace(tokens=tokens, layer=self.layer + 1)

    def read(self) -> tuple[Tensor, Tensor]:
        """Queries (B, Q, C) and patches as a map (B, C, h, w), after the backbone's final norm."""
        queries, patches = self.backbone.split_queries(self)
        return queries, patches.transpose(1, 2).unflatten(2, self.grid)
