"""Tokens of mmpretrain's Vision Transformers."""
from __future__ import annotations

from collections.abc import Sequence

import torch.nn as nn
from torch import Tensor

from mmvitlin.models.backbones.base import Tokens
from mmvitlin.models.utils import LoadReport, load_backbone


class MMBackboneTokens(nn.Module):
    """Gives an mmpretrain ``VisionTransformer``-like backbone ``forward_tokens``.

    Args:
        network: Has ``out_indices``, ``out_type``, ``num_extra_tokens``, ``patch_embed``.

    Raises:
        TypeError: the network is hierarchical or has no tokens.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        needed = ('out_indices', 'out_type', 'num_extra_tokens', 'layers', 'embed_dims')
        if not all(hasattr(network, name) for name in needed):
            raise TypeError(f'{type(network).__name__} cannot teach token by token: it has no '
                            'single token grid. Take mmvitlin.TimmViT, mmvitlin.TimmFeatures '
                            '(any other network of timm), or an mmpretrain VisionTransformer')
        self.network = network
        self.embed_dims, self.num_layers = network.embed_dims, len(network.layers)
        self.has_cls = bool(network.num_extra_tokens)
        kernel = network.patch_embed.projection.stride
        self.patch_size = kernel if isinstance(kernel, int) else kernel[0]
        network.out_type = 'raw'

    @property
    def init_cfg(self):
        """The network's."""
        return getattr(self.network, 'init_cfg', None)

    def init_weights(self) -> None:
        """As the network does."""
        self.network.init_weights()

    def load_weights(self, path: str, prefix: str | None = None) -> LoadReport:
        """Load an mmpretrain checkpoint into the network."""
        return load_backbone(self.network, path, prefix)

    def forward_tokens(self, images: Tensor, layers: int | Sequence[int] = -1) -> list[Tokens]:
        """See :meth:`mmvitlin.models.TokenBackbone.forward_tokens`."""
        layers = (layers, ) if isinstance(layers, int) else tuple(layers)
        order = sorted({index % self.num_layers for index in layers})
        self.network.out_indices = order
        extra = self.network.num_extra_tokens
        grid = tuple(side // self.patch_size for side in images.shape[-2:])
        tokens = {
            i: Tokens(x[:, extra:], x[:, 0] if extra else None, grid)
            for i, x in zip(order, self.network(images), strict=True)
        }
        return [tokens[index % self.num_layers] for index in layers]
