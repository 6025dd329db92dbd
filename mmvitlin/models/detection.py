"""Parts of mmdet's detectors that keep boxes in float32, also for maps in half precision.

mmdet gives priors, decoded boxes and regions the type of the maps, and bfloat16 counts pixels
beyond 512 by fours. Empty where mmdet or mmcv's compiled ops are not installed.
"""
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmvitlin.compat import detection
from mmvitlin.compat.quiet import quiet_imports
from mmvitlin.registry import MODELS, TASK_UTILS

__all__ = []

if not detection.lacking():
    try:
        with quiet_imports():
            import mmdet.models  # noqa: F401 -- first: its parts import each other in a circle
            from mmdet.models.dense_heads import FCOSHead as MMDetFCOSHead
            from mmdet.models.roi_heads.roi_extractors import (
                SingleRoIExtractor as MMDetRoIExtractor,
            )
            from mmdet.models.task_modules import coders, prior_generators
        __all__ += ['AnchorGenerator', 'DeltaXYWHBBoxCoder', 'DistancePointBBoxCoder', 'FCOSHead',
                    'MlvlPointGenerator', 'SingleRoIExtractor']
    except (ImportError, AssertionError):  # an mmdet that does not fit its mmcv
        pass


if __all__:
    class _Float32Priors:
        """Mixin of a generator of priors."""

        def single_level_grid_priors(self, featmap_size: tuple[int, int], level_idx: int,
                                     dtype: torch.dtype = torch.float32, *args, **kwargs) -> Tensor:
            """See mmdet; at least float32."""
            return super().single_level_grid_priors(featmap_size, level_idx, _wide(dtype), *args,
                                                    **kwargs)

        def sparse_priors(self, prior_idxs: Tensor, featmap_size: tuple[int, int], level_idx: int,
                          dtype: torch.dtype = torch.float32, *args, **kwargs) -> Tensor:
            """See mmdet; at least float32."""
            return super().sparse_priors(prior_idxs, featmap_size, level_idx, _wide(dtype), *args,
                                         **kwargs)

    def _wide(dtype: torch.dtype) -> torch.dtype:
        return torch.promote_types(dtype, torch.float32)

    @TASK_UTILS.register_module()
    class AnchorGenerator(_Float32Priors, prior_generators.AnchorGenerator):
        """mmdet's, with anchors in float32."""

    @TASK_UTILS.register_module()
    class MlvlPointGenerator(_Float32Priors, prior_generators.MlvlPointGenerator):
        """mmdet's, with points in float32."""

    def _widened(value):
        half = isinstance(value, Tensor) and value.dtype in (torch.bfloat16, torch.float16)
        return value.float() if half else value

    class _Float32Boxes:
        """Mixin of a box coder. NMS has no bfloat16 kernels, and moves class 79 by 79 images, for
        which half precision is too coarse; with boxes in float32 it takes scores in any type."""

        def decode(self, *args, **kwargs) -> Tensor:
            """See mmdet; in float32."""
            return super().decode(*map(_widened, args),
                                  **{k: _widened(v) for k, v in kwargs.items()})

    @TASK_UTILS.register_module()
    class DeltaXYWHBBoxCoder(_Float32Boxes, coders.DeltaXYWHBBoxCoder):
        """mmdet's, with boxes in float32."""

    @TASK_UTILS.register_module()
    class DistancePointBBoxCoder(_Float32Boxes, coders.DistancePointBBoxCoder):
        """mmdet's, with boxes in float32."""

    @MODELS.register_module()
    class SingleRoIExtractor(MMDetRoIExtractor):
        """mmdet's, for maps in any layout and precision.

        RoIAlign reads maps in channels-last layout, which timm's ``LayerNorm2d`` returns, as if
        they were contiguous and so returns noise, without an error. It has no bfloat16 kernels, and
        mmdet casts the regions to the type of the maps. Here it is given contiguous maps and
        regions in float32; the result has the type of the maps. mmcv up to 2.3.6, mmdet up to
        3.5.1.
        """

        def forward(self, feats: Sequence[Tensor], rois: Tensor,
                    roi_scale_factor: float | None = None) -> Tensor:
            """See mmdet."""
            out = super().forward(tuple(_widened(f).contiguous() for f in feats), _widened(rois),
                                  roi_scale_factor)
            return out.to(feats[0].dtype)

    @MODELS.register_module()
    class FCOSHead(MMDetFCOSHead):
        """mmdet's, with points and boxes in float32.

        Args:
            **kwargs: As mmdet's.
        """

        def __init__(self, *args, bbox_coder: dict | None = None, **kwargs):
            bbox_coder = bbox_coder or dict(type='mmvitlin.DistancePointBBoxCoder')
            super().__init__(*args, bbox_coder=bbox_coder, **kwargs)
            self.prior_generator = MlvlPointGenerator(self.strides)  # mmdet builds its own
