"""A pyramid from one map of a plain backbone."""
from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn as nn
from mmengine.model import BaseModule
from timm.layers import LayerNorm2d
from torch import Tensor

from mmvitlin.registry import MODELS


@MODELS.register_module()
class SimpleFPN(BaseModule):
    """Feature pyramid at several strides from maps of a single stride.

    Each level is upsampled by transposed convolutions (stride 2 each) or downsampled by
    max pooling, then passes a 1×1 and a 3×3 convolution, each with a layer norm over
    channels. Levels are independent, but for those beyond twice ``in_stride``: with half their
    stride among the levels they are every other place of that one.

    Args:
        in_channels: C of the incoming maps.
        out_channels: Channels of every level, or None to keep C and leave the two convolutions out
            (for UPerNet, which has lateral convolutions of its own).
        strides: Strides to make; each a power of two times or part of ``in_stride``.
        in_stride: Stride of the incoming maps.
        contiguous: Whether levels are made contiguous, as mmcv's RoIAlign needs them. False leaves
            them channels last on GPUs: the layout of a plain backbone's tokens, and the fastest for
            layer norms over channels and for convolutions in half precision. None: where
            ``out_channels`` is given, which is for detectors.

    Raises:
        ValueError: a stride that is not reached by powers of two.

    Source: ViTDet (arXiv 2203.16527), simple feature pyramid.
    """

    def __init__(self,
                 in_channels: int,
                 out_channels: int | None = 256,
                 strides: Sequence[int] = (4, 8, 16, 32, 64),
                 in_stride: int = 16,
                 contiguous: bool | None = None,
                 init_cfg: dict | None = None):
        super().__init__(init_cfg)
        self.strides = tuple(strides)
        self.contiguous = out_channels is not None if contiguous is None else contiguous
        self.halves = {s: s // 2 for s in self.strides
                       if s > 2 * in_stride and s // 2 in self.strides[:self.strides.index(s)]}
        self.levels = nn.ModuleList(self._level(in_channels, out_channels, s, in_stride)
                                    for s in self.strides if s not in self.halves)

    @staticmethod
    def _level(channels: int, out: int | None, stride: int, in_stride: int) -> nn.Sequential:
        steps, dims, at = [], channels, in_stride
        while at > stride and at % 2 == 0:
            steps += [nn.ConvTranspose2d(dims, dims // 2 if out else dims, 2, stride=2)]
            dims = dims // 2 if out else dims
            at //= 2
            if at > stride:
                steps += [LayerNorm2d(dims), nn.GELU()]
        while at < stride:
            steps.append(nn.MaxPool2d(2, ceil_mode=True))
            at *= 2
        if at != stride:
            raise ValueError(f'stride {stride} is not a power of two from {in_stride}')
        if out:
            steps += [nn.Conv2d(dims, out, 1, bias=False), LayerNorm2d(out),
                      nn.Conv2d(out, out, 3, padding=1, bias=False), LayerNorm2d(out)]
        return nn.Sequential(*steps)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Maps to a pyramid.

        Args:
            maps: One map (B, C, h, w) for all levels, or one for each that is made of a map.

        Returns:
            One map for each stride.

        Raises:
            ValueError: another number of maps.
        """
        if len(maps) not in (1, len(self.levels)):
            raise ValueError(f'SimpleFPN with {len(self.levels)} strides of their own takes 1 or '
                             f'{len(self.levels)} maps, got {len(maps)}; set out_indices of '
                             'the backbone')
        maps = list(maps) * (len(self.levels) if len(maps) == 1 else 1)
        levels = iter(self._laid_out(level(x)) for level, x in zip(self.levels, maps, strict=True))
        pyramid: dict[int, Tensor] = {}
        for stride in self.strides:
            half = self.halves.get(stride)
            pyramid[stride] = next(levels) if half is None else self._laid_out(
                pyramid[half][..., ::2, ::2])
        return tuple(pyramid.values())

    def _laid_out(self, level: Tensor) -> Tensor:
        if self.contiguous or not level.is_cuda:
            return level.contiguous()
        return level.contiguous(memory_format=torch.channels_last)
