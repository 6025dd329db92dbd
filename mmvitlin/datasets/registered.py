"""Everything of ours that a config can name in a data pipeline; scope ``mmvitlin``."""
import warnings
from importlib.util import find_spec

from mmvitlin import detection
from mmvitlin.datasets.loading import LoadImage, PadCanvas
from mmvitlin.datasets.seeding import SeededInfiniteSampler, SeededSampler
from mmvitlin.datasets.shifts import CentreShare, Corrupt

__all__ = ['CentreShare', 'Corrupt', 'LoadImage', 'PadCanvas', 'SeededInfiniteSampler',
           'SeededSampler']

if find_spec('mmseg') is not None:  # classification needs none of these
    from mmvitlin.datasets.camvid import CamVidDataset
    from mmvitlin.datasets.seg_loading import LoadSegLabels
    __all__ += ['CamVidDataset', 'LoadSegLabels']

if not detection.lacking():
    try:
        from mmvitlin.datasets.coco_instances import CocoInstances
        from mmvitlin.datasets.coco_panoptic import CocoPanoptic
        from mmvitlin.datasets.panoptic import LoadPanoptic
        __all__ += ['CocoInstances', 'CocoPanoptic', 'LoadPanoptic']
    except (ImportError, AssertionError) as error:  # an mmdet that does not fit its mmcv
        warnings.warn(f'detection is left out: mmdet cannot be imported ({error})', stacklevel=1)
