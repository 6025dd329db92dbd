"""Adventurer among timm's models: ``import mmvitlin.timm`` registers
``adventurer_{tiny,small,base,large}_patch16_224``.

    >>> import timm, mmvitlin.timm
    >>> net = timm.create_model('adventurer_base_patch16_224', num_classes=10, global_pool='avg',
    ...                         pretrained_cfg_overlay=dict(file='student.pth'), pretrained=True)
    >>> maps = timm.create_model('adventurer_base_patch16_224', features_only=True)

The released weights classify by the class token, the default here. A student that was distilled by
losses on patches has not trained it: take ``global_pool='avg'``.

Evaluation takes the middle 0.875 of an image's shorter side at 224 and 16-pixel patches, and all of
it with larger images or smaller patches, as Adventurer's does (``resolve_data_config``).
"""
from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn as nn
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models._features import feature_take_indices
from torch import Tensor

from mmvitlin.models.backbones.adventurer import Adventurer
from mmvitlin.models.utils.checkpoint import read_meta, with_description

__all__ = ['AdventurerClassifier']


class AdventurerClassifier(nn.Module):
    """Adventurer with timm's interface.

    Args:
        num_classes: Rows of the classifier; 0 for none.
        global_pool: 'token' (the class token), 'avg' (mean of the patches), or '' for all tokens
            (B, L + 1, C), class token last.
        drop_rate: Dropout before the classifier.
        in_chans: Must be 3.
        **kwargs: Of :class:`mmvitlin.models.Adventurer`.
    """

    def __init__(self,
                 num_classes: int = 1000,
                 global_pool: str = 'token',
                 drop_rate: float = 0.,
                 in_chans: int = 3,
                 **kwargs):
        super().__init__()
        if in_chans != 3:
            raise ValueError(f'Adventurer takes images of 3 channels, not in_chans={in_chans}')
        self.backbone = Adventurer(**kwargs)
        self.num_features = self.head_hidden_size = self.embed_dim = self.backbone.embed_dims
        self.head_drop = nn.Dropout(drop_rate)
        self.feature_info = [
            dict(module=f'backbone.layers.{i}', num_chs=self.embed_dim,
                 reduction=self.backbone.patch_size) for i in range(self.backbone.num_layers)]
        self.reset_classifier(num_classes, global_pool)

    def get_classifier(self) -> nn.Module:
        """The last layer."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Another classifier, freshly drawn; other pooling where given.

        Raises:
            ValueError: an unknown pooling.
        """
        if global_pool is not None:
            if global_pool not in ('token', 'avg', ''):
                raise ValueError(f"global_pool must be 'token', 'avg' or '', got '{global_pool}'")
            self.global_pool = global_pool
        self.num_classes = num_classes
        self.head = nn.Linear(self.embed_dim, num_classes) if num_classes else nn.Identity()
        if num_classes:
            nn.init.trunc_normal_(self.head.weight, std=0.02)
            nn.init.zeros_(self.head.bias)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute blocks in the backward pass."""
        self.backbone.with_cp = enable

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that are not to be decayed."""
        return {'backbone.pos_embed', 'backbone.cls_token'} | {
            name for name, _ in self.named_parameters()
            if name.endswith(('.A_log', '.D', '.dt_bias'))}

    def group_matcher(self, coarse: bool = False) -> dict:
        """How timm groups parameters by depth."""
        return dict(stem=r'^backbone\.(?:cls_token|pos_embed|patch_embed)',
                    blocks=[(r'^backbone\.layers\.(\d+)', None),
                            (r'^backbone\.norm_f', (99999, ))])

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, L + 1, C), class token last, after the final norm."""
        tokens, = self.backbone.forward_tokens(x)
        return torch.cat([tokens.patches, tokens.cls[:, None]], dim=1)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """All tokens to (B, num_classes), or to (B, C) before the classifier."""
        if self.global_pool == 'token':
            x = x[:, -1]
        elif self.global_pool == 'avg':
            x = x[:, :-1].mean(1)
        x = self.head_drop(x)
        return x if pre_logits else self.head(x)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, num_classes)."""
        return self.forward_head(self.forward_features(x))

    def forward_intermediates(self,
                              x: Tensor,
                              indices: int | Sequence[int] | None = None,
                              return_prefix_tokens: bool = False,
                              norm: bool = False,
                              stop_early: bool = False,
                              output_fmt: str = 'NCHW',
                              intermediates_only: bool = False):
        """Features after chosen blocks, as timm's own ViTs give them.

        Args:
            x: (B, 3, H, W).
            indices: Blocks; a number n for the last n; None for all.
            return_prefix_tokens: Also the class token of each, (B, 1, C).
            norm: Apply the final norm to each.
            stop_early: Do not run blocks that are not needed.
            output_fmt: 'NCHW' or 'NLC'.
            intermediates_only: Leave out the final features.

        Returns:
            Final features (B, L + 1, C) and a list, or the list alone.
        """
        if output_fmt not in ('NCHW', 'NLC'):
            raise ValueError(f"output_fmt must be 'NCHW' or 'NLC', got '{output_fmt}'")
        net = self.backbone
        last = net.num_layers - 1
        taken, _ = feature_take_indices(net.num_layers, indices)
        run = taken if stop_early or intermediates_only else [*taken, last]
        streams, grid = net.forward_blocks(x, run)
        maps = []
        for i in taken:
            y = net.norm_f(streams[i]) if norm else streams[i]
            patches = y[:, :-1]
            if output_fmt == 'NCHW':
                patches = patches.transpose(1, 2).unflatten(2, grid)
            maps.append((patches, y[:, -1:]) if return_prefix_tokens else patches)
        if intermediates_only:
            return maps
        return net.norm_f(streams[max(run)]), maps

    def prune_intermediate_layers(self, indices: int | Sequence[int] = 1, prune_norm: bool = False,
                                  prune_head: bool = True) -> list[int]:
        """Drop the blocks behind the last chosen one, and what follows them; returns the
        indices."""
        net = self.backbone
        taken, deepest = feature_take_indices(net.num_layers, indices)
        net.layers = net.layers[:deepest + 1]
        net.num_layers = deepest + 1
        if prune_norm:
            net.norm_f = nn.Identity()
        if prune_head:
            self.reset_classifier(0)
        return taken


