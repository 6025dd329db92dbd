"""Segmentors that mmseg does not have; empty where mmseg is not installed."""
from importlib.util import find_spec

from mmvitlin.compat.quiet import quiet_imports

__all__ = []
if find_spec('mmseg') is not None:
    with quiet_imports():
        from mmvitlin.models.segmentors.batches import SegPreprocessor
        from mmvitlin.models.segmentors.high_res import HighResSegmentor
        from mmvitlin.models.segmentors.high_res_tta import HighResTTAModel
    __all__ += [HighResSegmentor.__name__, HighResTTAModel.__name__, SegPreprocessor.__name__]
