"""Segmentors that mmseg lacks; empty where mmseg is not installed."""
from importlib.util import find_spec

__all__ = []
if find_spec('mmseg') is not None:
    from mmvitlin.models.segmentors.high_res import HighResSegmentor
    from mmvitlin.models.segmentors.high_res_tta import HighResTTAModel
    __all__ += [HighResSegmentor.__name__, HighResTTAModel.__name__]
