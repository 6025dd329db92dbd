"""Any timm Vision Transformer, with softmax or another attention, at any resolution."""
from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext

import torch
import torch.nn as nn
from timm.models.eva import Eva
from torch import Tensor
from torch.utils.checkpoint import checkpoint as recompute

from mmvitlin.models.backbones.base import TokenBackbone, Tokens
from mmvitlin.models.backbones.timm_attention import (
    fill_up,
    kinds_of_layers,
    options_of_kinds,
    refuse_other_attention,
    replace_attention,
    take_masks,
)
from mmvitlin.models.backbones.timm_blocks import stream_block_, streams
from mmvitlin.models.backbones.timm_models import create_vit, weights_filter
from mmvitlin.models.backbones.token_stream import TokenStream
from mmvitlin.models.layers import (
    InheritedAttention,
    TokenLayout,
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
from mmvitlin.models.utils.checkpoint import description_in, with_description
from mmvitlin.ops import FastPatches, infers_on_cpu
from mmvitlin.registry import MODELS
from mmvitlin.utils.errors import CheckpointError


@MODELS.register_module()
class TimmViT(TokenBackbone):
    """A timm ViT as a token backbone: teacher, softmax baseline, linear, focal or recurrent
    student, or hybrid.

    Works for timm's ``VisionTransformer`` and ``Eva`` models (AugReg, DeiT, CLIP, DINOv2 with
    or without registers, SigLIP, and the rotary EVA-02 and DINOv3), with their own prefix tokens
    and normalisations; sizes the patch does not divide are padded, positions interpolated.
    Softmax attention runs through ``scaled_dot_product_attention``; linear attention,
    focal attention or a Mamba-2 mixer takes its place layer by layer and keeps its weights, see
    :class:`mmvitlin.models.layers.LinearAttention`,
    :class:`mmvitlin.models.layers.FocalAttention` and
    :class:`mmvitlin.models.layers.Mamba2Attention`.

    Args:
        model_name: timm's name, such as 'vit_base_patch16_clip_quickgelu_224.openai'.
        attention: 'softmax', 'linear', 'focal', 'window' or 'mamba2' for all layers, or one of
            them for each.
        softmax_layers: Layers that stay softmax whatever ``attention`` is; negative numbers
            count from the last. ``attention='window'`` with (2, 5, 8, 11) is ViTDet's base.
        linear_cfg: Options of :class:`mmvitlin.models.layers.LinearAttention`.
        mamba2_cfg: Options of :class:`mmvitlin.models.layers.Mamba2Attention`. Of layers with
            ``directions='one'`` every other one scans in reverse.
        focal_cfg: Options of :class:`mmvitlin.models.layers.FocalAttention`.
        window: Side of a window in patches, see
            :class:`mmvitlin.models.layers.WindowAttention`.
        attend_padding: See there.
        pretrained: Load timm's weights for the name (its cache, then the network).
        checkpoint: A local weight file instead, see :meth:`load_weights`, or the name of a
            fetched one (``mmvitlin::NAME``). Loaded with ``weights_only=True``.
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
        ConfigError: the weights are not available.
        CheckpointError: they do not fit.
    """

    STREAMS = True

    def __init__(self,
                 model_name: str,
                 attention: str | Sequence[str] = 'softmax',
                 softmax_layers: Sequence[int] = (),
                 linear_cfg: dict | None = None,
                 mamba2_cfg: dict | None = None,
                 focal_cfg: dict | None = None,
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
        self.vit = create_vit(model_name, pretrained if checkpoint is None else False, **kwargs)
        self.vit.reset_classifier(0)
        self.vit.attn_pool = None
        if hasattr(self.vit, 'fc_norm'):  # of the pooled average, which is not used here
            self.vit.fc_norm = nn.Identity()
        self.embed_dims = self.vit.embed_dim
        self.num_layers = len(self.vit.blocks)
        kinds = kinds_of_layers(attention, self.num_layers)
        for index in self.layer_indices(softmax_layers):
            kinds[index] = 'softmax'
        self.attention = tuple(kinds)
        replace_attention(self.vit, kinds, linear_cfg or {}, mamba2_cfg or {}, focal_cfg or {},
                          window, attend_padding)
        if self.first_query_layer is not None:
            take_masks(self.vit.blocks[self.first_query_layer:], kinds[self.first_query_layer:])
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

    def init_weights(self) -> None:
        """Load what ``init_cfg`` says, if anything; timm has initialised or loaded the rest.

        mmengine would call timm's own ``init_weights``, which draws anew over loaded weights.
        """
        if self.init_cfg:
            super().init_weights()
        self._is_init = True

    def load_weights(self, path: str, prefix: str | None = None) -> LoadReport:
        """Load mmvitlin's checkpoints, or the layouts of timm, the original authors (CLIP,
        OpenCLIP, DINOv2, DINOv3, EUPE, RADIO), Hugging Face (ViT, CLIP, SigLIP, DINOv2) and
        mmpretrain (ViT, CLIP), as torch, safetensors or ONNX files. RADIO's positions are for the
        sides of its own square grid: set ``img_size`` to the size it runs at."""
        return load_backbone(self, path, prefix, transform=self._from_any_layout)

    def inherit(self, other: TimmViT) -> LoadReport:
        """Take over the weights of a network of the same family and size.

        What another attention adds keeps its start; a patch embedding or
        positions of another size are resampled.

        Raises:
            CheckpointError: the networks differ in width, depth or family, or in what they compute
                with weights of one shape.
        """
        description = other.describe()
        source = f'the {type(other).__name__} it inherits from'
        self._refuse_other_form(description['form'], source)
        state = with_description(other.state_dict(), description)
        return fit_state_dict(self, self._from_any_layout(state), source)

    def describe(self) -> dict:
        """Description of the network for a checkpoint, beside its weights."""
        block = self.vit.blocks[0]
        form = dict(width=self.embed_dims, heads=block.attn.num_heads,
                    activation=str(getattr(block.mlp, 'act', '')),
                    norm_eps=getattr(block.norm1, 'eps', 0.))
        window = next((b.attn for b in self.vit.blocks if isinstance(b.attn, WindowAttention)),
                      None)
        if window is not None:
            form.update(window=window.window, attend_padding=window.attend_padding)
        return dict(grid=list(self.vit.patch_embed.grid_size), attention=list(self.attention),
                    form=form, **options_of_kinds(self.vit.blocks))

    def check_description(self, description: dict, source: str) -> None:
        """Refuse a file by the description of its network.

        Raises:
            CheckpointError: its attention is of another kind in a way that does not fit, see
                :func:`refuse_other_attention`; or heads, activation or norms are others.
        """
        self._refuse_other_form(description.get('form'), source)
        refuse_other_attention(description, self.describe(), source)

    def _refuse_other_form(self, form: dict | None, source: str) -> None:
        """Raises CheckpointError where weights of one shape would compute something else."""
        own = self.describe()['form']
        differing = {k: v for k, v in (form or {}).items() if k in own and own[k] != v}
        if differing:
            raise CheckpointError(f'{source} has {differing}, this network '
                                  f'{ {k: own[k] for k in differing} }; take the same model_name '
                                  'and model_kwargs')

    def _from_any_layout(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        description, positions = description_in(state), None
        old = description.get('grid')
        if layout_of(state) is None and any(k.startswith('vit.') for k in state):
            state = {k.removeprefix('vit.'): v for k, v in state.items()
                     if k.startswith('vit.')}
            positions = state.pop('pos_embed', None)  # timm would take any grid for a square
        else:
            state = to_timm(state)
        with torch.no_grad():
            state = weights_filter(self.vit)(state, self.vit)
            if positions is not None:
                state['pos_embed'] = self._positions_at(positions, old)
        state = {f'vit.{k}': v for k, v in state.items()}
        fill_up(state, self.vit.blocks, 'vit.blocks.', description.get('attention'))
        return state

    def _positions_at(self, positions: Tensor, old: Sequence[int] | None) -> Tensor:
        """Positions (1, prefix + h·w, C) learned on a grid, on this network's.

        Raises:
            CheckpointError: the grid is unknown and not a square.
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
        indices = self.layer_indices(layers)
        vit = self.vit
        x, rope, grid = self._embed(images, mask)
        tokens = {}
        for i in range(max(indices) + 1):
            x = self.run_layer(i, x, grid, rope)
            if i in indices:
                last = i == self.num_layers - 1
                y = vit.norm(x) if last else x.clone() if infers_on_cpu(images) else x
                tokens[i] = Tokens(y[:, vit.num_prefix_tokens:], y[:, 0] if self.has_cls else None,
                                   grid)
        return [tokens[i] for i in indices]

    def _embed(self, images: Tensor, mask: Tensor | None = None
               ) -> tuple[Tensor, Tensor | None, tuple[int, int]]:
        """All tokens before the first layer, rotary angles if any, and the grid of the patches."""
        padded = pad_to_patches(images, self.vit.patch_embed.patch_size)
        with FastPatches() if infers_on_cpu(images) else nullcontext():
            x = self.vit.patch_embed(padded)  # B h w C
        grid = tuple(x.shape[1:3])
        if mask is not None:
            x = self.apply_mask(x.flatten(1, 2), mask).unflatten(1, grid)
        return *self._embed_positions(x), grid

    def run_layer(self, index: int, tokens: Tensor, grid: tuple[int, int],
                  rope: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """See :meth:`TokenBackbone.run_layer`."""
        block, options = self.vit.blocks[index], {}
        if isinstance(block.attn, InheritedAttention):
            options['attn_mask'] = TokenLayout(grid, mask)
        if rope is not None:
            options['rope'] = rope[index] if getattr(self.vit, 'rope_mixed', False) else rope
        if self.with_cp and self.training:
            return recompute(block, tokens, use_reentrant=False, **options)
        if infers_on_cpu(tokens) and mask is None and streams(block):
            stream_block_(block, tokens, **options)
            return tokens
        return block(tokens, **options)

    def forward_stream(self, images: Tensor, layer: int) -> TokenStream:
        """See :meth:`TokenBackbone.forward_stream`."""
        x, rope, grid = self._embed(images)
        for i in range(layer):
            x = self.run_layer(i, x, grid, rope)
        return TokenStream(x, grid, layer, self, rope)

    def join_queries(self, stream: TokenStream, queries: Tensor) -> TokenStream:
        """See :meth:`TokenBackbone.join_queries`; queries come first and are not rotated."""
        rope = stream.rope
        if rope is not None:  # of sines and cosines of no angle
            shape = (*rope.shape[:-2], queries.shape[1], rope.shape[-1] // 2)
            rope = torch.cat([torch.cat([rope.new_zeros(shape), rope.new_ones(shape)], -1), rope],
                             dim=-2)
        return stream._replace(tokens=torch.cat([queries, stream.tokens], 1), rope=rope,
                               num_queries=queries.shape[1])

    def split_queries(self, stream: TokenStream) -> tuple[Tensor, Tensor]:
        """See :meth:`TokenBackbone.split_queries`."""
        count = stream.num_queries
        x = self.vit.norm(stream.tokens)
        return x[:, :count], x[:, count + self.vit.num_prefix_tokens:]

    def can_mask(self, layer: int) -> bool:
        """See :meth:`TokenBackbone.can_mask`: softmax, linear and focal attention can, scans and
        windows cannot."""
        return getattr(self.vit.blocks[layer].attn, 'MASKS', False)

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
