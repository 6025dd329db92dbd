"""What a notebook calls."""
from mmvitlin.apis.det_inferencer import Detections, DetInferencer
from mmvitlin.apis.distillation import Distilled, distill
from mmvitlin.apis.inferencer import Inferencer
from mmvitlin.apis.seg_inferencer import SegInferencer, Segmentation
from mmvitlin.engine.runner.config import load_config


def inferencer_for(config: str, cfg_options: dict | None = None) -> type[Inferencer]:
    """The class that runs a config's network: by its default scope, a detector's or a segmentor's.

    Raises:
        ConfigError: no such config.
    """
    scope = load_config(config, cfg_options).get('default_scope')
    return DetInferencer if scope == 'mmdet' else SegInferencer


__all__ = ['DetInferencer', 'Detections', 'Distilled', 'Inferencer', 'SegInferencer',
           'Segmentation', 'distill', 'inferencer_for']
