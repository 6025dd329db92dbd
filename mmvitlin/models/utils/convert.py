"""Released Adventurer weights to OpenMMLab checkpoints."""
from __future__ import annotations

import math
from pathlib import Path

import torch

import mmvitlin
from mmvitlin.errors import CheckpointError
from mmvitlin.models.utils.checkpoint import LoadReport, load_backbone, read_state_dict


def adventurer_config(state: dict[str, torch.Tensor]) -> dict:
    """Arguments of :class:`mmvitlin.models.Adventurer` that fit a released state dict.

    Raises:
        CheckpointError: not an Adventurer's keys, or positions of no square grid.
    """
    needed = ('patch_embed.proj.weight', 'pos_embed', 'cls_token', 'layers.0.mixer.A_log',
              'layers.0.mlp.w1.weight', 'norm_f.weight')
    missing = [k for k in needed if k not in state]
    if missing:
        raise CheckpointError(f'not an Adventurer checkpoint: no {missing}; it has e.g. '
                         f'{sorted(state)[:5]}')
    dims, _, patch, _ = state['patch_embed.proj.weight'].shape
    depth = 1 + max(int(k.split('.')[1]) for k in state if k.startswith('layers.'))
    side = math.isqrt(state['pos_embed'].shape[1] - 1)
    if side**2 != state['pos_embed'].shape[1] - 1:
        raise CheckpointError(f"pos_embed has {state['pos_embed'].shape[1]} rows, which is no "
                              'square grid and one class token')
    return dict(arch=dict(embed_dims=dims, num_layers=depth), patch_size=patch,
                img_size=side * patch,
                mlp_ratio=state['layers.0.mlp.w1.weight'].shape[0] / dims,
                flip_schedule='released')


def convert_released(source: str | Path, target: str | Path) -> tuple[dict, LoadReport]:
    """Write a released Adventurer file as an mmpretrain checkpoint.

    Keys become ``backbone.*`` and, where the file has a classifier, ``head.fc.*``. The
    backbone is built and loaded before anything is written.

    Args:
        source: Released file: weights under 'model', perhaps beside an argparse.Namespace.
        target: File to write.

    Returns:
        The backbone's arguments and what matched.

    Raises:
        CheckpointError: not an Adventurer checkpoint.
        CheckpointError: keys missing or of a wrong shape, listed.
    """
    from mmvitlin.models.backbones import Adventurer
    state = read_state_dict(source)
    cfg = adventurer_config(state)
    net = Adventurer(**cfg)
    report = load_backbone(net, source)
    converted = {f'backbone.{k}': v for k, v in net.state_dict().items()}
    converted.update({k.replace('head.', 'head.fc.', 1): v for k, v in state.items()
                      if k.startswith('head.')})
    torch.save(dict(meta=dict(mmvitlin_version=mmvitlin.__version__, backbone=net.describe()),
                    state_dict=converted), target)
    return cfg, report
