"""Mask2Former's pixel decoder in mixed precision."""
from __future__ import annotations

from mmcv.ops import MultiScaleDeformableAttention
from mmdet.models.layers import MSDeformAttnPixelDecoder as MMDetPixelDecoder
from torch import Tensor, nn

from mmvitlin.registry import MODELS


class Float32Linear(nn.Linear):
    """A linear layer whose result is float32, also under autocast."""

    def forward(self, x: Tensor) -> Tensor:
        """(…, in_features) to (…, out_features), float32 at least."""
        out = super().forward(x)
        return out if out.itemsize >= 4 else out.float()


@MODELS.register_module()
class MSDeformAttnPixelDecoder(MMDetPixelDecoder):
    """mmdet's, which keeps mmcv's compiled attention under bfloat16.

    mmcv's ``MultiScaleDeformableAttention`` chooses its operator by the type of the projected
    values, and takes bfloat16 through ``grid_sample``: about ten kernels a level, and sampling
    points in bfloat16. Here the values come as float32 out of a projection that is still
    multiplied in bfloat16. The weights have mmdet's names; float32 runs are the same to the bit.

    Args:
        **kwargs: As mmdet's.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for part in self.modules():
            if isinstance(part, MultiScaleDeformableAttention):
                usual = part.value_proj
                part.value_proj = Float32Linear(usual.in_features, usual.out_features)
                part.value_proj.load_state_dict(usual.state_dict())
