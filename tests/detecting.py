"""The small detector on drawn streets that several test files share."""
import pytest

from mmvitlin.compat import detection
from mmvitlin.engine.runner.config import load_config
from tests.conftest import ROOT

needs_mmdet = pytest.mark.skipif(bool(detection.lacking()),
                                 reason='needs mmdet and the compiled ops: make setup-full')
ANNOTATIONS = 'annotations/instancesonly_filtered_gtFine_train.json'
STREETS = str(ROOT / 'configs/det/mask-rcnn_adventurer-nano_streets-512.py')
SMALL = {
    'model.backbone.arch': dict(embed_dims=32, num_layers=2), 'model.backbone.img_size': (64, 128),
    'model.neck.in_channels': 32,
    'model.data_preprocessor.batch_augments.0.size': (64, 128),
    'train_dataloader.dataset.pipeline.3.scale': (128, 64),
    'train_dataloader.dataset.pipeline.4.crop_size': (128, 64),
    'val_dataloader.dataset.pipeline.1.scale': (128, 64),
    'test_dataloader.dataset.pipeline.1.scale': (128, 64),
    'train_dataloader.batch_size': 2, 'train_dataloader.num_workers': 0,
    'train_dataloader.persistent_workers': False, 'val_dataloader.num_workers': 0,
    'val_dataloader.persistent_workers': False, 'test_dataloader.num_workers': 0,
    'test_dataloader.persistent_workers': False, 'default_hooks.logger.interval': 1,
    'train_cfg.max_iters': 2, 'train_cfg.val_interval': 2,
    'default_hooks.checkpoint.interval': 2,
}


def small(streets, work_dir, **options):
    return load_config(STREETS, {**SMALL, 'data_root': str(streets), **options}, str(work_dir))


def tiny(path: str, options: dict | None = None) -> dict:
    """The model of a config with small backbone and neck, and all its heads as they are."""
    cfg = load_config(str(ROOT / path), options)
    model = cfg.model
    pyramid = model.neck.get('out_channels', 256)
    model.backbone = dict(type='mmvitlin.Adventurer', arch=dict(embed_dims=32, num_layers=2),
                          img_size=(64, 128), patch_size=16,
                          out_indices=(0, 0, 1, 1) if pyramid is None else -1)
    model.neck.in_channels = 32
    model.data_preprocessor.batch_augments = None
    if 'panoptic_head' in model:
        model.panoptic_head.in_channels = [32] * 4
        model.panoptic_head.num_queries = 10
        model.train_cfg.num_points = 64
    return model