def _cfg() -> dict:
    return dict(url='', num_classes=1000, input_size=(3, 224, 224), pool_size=None, crop_pct=0.875,
                interpolation='bicubic', fixed_input_size=False, mean=IMAGENET_DEFAULT_MEAN,
                std=IMAGENET_DEFAULT_STD, first_conv='backbone.patch_embed.proj',
                classifier='head')


_NAMES = {size: f'adventurer_{size}_patch16_224' for size in Adventurer.ARCHS}
default_cfgs = generate_default_cfgs({name: _cfg() for name in _NAMES.values()})


def _from_any(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Converts mmvitlin's students, OpenMMLab checkpoints and the released files to this layout.

    Raises:
        CheckpointError: the file's blocks scan in other directions than the model's.
    """
    state = state.get('state_dict', state.get('model', state))
    file = (getattr(model, 'pretrained_cfg', None) or {}).get('file')
    description = (read_meta(file).get('backbone') or {}) if file else {}
    if not description and 'head.weight' in state and 'cls_token' in state:  # a released file
        description = dict(reversed_blocks=Adventurer.RELEASED_REVERSED)
    model.backbone.check_description(description, str(file or 'the state dict'))
    renamed = {}
    for key, value in state.items():
        if key.startswith(('backbone.', 'head.')):
            renamed[key.replace('head.fc.', 'head.', 1)] = value
        elif key.split('.')[0] in ('layers', 'patch_embed', 'cls_token', 'pos_embed', 'norm_f'):
            renamed[f'backbone.{key}'] = value
    own = model.state_dict()
    if not model.num_classes:
        renamed = {k: v for k, v in renamed.items() if not k.startswith('head.')}
    else:  # a student has no classifier; the new one keeps its random weights
        for name in ('head.weight', 'head.bias'):
            renamed.setdefault(name, own[name])
    renamed.pop('backbone.mask_token', None)
    return with_description(renamed, description, 'backbone')


def _create(size: str, pretrained: bool, kwargs: dict) -> nn.Module:
    options = dict(arch=size, **kwargs)
    out_indices = options.pop('out_indices', 3)
    net = build_model_with_cfg(AdventurerClassifier, _NAMES[size], pretrained,
                               pretrained_filter_fn=_from_any,
                               feature_cfg=dict(out_indices=out_indices, feature_cls='getter'),
                               **options)
    given = options.get('img_size', 224)
    sides = (given, given) if isinstance(given, int) else tuple(given)
    if sides != (224, 224) or options.get('patch_size', 16) < 16:
        whole = min(sides) > 224 or options.get('patch_size', 16) < 16
        net.pretrained_cfg = net.default_cfg = dict(
            net.pretrained_cfg, input_size=(3, *sides),
            crop_pct=1.0 if whole else net.pretrained_cfg['crop_pct'])
    return net


@register_model
def adventurer_tiny_patch16_224(pretrained: bool = False, **kwargs) -> nn.Module:
    """Adventurer-T, 256 wide, 12 blocks."""
    return _create('tiny', pretrained, kwargs)


@register_model
def adventurer_small_patch16_224(pretrained: bool = False, **kwargs) -> nn.Module:
    """Adventurer-S, 512 wide, 12 blocks."""
    return _create('small', pretrained, kwargs)


@register_model
def adventurer_base_patch16_224(pretrained: bool = False, **kwargs) -> nn.Module:
    """Adventurer-B, 768 wide, 12 blocks."""
    return _create('base', pretrained, kwargs)


@register_model
def adventurer_large_patch16_224(pretrained: bool = False, **kwargs) -> nn.Module:
    """Adventurer-L, 1024 wide, 24 blocks."""
    return _create('large', pretrained, kwargs)
