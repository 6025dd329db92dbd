"""Everything of ours that a config can name in a data pipeline; scope ``mmvitlin``."""
from importlib.util import find_spec

from mmvitlin.datasets.loading import LoadImage

__all__ = ['LoadImage']

if find_spec('mmseg') is not None:  # classification needs none of these
    from mmvitlin.datasets.camvid import CamVidDataset
    from mmvitlin.datasets.seg_loading import LoadSegLabels
    __all__ += ['CamVidDataset', 'LoadSegLabels']
