"""What a notebook calls."""
from mmvitlin.apis.seg_inferencer import SegInferencer, Segmentation

__all__ = ['SegInferencer', 'Segmentation']
