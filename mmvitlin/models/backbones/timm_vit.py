"""Any timm Vision Transformer, softmax, linear or in between, at any resolution."""
from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from contextlib import nullcontext

import torch
import torch.nn as nn
from mmengine.logging import print_log
from timm.models.eva import Eva
from torch import Tensor
from torch.utils.checkpoint import checkpoint as recompute

from mmvitlin.errors import CheckpointError
from mmvitlin.models.backbones.base import TokenBackbone, Tokens
from mmvitlin.models.backbones.timm_blocks import stream_block_, streams
from mmvitlin.models.backbones.timm_models import VIT_FAMILIES, create_vit
from mmvitlin.models.layers import (
    InheritedAttention,
    LinearAttention,
    WindowAttention,
    pad_to_patches,
    resize_positions,
)
from mmvitlin.models.utils import (
    LoadReport,
    fit_state_dict,
    layout_of,
    load_backbone,
    to_timm,
)
from mmvitlin.ops import FastPatches, infers_on_cpu
from mmvitlin.registry import MODELS


@MODELS.register_module()
class TimmViT(TokenBackbone):
    """A timm ViT as a token backbone: teacher, softmax twin, linear student or hybrid.

    Works for timm's ``VisionTransformer`` and ``Eva`` models (AugReg, DeiT, CLIP, DINOv2 with
    or without registers, SigLIP, and the rotary EVA-02 and DINOv3), with their own prefix tokens
    and normalisations; sizes the patch does not divide are padded, positions interpolated.
    Softmax attention runs through ``scaled_dot_product_attention``; linear attention takes its
    place layer by layer and keeps its weights, see
    :class:`mmvitlin.models.layers.LinearAttention`.

    Args:
        model_name: timm's name, such as 'vit_base_patch16_clip_quickgelu_224.openai'.
        attention: 'softmax', 'linear' or 'window' for all layers, or one of them for each.
        softmax_layers: Layers that stay softmax whatever ``attention`` says; negative numbers
            count from the last. ``attention='window'`` with (2, 5, 8, 11) is ViTDet's base.
        linear_cfg: Options of :class:`mmvitlin.models.layers.LinearAttention`.
        window: Side of a window in patches, see
            :class:`mmvitlin.models.layers.WindowAttention`.
        attend_padding: See there.
        pretrained: Load timm's weights for the name (its cache, then the network).
        checkpoint: A local weight file instead: timm's own layouts or one this toolkit
            wrote. Loaded with ``weights_only=True``.
        img_size: Size the positions are made for; None keeps the model's.
        model_kwargs: More arguments of ``timm.create_model``, such as dict(embed_dim=128,
            depth=8, num_heads=2).
        drop_path_rate: Stochastic depth at the last block.
        out_type: See :class:`TokenBackbone`.
        out_indices: See :class:`TokenBackbone`.
        with_cp: See :class:`TokenBackbone`.
        frozen_stages: See :class:`TokenBackbone`.
        init_cfg: See :class:`TokenBackbone`.

    Raises:
        ValueError: timm does not know the name, the attention is not known, or its list is of
            another length than the network.
        TypeError: the model is not a plain ViT.
        ConfigError: the weights cannot be had.
        CheckpointError: they do not fit.
    """

    def __init__(self,
                 model_name: str,
                 attention: str | Sequence[str] = 'softmax',
                 softmax_layers: Sequence[int] = (),
                 linear_cfg: dict | None = None,
                 window: int = 14,
                 attend_padding: bool = False,
                 pretrained: bool = False,
                 checkpoint: str | None = None,
                 img_size: int | tuple[int, int] | None = None,
                 model_kwargs: dict | None = None,
                 drop_path_rate: float = 0.,
                 out_type: str = 'featmap',
                 out_indices: int | Sequence[int] = -1,
                 with_cp: bool = False,
                 frozen_stages: int = -1,
                 init_cfg: dict | None = None):
        super().__init__(out_type, out_indices, with_cp, frozen_stages, init_cfg)
        kwargs = dict(model_kwargs or {}, drop_path_rate=drop_path_rate)
        if img_size is not None:
            kwargs['img_size'] = img_size
        self.vit = create_vit(model_name, pretrained and checkpoint is None, **kwargs)
        self.vit.reset_classifier(0)
        self.vit.attn_pool = None
        if hasattr(self.vit, 'fc_norm'):  # of the pooled average, which nobody takes here
            self.vit.fc_norm = nn.Identity()
        self.embed_dims = self.vit.embed_dim
        self.num_layers = len(self.vit.blocks)
        self.attention = self._attention_of_layers(attention, softmax_layers)
        for block, kind in zip(self.vit.blocks, self.attention, strict=True):
            if kind == 'linear':
                block.attn = LinearAttention(block.attn, **(linear_cfg or {}))
            elif kind == 'window':
                block.attn = WindowAttention(block.attn, window, attend_padding)
        self._loaded_grid: tuple[int, int] | None = None  # of the file that is being loaded
        if checkpoint is not None:
            self.load_weights(checkpoint)
        self.patch_size = self.vit.patch_embed.patch_size[0]
        self.has_cls = self.vit.cls_token is not None
        if out_type == 'cls_token' and not self.has_cls:
            raise ValueError(f"{model_name} has no class token; take out_type='avg_featmap'")
        self.freeze_stages()

    def blocks(self) -> nn.ModuleList:
        """The layers, in order."""
        return self.vit.blocks

    def _attention_of_layers(self, attention: str | Sequence[str],
                             softmax_layers: Sequence[int]) -> tuple[str, ...]:
        kinds = [attention] * self.num_layers if isinstance(attention, str) else list(attention)
        if len(kinds) != self.num_layers:
            raise ValueError(f'attention names {len(kinds)} layers, the network has '
                             f'{self.num_layers}')
        if unknown := sorted(set(kinds) - {'softmax', 'linear', 'window'}):
            raise ValueError("attention must be 'softmax', 'linear' or 'window', or one of them "
                             f'for each layer, got {unknown}')
        for index in self.layer_indices(softmax_layers):
            kinds[index] = 'softmax'
        return tuple(kinds)

    def init_weights(self) -> None:
        """Load what ``init_cfg`` says, if anything; timm has initialised or loaded the rest.

        mmengine would call timm's own ``init_weights``, which draws anew over loaded weights.
        """
        if self.init_cfg:
            super().init_weights()
        self._is_init = True

    def load_weights(self, path: str, prefix: str | None = None) -> LoadReport:
        """Load our own checkpoints, or the layouts of timm, the original authors (CLIP, OpenCLIP,
        DINOv2), Hugging Face (ViT, CLIP, SigLIP, DINOv2) and mmpretrain (ViT, CLIP)."""
        return load_backbone(self, path, prefix, transform=self._from_any_layout)

    def inherit(self, other: TimmViT) -> LoadReport:
        """Take over the weights of a network of the same family and size.

        What linear attention adds keeps its start; a patch embedding or positions of another
        size are resampled.

        Raises:
            CheckpointError: the networks differ in width, depth or family, or in what they compute
                with weights of one shape.
        """
        theirs = other.describe()
        self._refuse_other_form(theirs['form'], f'the {type(other).__name__} it inherits from')
        self._loaded_grid = tuple(theirs['grid'])
        return fit_state_dict(self, self._from_any_layout(other.state_dict()),
                              f'the {type(other).__name__} it inherits from')

    def describe(self) -> dict:
        """What a checkpoint must say of the network beside its weights."""
        block = self.vit.blocks[0]
        form = dict(width=self.embed_dims, heads=block.attn.num_heads,
                    activation=str(getattr(block.mlp, 'act', '')),
                    norm_eps=getattr(block.norm1, 'eps', 0.))
        window = next((b.attn for b in self.vit.blocks if isinstance(b.attn, WindowAttention)),
                      None)
        if window is not None:
            form.update(window=window.window, attend_padding=window.attend_padding)
        found = dict(grid=list(self.vit.patch_embed.grid_size), attention=list(self.attention),
                     form=form)
        linear = next((b.attn for b in self.vit.blocks if isinstance(b.attn, LinearAttention)),
                      None)
        return found if linear is None else dict(found, linear_cfg=linear.options())

    def heed(self, description: dict, source: str) -> None:
        """Take note of what a file says of its network before its weights are loaded.

        Softmax weights may start a linear layer; linear ones fit no other kind.

        Raises:
            CheckpointError: a linear layer of the file is none here, or one of another kind, or
                heads, activation or norms are others.
        """
        self._refuse_other_form(description.get('form'), source)
        grid = description.get('grid')
        self._loaded_grid = tuple(grid) if grid else None
        theirs, ours = description.get('attention'), self.describe()
        if theirs is None or len(theirs) != self.num_layers:
            return
        lost = [i for i, kind in enumerate(theirs)
                if kind == 'linear' and self.attention[i] != 'linear']
        if lost:
            raise CheckpointError(f'{source} was trained with linear attention in the layers '
                                  f'{lost}, which are not linear here; set attention={theirs}')
        fresh = [i for i, kind in enumerate(theirs)
                 if kind != 'linear' and self.attention[i] == 'linear']
        if fresh and 'linear' in theirs:
            print_log(f'{source} has the layers {fresh} softmax, which are linear here and start '
                      'unaligned', logger='current', level=logging.WARNING)
        options = description.get('linear_cfg')
        if options is not None and 'linear' in theirs and options != ours.get('linear_cfg'):
            raise CheckpointError(f'{source} was trained with linear_cfg={options}, this network '
                                  f"has {ours.get('linear_cfg')}; set linear_cfg accordingly")

    def _refuse_other_form(self, theirs: dict | None, source: str) -> None:
        """Raises CheckpointError where weights of one shape would compute something else."""
        ours = self.describe()['form']
        differing = {k: v for k, v in (theirs or {}).items() if k in ours and ours[k] != v}
        if differing:
            raise CheckpointError(f'{source} has {differing}, this network '
                                  f'{ {k: ours[k] for k in differing} }; take the same model_name '
                                  'and model_kwargs')

    def _from_any_layout(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        old, self._loaded_grid = self._loaded_grid, None  # holds for one loading
        positions = None
        if layout_of(state) is None and any(k.startswith('vit.') for k in state):
            state = {k.removeprefix('vit.'): v for k, v in state.items()
                     if k.startswith('vit.')}
            positions = state.pop('pos_embed', None)  # timm would take any grid for a square
        else:
            state = to_timm(state)
        with torch.no_grad():
            state = VIT_FAMILIES[type(self.vit)](state, self.vit)
            if positions is not None:
                state['pos_embed'] = self._positions_at(positions, old)
        state = {f'vit.{k}': v for k, v in state.items()}
        for key, start in self.state_dict().items():
            parts = key.split('.')
            if parts[:2] == ['vit', 'blocks'] and parts[4] in LinearAttention.ADDED:
                state.setdefault(key, start)
        return state

    def _positions_at(self, positions: Tensor, old: tuple[int, int] | None) -> Tensor:
        """Positions (1, prefix + h·w, C) learned on a grid, on this network's.

        Raises:
            CheckpointError: the grid is not known and no square.
        """
        grid = tuple(self.vit.patch_embed.grid_size)
        prefix = 0 if getattr(self.vit, 'no_embed_class', False) else self.vit.num_prefix_tokens
        count = positions.shape[1] - prefix
        if old is None or old[0] * old[1] != count:
            side = math.isqrt(count)
            old = grid if count == grid[0] * grid[1] else (side, side)
        if old[0] * old[1] != count:
            raise CheckpointError(f'positions of {count} patches are of no square, and the file '
                                  'does not say of what grid; load it at the img_size it was '
                                  'trained with and save it again')
        patches = resize_positions(positions[:, prefix:], old, grid)
        return torch.cat([positions[:, :prefix], patches], dim=1)

    @property
    def mean(self) -> tuple[float, ...]:
        """Channel means the weights were trained with, 0–255, RGB."""
        return tuple(255 * v for v in self.vit.pretrained_cfg['mean'])

    @property
    def std(self) -> tuple[float, ...]:
        """Channel deviations the weights were trained with, 0–255, RGB."""
        return tuple(255 * v for v in self.vit.pretrained_cfg['std'])

    def forward_tokens(self,
                       images: Tensor,
                       layers: int | Sequence[int] = -1,
                       mask: Tensor | None = None) -> list[Tokens]:
        """See :meth:`TokenBackbone.forward_tokens`."""
        wanted = self.layer_indices(layers)
        vit = self.vit
        padded = pad_to_patches(images, vit.patch_embed.patch_size)
        fast = infers_on_cpu(images)
        with FastPatches() if fast else nullcontext():
            x = vit.patch_embed(padded)  # B h w C
        grid = tuple(x.shape[1:3])
        if mask is not None:
            x = self.apply_mask(x.flatten(1, 2), mask).unflatten(1, grid)
        x, rope = self._embed_positions(x)
        found = {}
        for i, block in enumerate(vit.blocks[:max(wanted) + 1]):
            if isinstance(block.attn, InheritedAttention):
                block.attn.grid = grid
            turn = {} if rope is None else {
                'rope': rope[i] if getattr(vit, 'rope_mixed', False) else rope}
            if self.with_cp and self.training:
                x = recompute(block, x, use_reentrant=False, **turn)
            elif fast and streams(block):
                stream_block_(block, x, **turn)
            else:
                x = block(x, **turn)
            if i in wanted:
                last = i == self.num_layers - 1
                y = vit.norm(x) if last else x.clone() if fast else x
                found[i] = Tokens(y[:, vit.num_prefix_tokens:], y[:, 0] if self.has_cls else None,
                                  grid)
        return [found[i] for i in wanted]

    def _embed_positions(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Patches (B, h, w, C) to all tokens with positions, and rotary angles if any."""
        if isinstance(self.vit, Eva):
            x, rope = self.vit._pos_embed(x)
            return self.vit.norm_pre(x), rope
        return self.vit.norm_pre(self.vit.patch_drop(self.vit._pos_embed(x))), None

    def _block_of(self, name: str) -> int | None:
        parts = name.split('.')
        return int(parts[2]) if parts[:2] == ['vit', 'blocks'] else None

    def _is_stem(self, name: str) -> bool:
        return super()._is_stem(name.removeprefix('vit.')) or name.startswith(
            ('vit.norm_pre', 'vit.reg_token'))
