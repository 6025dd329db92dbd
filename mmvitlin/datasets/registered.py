"""All classes of mmvitlin that a config can name in a data pipeline; scope ``mmvitlin``."""
import warnings
from importlib.util import find_spec

from mmvitlin.compat import detection
from mmvitlin.compat.quiet import quiet_imports
from mmvitlin.datasets.samplers.seeding import SeededInfiniteSampler, SeededSampler
from mmvitlin.datasets.seeded import SeededDataset
from mmvitlin.datasets.transforms.colour import MatrixColorJitter
from mmvitlin.datasets.transforms.corruptions import CentreShare, Corrupt
from mmvitlin.datasets.transforms.load_crop import LoadCrop
from mmvitlin.datasets.transforms.loading import LoadImage, PadCanvas
from mmvitlin.datasets.transforms.packing import PackImage
from mmvitlin.datasets.workers import patient_worker

__all__ = ['CentreShare', 'Corrupt', 'LoadCrop', 'LoadImage', 'MatrixColorJitter', 'PackImage',
           'PadCanvas', 'SeededDataset', 'SeededInfiniteSampler', 'SeededSampler', 'patient_worker']

if find_spec('mmseg') is not None:  # classification needs none of these
    with quiet_imports():
        from mmvitlin.datasets.camvid import CamVidDataset
        from mmvitlin.datasets.transforms.seg_loading import LoadSegLabels
    __all__ += ['CamVidDataset', 'LoadSegLabels']

if not detection.lacking():
    try:
        with quiet_imports():
            from mmvitlin.datasets.coco_instances import CocoInstances
            from mmvitlin.datasets.coco_panoptic import CocoPanoptic
            from mmvitlin.datasets.transforms.panoptic import LoadPanoptic
        __all__ += ['CocoInstances', 'CocoPanoptic', 'LoadPanoptic']
    except (ImportError, AssertionError) as error:  # an mmdet that does not fit its mmcv
        warnings.warn(f'detection is left out: mmdet cannot be imported ({error})', stacklevel=1)
