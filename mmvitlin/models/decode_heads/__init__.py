"""Decode heads and the loss that mmseg does not have, and Mask2Former's heads and decoder; empty
where neither mmseg nor mmdet is installed."""
from importlib.util import find_spec

from mmvitlin.compat import detection
from mmvitlin.compat.quiet import quiet_imports

__all__ = []
if find_spec('mmseg') is not None:
    with quiet_imports():
        from mmvitlin.models.decode_heads.eomt_head import EoMTHead, EoMTPanopticHead
        from mmvitlin.models.decode_heads.linear_head import LinearHead
        from mmvitlin.models.losses.pixel_cross_entropy import PixelCrossEntropyLoss
    __all__ += [EoMTHead.__name__, EoMTPanopticHead.__name__, LinearHead.__name__,
                PixelCrossEntropyLoss.__name__]
if not detection.lacking():
    try:
        with quiet_imports():
            from mmvitlin.models.decode_heads.pixel_decoder import MSDeformAttnPixelDecoder
        __all__ += [MSDeformAttnPixelDecoder.__name__]
        if find_spec('mmseg') is not None:
            with quiet_imports():
                from mmvitlin.models.decode_heads.mask2former_head import (
                    Mask2FormerHead,
                    Mask2FormerPanopticHead,
                )
            __all__ += [Mask2FormerHead.__name__, Mask2FormerPanopticHead.__name__]
    except (ImportError, AssertionError):  # an mmdet that does not fit its mmcv
        pass
