"""Metrics."""
from mmvitlin.engine.metrics.panoptic_quality import PanopticQuality

__all__ = ['PanopticQuality']
