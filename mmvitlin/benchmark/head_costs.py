"""What a segmentor's head costs beside its backbone, counted."""
from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn as nn
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor

from mmvitlin.benchmark.flops import count
from mmvitlin.engine.runner.config import load_config
from mmvitlin.engine.runner.launch import without_initial_weights
from mmvitlin.utils.errors import ConfigError


@dataclass(frozen=True)
class HeadCost:
    """Counts of one image.

    Attributes:
        backbone: FLOPs of the backbone by itself, all its layers without queries.
        head: FLOPs of all else up to the head's scores: neck and head, and what queries among the
            tokens cost in the backbone's last layers.
        parameters: Of neck and head; an auxiliary head, which only trains, is left out.
    """
    backbone: int
    head: int
    parameters: int

    @property
    def share(self) -> float:
        """FLOPs of the head over those of the backbone."""
        return self.head / self.backbone


class _ToScores(nn.Module):

    def __init__(self, segmentor: nn.Module):
        super().__init__()
        self.segmentor = segmentor

    def forward(self, images: Tensor):
        return self.segmentor.decode_head(self.segmentor.extract_feat(images))


def head_cost(config: str, size: tuple[int, int] = (1024, 1024), options: dict | None = None
              ) -> HeadCost:
    """Count the head of a segmentation config.

    Args:
        config: A file of a segmentor on one of our token backbones.
        size: (height, width) of the image.
        options: As ``--cfg-options``.

    Raises:
        ConfigError: the config holds no such segmentor.
    """
    cfg = load_config(config, options)
    without_initial_weights(cfg)
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    # Segmenter's head asks a tensor for numbers while it is built
    shapes_do = cfg.model.get('decode_head', {}).get('type') != 'SegmenterMaskTransformerHead'
    with torch.device('meta' if shapes_do else 'cpu'):
        net = MODELS.build(cfg.model)
    if not hasattr(net, 'decode_head') or not hasattr(net.backbone, 'forward_tokens'):
        raise ConfigError(f'{config} holds no segmentor with a head on a token backbone')
    shape = (1, 3, *size)
    backbone = count(net.backbone, shape, method='forward_tokens').flops
    parts = [part for part in (getattr(net, 'neck', None), net.decode_head) if part is not None]
    return HeadCost(backbone, count(_ToScores(net), shape).flops - backbone,
                    sum(p.numel() for part in parts for p in part.parameters()))
