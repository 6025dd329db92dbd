"""The linear probe of dense prediction."""
from __future__ import annotations

from collections.abc import Sequence

from mmcv.cnn import build_norm_layer
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor

from mmvitlin.registry import MODELS


@MODELS.register_module()
class LinearHead(BaseDecodeHead):
    """A norm and a 1×1 convolution on one map, or on several put together.

    Args:
        in_channels: Channels of the map, or of each.
        in_index: Which of the backbone's maps; several are scaled to the first one's size and
            concatenated.
        **kwargs: As mmseg's ``BaseDecodeHead``; ``channels`` follows from ``in_channels``, and
            ``norm_cfg`` is batch norm if not given.

    Source: the linear evaluation of DINOv2 (arXiv 2304.07193), section 7.4.
    """

    def __init__(self, in_channels: int | Sequence[int], in_index: int | Sequence[int] = -1,
                 **kwargs):
        several = not isinstance(in_channels, int)
        kwargs.setdefault('dropout_ratio', 0.)
        super().__init__(in_channels=in_channels, in_index=in_index,
                         channels=sum(in_channels) if several else in_channels,
                         input_transform='resize_concat' if several else None, **kwargs)
        _, self.bn = build_norm_layer(self.norm_cfg or dict(type='BN'), self.channels)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Maps of the backbone to scores (B, num_classes, h, w)."""
        return self.cls_seg(self.bn(self._transform_inputs(inputs)))
