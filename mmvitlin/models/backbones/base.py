"""Base of the token backbones: outputs, masks, checkpoints, layer depth."""
from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn as nn
from mmengine.model import BaseModule
from torch import Tensor

from mmvitlin.compat.mmengine import read_tensors_only
from mmvitlin.models.backbones.token_stream import TokenStream
from mmvitlin.models.utils import LoadReport, load_backbone
from mmvitlin.utils.errors import ConfigError


class Tokens(NamedTuple):
    """Features after one layer.

    Attributes:
        patches: (B, L, C), row by row over the grid.
        cls: (B, C), or None where the network has no class token.
        grid: (h, w) with h · w = L.
    """
    patches: Tensor
    cls: Tensor | None
    grid: tuple[int, int]

    def featmap(self) -> Tensor:
        """(B, C, h, w)."""
        return self.patches.transpose(1, 2).unflatten(2, self.grid)


class TokenBackbone(BaseModule, metaclass=ABCMeta):
    """Base of networks of equal-width layers over patch tokens.

    Subclasses set ``embed_dims``, ``num_layers`` and ``patch_size``, implement
    :meth:`forward_tokens` and :meth:`blocks`, and call :meth:`freeze_stages` once built.

    Args:
        out_type: What :meth:`forward` returns for each of ``out_indices``: 'featmap'
            (B, C, h, w), 'cls_token' (B, C), 'avg_featmap' (B, C), or 'raw' (B, L + 1, C)
            with the patches first and the class token, if any, last. 'stream' stops after the
            one layer of ``out_indices`` and returns a :class:`TokenStream`, with which the
            queries of a head go through the layers that are left.
        out_indices: Layers to return, negative from the end. The last layer's output is
            after the final norm.
        with_cp: Recompute every block in the backward pass to save memory.
        frozen_stages: −1 trains everything, 0 freezes what comes before the blocks, k also
            the first k blocks, and all of them with the final norm the whole backbone.
            Frozen parts stay in eval mode.
        init_cfg: mmengine's; ``dict(type='Pretrained', checkpoint=…, prefix='backbone.')``
            loads through :func:`mmvitlin.models.utils.load_backbone`, which refuses a
            checkpoint of another model.
    """
    OUT_TYPES = ('featmap', 'cls_token', 'avg_featmap', 'raw', 'stream')
    STREAMS = False  # whether a subclass has out_type='stream'
    embed_dims: int
    num_layers: int
    patch_size: int
    has_cls: bool = True

    def __init__(self,
                 out_type: str = 'featmap',
                 out_indices: int | Sequence[int] = -1,
                 with_cp: bool = False,
                 frozen_stages: int = -1,
                 init_cfg: dict | None = None):
        read_tensors_only()  # before init_weights lets mmengine read init_cfg's file
        super().__init__(init_cfg)
        if out_type not in self.OUT_TYPES:
            raise ValueError(f"out_type must be one of {self.OUT_TYPES}, got '{out_type}'")
        if out_type == 'stream' and not self.STREAMS:
            raise ConfigError(f"a {type(self).__name__} has no out_type='stream', so no queries of "
                              'a head can go through its last layers; take a TimmViT or an '
                              'Adventurer')
        self.out_type, self._out_indices, self.with_cp = out_type, out_indices, with_cp
        self.frozen_stages = frozen_stages

    @property
    def out_indices(self) -> tuple[int, ...]:
        """``out_indices``, counted from 0."""
        return self.layer_indices(self._out_indices)

    @property
    def first_query_layer(self) -> int | None:
        """Number of the first layer that queries pass with ``out_type='stream'``, else None.

        Raises:
            ConfigError: ``out_indices`` is not one layer, or no layer is left for queries.
        """
        if self.out_type != 'stream':
            return None
        if len(self.out_indices) != 1 or self.out_indices[0] == self.num_layers - 1:
            raise ConfigError(f"backbone.out_type='stream' needs backbone.out_indices to be the "
                              f'one layer after which queries join, before the last of '
                              f'{self.num_layers}; got {self._out_indices}')
        return self.out_indices[0] + 1

    @property
    def layer_dims(self) -> tuple[int, ...]:
        """Width of each layer's tokens."""
        return (self.embed_dims, ) * self.num_layers

    def layer_indices(self, layers: int | Sequence[int]) -> tuple[int, ...]:
        """Normalise layer numbers.

        Raises:
            IndexError: a number is larger than the depth.
        """
        layers = (layers, ) if isinstance(layers, int) else tuple(layers)
        for index in layers:
            if not -self.num_layers <= index < self.num_layers:
                raise IndexError(f'there is no layer {index} in a {type(self).__name__} of '
                                 f'{self.num_layers} layers (0 to {self.num_layers - 1})')
        return tuple(index % self.num_layers for index in layers)

    @abstractmethod
    def blocks(self) -> nn.ModuleList:
        """The layers, in order."""

    def freeze_stages(self) -> None:
        """Freeze what ``frozen_stages`` names.

        Raises:
            ValueError: more stages than the network has.
        """
        frozen = self.frozen_stages
        if not -1 <= frozen <= self.num_layers:
            raise ValueError(f'frozen_stages must be -1 to {self.num_layers} for this '
                             f'{type(self).__name__}, got {frozen}')
        for name, parameter in self.named_parameters():
            if frozen == self.num_layers or self.get_layer_depth(name)[0] <= frozen:
                parameter.requires_grad_(False)

    def train(self, mode: bool = True) -> TokenBackbone:
        """Frozen blocks stay in eval mode."""
        super().train(mode)
        for block in self.blocks()[:max(self.frozen_stages, 0)]:
            block.eval()
        return self

    @abstractmethod
    def forward_tokens(self,
                       images: Tensor,
                       layers: int | Sequence[int] = -1,
                       mask: Tensor | None = None) -> list[Tokens]:
        """Features after each of the layers.

        Args:
            images: (B, 3, H, W), any size of at least one patch.
            layers: Layers asked for; the last one's output is after the final norm.
            mask: bool (B, L); where true the patch's embedding is replaced by the learned
                mask token before positions are added. Needs :meth:`enable_masking`.

        Returns:
            One :class:`Tokens` for each entry of ``layers``, in its order.
        """

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) to a tuple over ``out_indices``, as ``out_type`` says."""
        if self.out_type == 'stream':
            return (self.forward_stream(images, self.first_query_layer), )
        return tuple(self._format(t) for t in self.forward_tokens(images, self.out_indices))

    def forward_stream(self, images: Tensor, layer: int) -> TokenStream:
        """Tokens of (B, 3, H, W) before layer ``layer``, which is not run."""
        raise NotImplementedError(f'{type(self).__name__} has no stream of tokens')

    def join_queries(self, stream: TokenStream, queries: Tensor) -> TokenStream:
        """A stream with queries (B, Q, C) at the place that the backbone has for them."""
        raise NotImplementedError(f'{type(self).__name__} takes no queries')

    def run_layer(self, index: int, tokens: Tensor, grid: tuple[int, int],
                  rope: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Tokens (B, N, C) through one layer; without gradients they may be overwritten.

        Args:
            index: Of the layer.
            tokens: In the backbone's own order.
            grid: (h, w) of the patches.
            rope: Rotary angles, of backbones that have them.
            mask: bool (B, Q, N), what each of the first Q tokens sees, of layers that take one.
        """
        raise NotImplementedError(f'{type(self).__name__} takes no queries')

    def split_queries(self, stream: TokenStream) -> tuple[Tensor, Tensor]:
        """Queries (B, Q, C) and patches (B, h·w, C) of a stream, after the final norm."""
        raise NotImplementedError(f'{type(self).__name__} takes no queries')

    def can_mask(self, layer: int) -> bool:
        """Whether :meth:`run_layer` takes a mask there."""
        return False

    def _format(self, tokens: Tokens) -> Tensor:
        if self.out_type == 'featmap':
            return tokens.featmap()
        if self.out_type == 'avg_featmap':
            return tokens.patches.mean(1)
        if self.out_type == 'cls_token':
            if tokens.cls is None:
                raise ValueError(f'{type(self).__name__} has no class token here; take '
                                 "out_type='avg_featmap'")
            return tokens.cls
        if tokens.cls is None:
            return tokens.patches
        return torch.cat([tokens.patches, tokens.cls[:, None]], dim=1)

    def enable_masking(self) -> None:
        """Add the learned mask token (distillers call this; plain backbones have none)."""
        if not hasattr(self, 'mask_token'):
            self.mask_token = nn.Parameter(torch.zeros(1, 1, self.embed_dims))
            nn.init.trunc_normal_(self.mask_token, std=0.02)

    def apply_mask(self, patches: Tensor, mask: Tensor | None) -> Tensor:
        """Replace masked patch embeddings, (B, L, C), by the mask token; see :meth:`check_mask`."""
        if mask is None:
            return patches
        self.check_mask(mask, *patches.shape[:2])
        return torch.where(mask[..., None], self.mask_token.to(patches.dtype), patches)

    def check_mask(self, mask: Tensor, batch: int, length: int) -> None:
        """Refuse a mask that cannot be applied.

        Raises:
            RuntimeError: no mask token was made.
            ValueError: the mask does not fit the tokens.
        """
        if not hasattr(self, 'mask_token'):
            raise RuntimeError(f'this {type(self).__name__} has no mask token; call '
                               'enable_masking() once before the optimiser is built')
        if tuple(mask.shape) != (batch, length) or mask.dtype != torch.bool:
            raise ValueError(f'mask must be bool {(batch, length)}, got {mask.dtype} '
                             f'{tuple(mask.shape)}')

    def load_weights(self, path: str, prefix: str | None = None) -> LoadReport:
        """Load a checkpoint; see :func:`mmvitlin.models.utils.load_backbone`."""
        return load_backbone(self, path, prefix)

    def init_weights(self) -> None:
        """As mmengine's, but a checkpoint that does not fit is an error."""
        given = self.init_cfg
        cfgs = given if isinstance(given, (list, tuple)) else [given] if given else []
        files = [cfg for cfg in cfgs if cfg.get('type') == 'Pretrained']
        if not files:
            super().init_weights()
        elif not self.is_init:
            self.init_cfg = [cfg for cfg in cfgs if cfg not in files] or None
            super().init_weights()
            self.init_cfg, self._is_init = given, False
            for cfg in files:
                self.load_weights(cfg['checkpoint'], cfg.get('prefix'))
            self._is_init = True

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Group of a parameter for layer decay.

        Args:
            param_name: Name, with ``prefix`` in front.
            prefix: Prefix of the backbone's parameters, such as 'backbone.'.

        Returns:
            (group, number of groups): 0 for everything before the blocks, i + 1 for
            block i, the last for what follows (final norm and heads).
        """
        num_groups = self.num_layers + 2
        if not param_name.startswith(prefix):
            return num_groups - 1, num_groups
        name = param_name[len(prefix):]
        block = self._block_of(name)
        if block is not None:
            return block + 1, num_groups
        return (0 if self._is_stem(name) else num_groups - 1), num_groups

    def _block_of(self, name: str) -> int | None:
        parts = name.split('.')
        return int(parts[1]) if parts[0] == 'layers' else None

    def _is_stem(self, name: str) -> bool:
        return name.startswith(('patch_embed', 'pos_embed', 'cls_token', 'mask_token'))
