"""A run of seconds."""
from mmvitlin.engine.runner.config import load_config
from tests.conftest import ROOT


def nano(streets, tmp_path, **options):
    """The demo's small student on a few tiny scenes."""
    return load_config(str(ROOT / 'configs/seg/fcn_adventurer-nano_streets.py'), {
        'data_root': str(streets), 'train_cfg.max_iters': 4, 'train_cfg.val_interval': 4,
        'model.backbone.arch': dict(embed_dims=32, num_layers=2),
        'model.backbone.drop_path_rate': 0.,
        'model.backbone.img_size': (64, 128), 'model.data_preprocessor.size': (64, 128),
        'model.decode_head.in_channels': 32, 'model.decode_head.channels': 16,
        'train_dataloader.dataset.pipeline.2.scale': (128, 64),
        'train_dataloader.dataset.pipeline.3.crop_size': (64, 128),
        'val_dataloader.dataset.pipeline.1.scale': (128, 64),
        'train_dataloader.num_workers': 0, 'train_dataloader.persistent_workers': False,
        'val_dataloader.num_workers': 0, 'val_dataloader.persistent_workers': False,
        'default_hooks.logger.interval': 1,
        'default_hooks.checkpoint.interval': 2, 'randomness.seed': 1, **options,
    }, str(tmp_path))
