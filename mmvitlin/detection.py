"""What detection needs of mmdet and mmcv's compiled ops, and work-arounds for both."""
from __future__ import annotations

import functools
import inspect
import sys
from importlib import import_module
from importlib.util import find_spec

from mmvitlin.errors import ConfigError


def lacking() -> list[str]:
    """What of mmdet and mmcv's compiled ops is not installed; empty where detection works."""
    missing = [] if find_spec('mmdet') else ['mmdet']
    ops = find_spec('mmcv') and find_spec('mmcv._ext')
    return missing + ([] if ops else ["mmcv's compiled ops"])


def prepare(what: str) -> None:
    """Make ready for a config of mmdet, or say in one line what it needs and how to get it.

    Raises:
        ConfigError: mmdet or mmcv's compiled ops are missing; starts with ``what``.
    """
    if missing := lacking():
        raise ConfigError(f'{what} needs mmdet with the compiled ops of mmcv, and '
                          f"{' and '.join(missing)} {'is' if missing == ['mmdet'] else 'are'} "
                          "missing: run `make setup-full` (elsewhere: pip install "
                          "'mmvitlin[onedl-det]' beside an mmcv with ops)")
    mend_ops()


def mend_ops() -> None:
    """Let mmcv's and mmdet's operators see the layout and the type they take for granted.

    RoIAlign reads maps in channels-last layout, which timm's ``LayerNorm2d`` returns, as if they
    were contiguous: what comes out is noise, without a word. RoIAlign and NMS have no bfloat16
    kernels anywhere, NMS no half ones on CPUs, deformable attention no bfloat16 on GPUs; they are
    given float32. mmdet gives priors, regions and boxes the type of the maps, and bfloat16 counts
    pixels beyond 512 by fours, and NMS, which moves class 79 by 79 images, by 512; all of these
    stay float32. mmcv up to 2.3.6, mmdet up to 3.5.1.
    """
    import torch
    from mmcv.ops import RoIAlign
    nms = import_module('mmcv.ops.nms')  # mmcv.ops.nms itself is a function of that name
    if not getattr(nms.nms, 'takes_bfloat16', False):
        usual_align = RoIAlign.forward

        def forward(self, input, rois):
            input = input.contiguous()
            if input.dtype != torch.bfloat16:
                return usual_align(self, input, rois)
            return usual_align(self, input.float(), rois.float()).to(input.dtype)

        deformable = import_module('mmcv.ops.multi_scale_deform_attn')
        usual_attention = deformable.MultiScaleDeformableAttnFunction.apply

        def attend(value, shapes, starts, locations, weights, *args):
            if value.dtype != torch.bfloat16:
                return usual_attention(value, shapes, starts, locations, weights, *args)
            with torch.autocast(value.device.type, enabled=False):
                return usual_attention(value.float(), shapes, starts, locations.float(),
                                       weights.float(), *args).to(value.dtype)

        deformable.MultiScaleDeformableAttnFunction.apply = attend
        RoIAlign.forward = forward
        nms.nms, nms.batched_nms = _in_float32(nms.nms), _in_float32(nms.batched_nms)
    try:
        _keep_boxes_in_float32()
        count_annotations_from_one()
    except (ImportError, AssertionError):  # an mmdet that does not fit its mmcv
        pass
    usual = nms.batched_nms.__wrapped__
    for name, module in list(sys.modules.items()):  # that have imported it by name
        if name.startswith(('mmcv.', 'mmdet.')) and getattr(module, 'batched_nms', None) is usual:
            module.batched_nms = nms.batched_nms


def _keep_boxes_in_float32() -> None:
    """mmdet's priors, decoded boxes and regions in float32, whatever the maps are in.

    Raises:
        ImportError, AssertionError: there is no mmdet, or one that does not fit its mmcv.
    """
    import mmdet.models  # noqa: F401 -- first: its parts import each other in a circle
    import torch
    from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
    from mmdet.models.task_modules import coders, prior_generators
    if hasattr(SingleRoIExtractor.forward, 'takes_bfloat16'):
        return

    def float_priors(usual):
        @functools.wraps(usual)
        def priors(*args, **kwargs):
            told = inspect.signature(usual).bind(*args, **kwargs)
            dtype = told.arguments.get('dtype', torch.float32)
            told.arguments['dtype'] = torch.promote_types(dtype, torch.float32)
            return usual(*told.args, **told.kwargs)
        return priors

    for generator in (prior_generators.AnchorGenerator, prior_generators.MlvlPointGenerator):
        for name in ('single_level_grid_priors', 'sparse_priors'):
            setattr(generator, name, float_priors(getattr(generator, name)))
    for coder in (coders.DeltaXYWHBBoxCoder, coders.DistancePointBBoxCoder):
        coder.decode = _in_float32(coder.decode)
    usual_extraction = SingleRoIExtractor.forward

    def extract(self, feats, rois, *args, **kwargs):
        dtype = feats[0].dtype
        if torch.promote_types(dtype, torch.float32) == dtype:
            return usual_extraction(self, feats, rois, *args, **kwargs)
        feats = tuple(f.float() for f in feats)  # it casts the regions to the type of the maps
        return usual_extraction(self, feats, rois.float(), *args, **kwargs).to(dtype)

    extract.takes_bfloat16 = True
    SingleRoIExtractor.forward = extract


def _in_float32(usual):
    """A function that is given float32 in the place of tensors in half precision."""
    import torch

    def widened(value):
        half = isinstance(value, torch.Tensor) and value.dtype in (torch.bfloat16, torch.float16)
        return value.float() if half else value

    @functools.wraps(usual)
    def in_float32(*args, **kwargs):
        return usual(*map(widened, args), **{k: widened(v) for k, v in kwargs.items()})

    in_float32.takes_bfloat16 = True
    return in_float32


def count_annotations_from_one() -> None:
    """Let pycocotools evaluate files that number their annotations from 0.

    It notes beside each detection the id of the annotation that it matched, 0 for none, so the
    annotation with the id 0 counts as missed, and what found it as wrong. mmdet's own converter of
    Cityscapes starts at 0. The annotation gets the first free number. pycocotools up to 2.0.11.

    Raises:
        ImportError, AssertionError: there is no mmdet, or one that does not fit its mmcv.
    """
    from mmdet.datasets.api_wrappers import COCO
    usual = COCO.createIndex
    if hasattr(usual, 'counts_from_one'):
        return

    @functools.wraps(usual)
    def create_index(self) -> None:
        annotations = self.dataset.get('annotations') or []
        for annotation in annotations:
            if annotation.get('id') == 0:
                annotation['id'] = max(a['id'] for a in annotations) + 1
        usual(self)

    create_index.counts_from_one = True
    COCO.createIndex = create_index
