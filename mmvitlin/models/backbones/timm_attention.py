"""The attention modules of a timm ViT's blocks, and which weights fit them."""
from __future__ import annotations

import logging
from collections.abc import Sequence

import torch.nn as nn
from mmengine.logging import print_log
from torch import Tensor

from mmvitlin.models.layers import (
    FocalAttention,
    LinearAttention,
    Mamba2Attention,
    QueryAttention,
    WindowAttention,
)
from mmvitlin.utils.errors import CheckpointError

KINDS = ('softmax', 'linear', 'focal', 'window', 'mamba2')
# kinds whose weights start from those of softmax attention
ALIGNED = {'linear': LinearAttention, 'focal': FocalAttention, 'mamba2': Mamba2Attention}


def kinds_of_layers(attention: str | Sequence[str], num_layers: int) -> list[str]:
    """The kind of each layer.

    Raises:
        ValueError: a kind that is not known, or a list of another length.
    """
    kinds = [attention] * num_layers if isinstance(attention, str) else list(attention)
    if len(kinds) != num_layers:
        raise ValueError(f'attention names {len(kinds)} layers, the network has {num_layers}')
    if unknown := sorted(set(kinds) - set(KINDS)):
        raise ValueError(f"attention must be {', '.join(map(repr, KINDS[:-1]))} or '{KINDS[-1]}', "
                         f'or one of them for each layer, got {unknown}')
    return kinds


def replace_attention(vit: nn.Module, kinds: Sequence[str], linear_cfg: dict, mamba2_cfg: dict,
                      focal_cfg: dict, window: int, attend_padding: bool) -> None:
    """Put the attention module of its kind into each block.

    Of Mamba-2 layers that scan in one direction, every other one scans in reverse.
    """
    scanned = 0
    for block, kind in zip(vit.blocks, kinds, strict=True):
        if kind == 'linear':
            block.attn = LinearAttention(block.attn, **linear_cfg)
        elif kind == 'focal':
            block.attn = FocalAttention(block.attn, **focal_cfg)
        elif kind == 'window':
            block.attn = WindowAttention(block.attn, window, attend_padding)
        elif kind == 'mamba2':
            back = mamba2_cfg.get('directions') == 'one' and scanned % 2 == 1
            block.attn = Mamba2Attention(block.attn, vit.num_prefix_tokens,
                                         **dict(dict(reverse=back), **mamba2_cfg))
            scanned += 1


def take_masks(blocks: nn.ModuleList, kinds: Sequence[str]) -> None:
    """Let the softmax layers among blocks, which queries of a head pass, take masks of them."""
    for block, kind in zip(blocks, kinds, strict=True):
        if kind == 'softmax':
            block.attn = QueryAttention(block.attn)


def options_of_kinds(blocks: nn.ModuleList) -> dict[str, dict]:
    """'linear_cfg', 'focal_cfg' and 'mamba2_cfg', for the kinds of layers that exist, and
    'reversed_blocks' of Mamba-2 layers that scan in one direction."""
    layers = {kind: next((b.attn for b in blocks if isinstance(b.attn, module)), None)
              for kind, module in ALIGNED.items()}
    options = {f'{kind}_cfg': layer.options() for kind, layer in layers.items()
               if layer is not None}
    if layers['mamba2'] is not None and layers['mamba2'].directions == 'one':
        options['reversed_blocks'] = [i for i, block in enumerate(blocks)
                                      if getattr(block.attn, 'reverse', False)]
    return options


def fill_up(state: dict[str, Tensor], blocks: nn.ModuleList, prefix: str,
            kinds: Sequence[str] | None) -> None:
    """Add what a layer's attention has beside the weights of softmax attention, where a file's
    layer was softmax.

    Args:
        state: Of the network, keys as the network's; changed.
        blocks: The network's.
        prefix: Of their keys.
        kinds: Of the file's layers; None where it does not say, and a layer without any such
            parameter was softmax.
    """
    for n, block in enumerate(blocks):
        names = getattr(block.attn, 'ADDED', ())
        added = {f'{prefix}{n}.attn.{key}': start for key, start in block.attn.state_dict().items()
                 if key.split('.')[0] in names}
        aligned = kinds is not None and len(kinds) == len(blocks) and kinds[n] in ALIGNED
        if not aligned and not added.keys() & state.keys():
            state.update(added)


def refuse_other_attention(saved: dict, own: dict, source: str) -> None:
    """Refuse weights that were trained with another attention, by two networks' descriptions.

    Softmax weights may start a linear, focal or Mamba-2 layer; those of such a layer fit no other
    kind. Focal attention has no weights of its own, so that its blocks and cells may be changed.

    Raises:
        CheckpointError: such a layer of the file is of another kind here, or of other options.
    """
    kinds, own_kinds = saved.get('attention'), own['attention']
    if kinds is None or len(kinds) != len(own_kinds):
        return
    for kind in ALIGNED:
        lost = [i for i, (a, b) in enumerate(zip(kinds, own_kinds, strict=True))
                if a == kind != b]
        if lost:
            raise CheckpointError(f'{source} was trained with {kind} attention in the layers '
                                  f'{lost}, which are not {kind} here; set attention={kinds}')
        options, key = saved.get(f'{kind}_cfg'), f'{kind}_cfg'
        if kind not in kinds or all(own[key].get(k) == v for k, v in (options or {}).items()):
            continue
        if kind == 'focal':
            print_log(f'{source} was trained with {key}={options}, this network has {own[key]}',
                      logger='current', level=logging.WARNING)
        else:
            raise CheckpointError(f'{source} was trained with {key}={options}, this network has '
                                  f'{own.get(key)}; set {key} accordingly')
    orders = [description.get('reversed_blocks') for description in (saved, own)]
    if None not in orders and orders[0] != orders[1]:
        raise CheckpointError(f'{source} was trained with the blocks {orders[0]} reversed, here '
                              f'they are {orders[1]}; set mamba2_cfg.reverse accordingly')
    fresh = [i for i, (a, b) in enumerate(zip(kinds, own_kinds, strict=True))
             if b in ALIGNED and a != b]
    if fresh and set(kinds) & set(ALIGNED):
        print_log(f'{source} has the layers {fresh} softmax, which are '
                  f'{sorted({own_kinds[i] for i in fresh})} here and start unaligned',
                  logger='current', level=logging.WARNING)
