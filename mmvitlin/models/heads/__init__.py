"""Decode heads that mmseg lacks; empty where mmseg is not installed."""
from importlib.util import find_spec

__all__ = []
if find_spec('mmseg') is not None:
    from mmvitlin.models.heads.linear_head import LinearHead
    __all__ += [LinearHead.__name__]
