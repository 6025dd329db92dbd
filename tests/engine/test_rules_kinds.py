"""A value of the wrong kind is refused by its key, in a file and on the command line."""
import pytest

from mmvitlin.engine.rules.kinds import check_kinds
from mmvitlin.engine.runner.config import load_config
from mmvitlin.utils.errors import ConfigError
from tests.conftest import ROOT

SEG = ROOT / 'configs/seg/fcn_adventurer-nano_streets.py'
DISTIL = ROOT / 'configs/distill/linearizer_adventurer-nano_streets.py'
A_DICT, BUILT = 'it takes a dict$', 'it takes a dict with a type'


@pytest.mark.parametrize(('base', 'text', 'words'), [
    (DISTIL, "model = dict(objectives=[dict(type='mmvitlin.ActivationMatchingLoss')])",
     rf'model.objectives=\[.* is a list; {A_DICT}'),
    (DISTIL, "model = dict(objectives=dict(mask='mmvitlin.MaskedPredictionLoss'))",
     f'model.objectives.mask=.* is a str; {BUILT}'),
    (DISTIL, "model = dict(teacher='teacher.pth')", f"model.teacher='teacher.pth' is .* {A_DICT}"),
    (DISTIL, 'model = dict(teacher=dict(backbone=3))', 'model.teacher.backbone=3 is a int'),
    (SEG, "model = dict(backbone='mmvitlin.Adventurer')", 'model.backbone=.*with a type'),
    (SEG, 'model = dict(decode_head=dict(_delete_=True))', 'model.decode_head has no type'),
    (SEG, "model = dict(test_cfg='whole')", f"model.test_cfg='whole' is a str; {A_DICT}"),
    (SEG, 'train_dataloader = dict(sampler=[1])', 'train_dataloader.sampler='),
    (SEG, "train_dataloader = dict(dataset=dict(pipeline=['LoadImage']))",
     "train_dataloader.dataset.pipeline.0='LoadImage' is a str"),
    (SEG, "train_dataloader = dict(dataset=dict(_delete_=True, type='RepeatDataset', times=2, "
     "dataset=dict(type='CityscapesDataset', pipeline='all')))",
     "train_dataloader.dataset.dataset.pipeline='all' is a str; it takes a list of dicts"),
    (SEG, "optim_wrapper = 'AdamW'", f"optim_wrapper='AdamW' is .*{A_DICT}"),
    (SEG, "optim_wrapper = dict(optimizer='AdamW')", 'optim_wrapper.optimizer=.*with a type'),
    (SEG, 'optim_wrapper = dict(clip_grad=1.0)', f'optim_wrapper.clip_grad=1.0 is .*{A_DICT}'),
    (SEG, 'optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(pos_embed=0.)))',
     'custom_keys.pos_embed=0.0 is a float'),
    (SEG, "param_scheduler = 'cosine'", "param_scheduler='cosine' .* or a list of those"),
    (SEG, 'param_scheduler = [dict(begin=0)]', r'param_scheduler.0 has no type.*\[.begin.\]'),
    (SEG, "val_evaluator = 'IoUMetric'", "val_evaluator='IoUMetric'"),
    (SEG, "custom_hooks = 'EMAHook'", 'custom_hooks=.*a list of dicts'),
    (SEG, 'default_hooks = dict(logger=10)', 'default_hooks.logger=10 is a int'),
    (SEG, 'visualizer = dict(vis_backends=["Tensorboard"])', 'visualizer.vis_backends.0='),
    (SEG, "model = dict(decode_head=dict(norm_cfg='BN'))", 'model.decode_head.norm_cfg=.*a type'),
    (SEG, "model = dict(decode_head=dict(loss_decode=['CrossEntropyLoss']))", 'loss_decode.0='),
    (SEG, 'model = dict(data_preprocessor=dict(mean=127))', 'mean=127 is a int; .* of numbers'),
    (SEG, 'env_cfg = "spawn"', "env_cfg='spawn'"),
])
def test_a_file_with_another_kind_of_value(tmp_path, base, text, words):
    config = tmp_path / 'mine.py'
    config.write_text(f'_base_ = {str(base)!r}\n{text}\n')
    with pytest.raises(ConfigError, match=words):
        check_kinds(load_config(str(config)))  # as a run does


@pytest.mark.parametrize(('options', 'words'), [
    ({'custom_hooks': 'EMAHook'}, 'custom_hooks'),
    ({'model.decode_head': [1]}, 'model.decode_head'),
])
def test_an_option_with_another_kind_of_value(options, words):
    with pytest.raises(ConfigError, match=words):
        load_config(str(SEG), options)


def test_what_the_libraries_take_passes(tmp_path):
    cfg = load_config(str(SEG))
    cfg.model.neck = [dict(type='FPN'), dict(type='BFP')]  # one after the other
    cfg.model.auxiliary_head = None
    cfg.param_scheduler = dict(generator=[dict(type='LinearLR')], critic=[dict(type='LinearLR')])
    cfg.val_evaluator = [dict(type='IoUMetric')]
    cfg.default_hooks.logger = None
    cfg.train_dataloader.dataset = dict(type='ConcatDataset', datasets=[
        dict(type='CityscapesDataset', pipeline=[], metainfo=None)])
    check_kinds(cfg)
