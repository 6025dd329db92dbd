"""Released Adventurer and Mamba-Reg weights to OpenMMLab checkpoints."""
from __future__ import annotations

import io
import math
from pathlib import Path

import torch

import mmvitlin
from mmvitlin.models.utils.checkpoint import LoadReport, load_backbone, read_state_dict
from mmvitlin.registry import MODELS
from mmvitlin.utils.errors import CheckpointError
from mmvitlin.utils.files import write_whole
from mmvitlin.utils.paths import locate


def released_config(state: dict[str, torch.Tensor]) -> dict:
    """Config of the backbone that fits a released state dict, from its keys.

    Raises:
        CheckpointError: neither an Adventurer's nor a Mamba-Reg's keys, or positions of no square
            grid.
    """
    if 'layers.0.mixer.A_b_log' in state:
        _need(state, 'a Mamba-Reg', 'patch_embed.proj.weight', 'pos_embed', 'cls_token',
              'pos_embed_cls', 'norm_f.weight')
        dims, _, patch, _ = state['patch_embed.proj.weight'].shape
        reduce = dims // state['neck.weight'].shape[0] if 'neck.weight' in state else 1
        return dict(
            type='mmvitlin.MambaReg',
            arch=dict(embed_dims=dims, num_layers=_depth(state),
                      num_registers=state['cls_token'].shape[1], reduce=reduce),
            patch_size=patch, img_size=_side(state['pos_embed'].shape[1]) * patch)
    _need(state, 'an Adventurer', 'patch_embed.proj.weight', 'pos_embed', 'cls_token',
          'layers.0.mixer.A_log', 'layers.0.mlp.w1.weight', 'norm_f.weight')
    dims, _, patch, _ = state['patch_embed.proj.weight'].shape
    return dict(
        type='mmvitlin.Adventurer', arch=dict(embed_dims=dims, num_layers=_depth(state)),
        patch_size=patch, img_size=_side(state['pos_embed'].shape[1] - 1) * patch,
        mlp_ratio=state['layers.0.mlp.w1.weight'].shape[0] / dims, flip_schedule='released')


def _need(state: dict[str, torch.Tensor], what: str, *keys: str) -> None:
    if missing := [k for k in keys if k not in state]:
        raise CheckpointError(f'not {what} checkpoint: no {missing}; it has e.g. '
                              f'{sorted(state)[:5]}')


def _depth(state: dict[str, torch.Tensor]) -> int:
    return 1 + max(int(k.split('.')[1]) for k in state if k.startswith('layers.'))


def _side(count: int) -> int:
    side = math.isqrt(max(count, 0))
    if side**2 != count:
        raise CheckpointError(f'pos_embed is of {count} patches, which is no square grid')
    return side


def convert_released(source: str | Path, target: str | Path) -> tuple[dict, LoadReport]:
    """Write a released Adventurer or Mamba-Reg file as an mmpretrain checkpoint.

    Keys become ``backbone.*`` and, where the file has a classifier, ``head.fc.*``. The
    backbone is built and loaded before anything is written.

    Args:
        source: Released file: weights under 'model', perhaps beside an argparse.Namespace.
        target: File to write.

    Returns:
        The backbone's config and what matched.

    Raises:
        CheckpointError: a checkpoint of neither; keys missing or of a wrong shape, listed; or the
            target is the released file itself.
    """
    if Path(target).exists() and Path(target).samefile(locate(source)):
        raise CheckpointError(f'{target} is the released file itself; give another name')
    state = read_state_dict(source)
    cfg = released_config(state)
    net = MODELS.build(dict(cfg, out_type='cls_token'))  # with what its classifier needs
    report = load_backbone(net, source)
    converted = {f'backbone.{k}': v for k, v in net.state_dict().items()}
    converted.update({k.replace('head.', 'head.fc.', 1): v for k, v in state.items()
                      if k.startswith('head.')})
    content = io.BytesIO()
    torch.save(dict(meta=dict(mmvitlin_version=mmvitlin.__version__, backbone=net.describe()),
                    state_dict=converted), content)
    write_whole(content.getvalue(), target)
    return cfg, report
