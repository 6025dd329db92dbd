"""Hooks that configs of other libraries get by a switch, or run without."""
import pytest

from mmvitlin.engine.rules import check, missing_hooks
from mmvitlin.engine.runner.config import load_config
from mmvitlin.engine.runner.launch import train
from mmvitlin.engine.runner.run_options import apply_options
from mmvitlin.utils.errors import ConfigError
from tests.engine.nano import nano

OF_MMSEG = """_base_ = ['mmseg::_base_/models/fcn_r50-d8.py', 'mmseg::_base_/datasets/ade20k.py',
          'mmseg::_base_/default_runtime.py', 'mmseg::_base_/schedules/schedule_20k.py']
"""


def test_a_switch_adds_the_runtime_to_a_config_of_mmseg(tmp_path):
    (tmp_path / 'mine.py').write_text(OF_MMSEG)
    plain = load_config(str(tmp_path / 'mine.py'))
    assert missing_hooks.missing_hooks(plain) == list(missing_hooks.shipped_hooks().values())
    cfg = load_config(str(tmp_path / 'mine.py'), {'switches': 'runtime'})
    assert missing_hooks.missing_hooks(cfg) == []
    before = plain.default_hooks.checkpoint
    assert cfg.default_hooks.checkpoint == dict(before, type='mmvitlin.CheckpointHook')
    assert cfg.default_hooks.logger == plain.default_hooks.logger
    assert cfg.train_dataloader.sampler.type == 'mmvitlin.SeededInfiniteSampler'
    assert cfg.val_dataloader.sampler.type == 'mmvitlin.SeededSampler'
    assert cfg.train_dataloader.sampler.shuffle
    assert cfg.train_dataloader.worker_init_fn == dict(type='mmvitlin.patient_worker')
    assert cfg.env_cfg == plain.env_cfg
    assert cfg.train_dataloader.dataset == dict(type='mmvitlin.SeededDataset',
                                                dataset=plain.train_dataloader.dataset)
    assert cfg.val_dataloader.dataset == plain.val_dataloader.dataset
    moved = load_config(str(tmp_path / 'mine.py'), {
        'switches': 'runtime', 'train_dataloader.dataset.data_root': 'elsewhere'})
    assert moved.train_dataloader.dataset.dataset.data_root == 'elsewhere'
    left_out = load_config(str(tmp_path / 'mine.py'), {'default_hooks.result': None})
    assert 'ResultHook' not in missing_hooks.missing_hooks(left_out)


def test_a_hook_is_named_once(streets, tmp_path):
    cfg = nano(streets, tmp_path)
    cfg.custom_hooks = [dict(type='mmvitlin.FiniteLossHook', action='skip')]
    with pytest.raises(ConfigError, match='custom_hooks.0 is FiniteLossHook, which is there already'
                       ' as default_hooks.finite_loss'):
        check(cfg)


@pytest.mark.slow
def test_a_run_without_our_hooks_trains_and_says_what_is_missing(streets, tmp_path, monkeypatch):
    """As a config of mmseg has it, and goes on from what it left."""
    messages = []
    monkeypatch.setattr(missing_hooks, 'warn', messages.append)

    def bare(iterations: int):
        cfg = nano(streets, tmp_path, **{'train_cfg.max_iters': iterations})
        cfg.default_hooks = dict(checkpoint=dict(
            type='CheckpointHook', by_epoch=False, interval=2))
        cfg.train_dataloader.pop('worker_init_fn')
        cfg.train_dataloader.sampler = dict(type='InfiniteSampler', shuffle=True)
        return cfg

    runner = train(bare(2))
    assert not any(type(h).__module__.startswith('mmvitlin') for h in runner.hooks)
    assert (tmp_path / 'iter_2.pth').is_file()
    assert not (tmp_path / 'result.json').exists()
    assert 'without mmvitlin.FiniteLossHook a NaN or infinite loss is not caught' in messages[0]
    assert 'switches=runtime adds them' in messages[0]
    assert train(bare(4), resume=True).iter == 4


def test_options_of_a_command_line_are_in_the_config(streets, tmp_path, monkeypatch):
    from mmvitlin.engine.runner import run_options
    cfg = nano(streets, tmp_path, **{'optim_wrapper.accumulative_counts': 2, 'auto_scale_lr': dict(
        enable=True, base_batch_size=8)})
    (tmp_path / 'iter_3.pth').touch()
    monkeypatch.setattr(run_options, 'newest_readable', lambda *a, **k: tmp_path / 'iter_3.pth')
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    monkeypatch.setattr(run_options, 'half_dtype', lambda: run_options.torch.bfloat16)
    apply_options(cfg, resume=True, amp=True, launcher='pytorch')
    assert cfg.optim_wrapper.type == 'mmvitlin.CPUAmpOptimWrapper'
    assert (cfg.resume, cfg.load_from) == (True, str(tmp_path / 'iter_3.pth'))
    assert cfg.env_cfg.dist_cfg.backend == 'gloo'
    assert cfg.model_wrapper_cfg.type == 'MMDistributedDataParallel'
    assert 'sync_bn' not in cfg
    assert cfg.auto_scale_lr.base_batch_size == 4
    text = cfg.pretty_text
    apply_options(cfg, resume=True, amp=True, launcher='pytorch')
    assert cfg.pretty_text == text
