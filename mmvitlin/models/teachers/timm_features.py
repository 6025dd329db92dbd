"""timm's networks of any shape as teachers, where only features are compared."""
from __future__ import annotations

from collections.abc import Sequence

import timm
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from mmvitlin.models.backbones.base import Tokens
from mmvitlin.models.backbones.timm_backbone import TimmBackbone
from mmvitlin.models.utils import LoadReport
from mmvitlin.registry import MODELS


@MODELS.register_module()
class TimmFeatures(nn.Module):
    """ConvNeXt, Swin, Hiera, SAM's encoder … of timm as a teacher.

    The *layers* are the network's feature stages, or its blocks where all have one width. Images
    are shown at their own size, rounded up to whole strides by resizing; a network that is made for
    one size (Swin, Hiera) gets that, and they are stretched to it. Each layer's map keeps its own
    grid, and :class:`mmvitlin.models.FrozenTeacher` brings it to the student's by
    :func:`tokens_on_grid`. There is neither a class token nor an attention to compare: objectives
    on patch tokens only.

    Args:
        model_name: See :class:`mmvitlin.models.TimmBackbone`.
        pretrained: Load timm's weights for the name.
        checkpoint: A local weight file instead, see :meth:`load_weights`.
        img_size: (height, width) to resize every image to, for which a network that is made for
            one size is then built; None for what it needs.
        model_kwargs: More for timm.

    Attributes:
        num_layers: Feature stages.
        layer_dims: Width of each.
        embed_dims: Width of the last.

    Raises:
        ValueError: timm does not know the name.
        ConfigError: the weights are not available.
        TypeError: timm gives no intermediate features of it.
        CheckpointError: the file does not fit.
    """
    has_cls = False

    def __init__(self,
                 model_name: str,
                 pretrained: bool = False,
                 checkpoint: str | None = None,
                 img_size: int | Sequence[int] | None = None,
                 model_kwargs: dict | None = None):
        super().__init__()
        size = (img_size, ) * 2 if isinstance(img_size, int) else img_size and tuple(img_size)
        fixed = _is_of_one_size(model_name)
        self.body = TimmBackbone(model_name, pretrained and checkpoint is None,
                                 size if fixed else None, model_kwargs)
        self.num_layers, self.embed_dims = self.body.num_layers, self.body.embed_dims
        self.layer_dims = self.body.layer_dims
        self._cfg = getattr(self.body.net, 'pretrained_cfg', None) or {}
        if size is None and fixed and self._cfg:
            size = (model_kwargs or {}).get('img_size') or self._cfg['input_size'][1:]
            size = (size, ) * 2 if isinstance(size, int) else tuple(size)
        self.img_size = size
        if checkpoint is not None:
            self.load_weights(checkpoint)

    def load_weights(self, path: str, prefix: str | None = None) -> LoadReport:
        """See :meth:`mmvitlin.models.TimmBackbone.load_weights`."""
        return self.body.load_weights(path, prefix)

    @property
    def mean(self) -> tuple[float, ...] | None:
        """Channel means of timm's weights for the name, 0–255, RGB; None where timm has none."""
        return tuple(255 * v for v in self._cfg['mean']) if 'mean' in self._cfg else None

    @property
    def std(self) -> tuple[float, ...] | None:
        """Channel deviations, likewise."""
        return tuple(255 * v for v in self._cfg['std']) if 'std' in self._cfg else None

    def input_size(self, size: Sequence[int]) -> tuple[int, int]:
        """(height, width) at which images of a size are shown to the network."""
        if self.img_size is not None:
            return self.img_size
        stride = self.body.patch_size
        return tuple(-(-side // stride) * stride for side in size)

    def forward_tokens(self, images: Tensor, layers: int | Sequence[int] = -1) -> list[Tokens]:
        """Features of images (B, 3, H, W) of :meth:`input_size`, each layer on its own grid."""
        maps = self.body.feature_maps(images, self.body.layer_indices(layers))
        return [Tokens(m.flatten(2).transpose(1, 2), None, tuple(m.shape[-2:])) for m in maps]


def _is_of_one_size(model_name: str) -> bool:
    name = model_name.split('.')[0]
    if name.startswith('samvit'):
        return False  # timm calls its size fixed, but the network resizes its positions
    return not timm.is_model(name) or bool(timm.models.get_pretrained_cfg(name).fixed_input_size)


def tokens_on_grid(tokens: Tokens, grid: tuple[int, int]) -> Tokens:
    """Patch tokens averaged or bilinearly interpolated onto another grid over the same image.

    Args:
        tokens: Of any grid.
        grid: (h, w) wanted.
    """
    if tokens.grid == tuple(grid):
        return tokens
    features = tokens.featmap().float()
    if tokens.grid[0] >= grid[0] and tokens.grid[1] >= grid[1]:
        features = F.adaptive_avg_pool2d(features, grid)
    else:
        features = F.interpolate(features, grid, mode='bilinear', align_corners=False)
    patches = features.flatten(2).transpose(1, 2).to(tokens.patches.dtype)
    return Tokens(patches, tokens.cls, tuple(grid))
