"""Metrics; scope ``mmvitlin``."""
import warnings

from mmvitlin import detection
from mmvitlin.engine.metrics.panoptic_quality import PanopticQuality

__all__ = ['PanopticQuality']

if not detection.lacking():
    try:
        from mmvitlin.engine.metrics.instance_metric import InstanceMetric
        __all__ += ['InstanceMetric']
    except (ImportError, AssertionError) as error:  # an mmdet that does not fit its mmcv
        warnings.warn(f'detection is left out: mmdet cannot be imported ({error})', stacklevel=1)
