"""Metrics; scope ``mmvitlin``."""
import warnings

from mmvitlin.compat import detection
from mmvitlin.compat.quiet import quiet_imports
from mmvitlin.evaluation.metrics.panoptic_quality import PanopticQuality
from mmvitlin.evaluation.metrics.submission import SubmissionMetric

__all__ = ['PanopticQuality', 'SubmissionMetric']

if not detection.lacking():
    try:
        with quiet_imports():
            from mmvitlin.evaluation.metrics.instance_metric import CocoScores, InstanceMetric
        __all__ += ['CocoScores', 'InstanceMetric']
    except (ImportError, AssertionError) as error:  # an mmdet that does not fit its mmcv
        warnings.warn(f'detection is left out: mmdet cannot be imported ({error})', stacklevel=1)
