"""From a config to a running Runner: what the command lines call."""
from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmvitlin.device import half_dtype
from mmvitlin.engine import checkpoints, distributed, sharding
from mmvitlin.engine.hooks import FirstTimesHook, clean_exit
from mmvitlin.engine.preflight import (
    LOADERS,
    check_schedule,
    check_start,
    check_whole,
    checkpoints_of,
    preflight,
)
from mmvitlin.errors import ConfigError, UserError, in_words

_HOOKS = ('mmvitlin.ResultHook', 'mmvitlin.StepSeedHook', 'mmvitlin.CleanExitHook',
          'mmvitlin.FiniteLossHook', 'mmvitlin.AverageBuffersHook', 'mmvitlin.FirstTimesHook')


def _set_amp(cfg: Config) -> None:
    wrapper, dtype = cfg.optim_wrapper, half_dtype()
    if dtype is None:
        print_log('--amp: this processor has no bfloat16 instructions and would be '
                  'slower with it, so the run is in float32 (bfloat16 all the same: --cfg-options '
                  'optim_wrapper.type=mmvitlin.CPUAmpOptimWrapper)', logger='current', level=30)
    elif torch.cuda.is_available():
        wrapper.type = 'AmpOptimWrapper'
        wrapper.setdefault('dtype', str(dtype).removeprefix('torch.'))
        if wrapper.dtype == 'bfloat16':  # has float32's range; a scaler would hide bad gradients
            wrapper.setdefault('loss_scale', dict(enabled=False))
    else:
        wrapper.type = 'mmvitlin.CPUAmpOptimWrapper'


def _count_accumulation(cfg: Config) -> None:
    """Learning rates follow the images of a whole update; mmengine counts those of a step."""
    counts = (cfg.get('optim_wrapper') or {}).get('accumulative_counts', 1)
    scaling = cfg.get('auto_scale_lr') or {}
    if counts > 1 and scaling.get('enable'):
        scaling.base_batch_size /= counts
        print_log(f'auto_scale_lr: {counts} steps make an update, so the learning rate is '
                  f'{counts} times that of one step', logger='current')


def _prepare_distributed(cfg: Config) -> None:
    """Let the same command run on gloo where there is no GPU (mmengine wants CUDA).

    Raises:
        ConfigError: see :func:`mmvitlin.engine.sharding.prepare`.
    """
    sharding.prepare(cfg)
    if cfg.get('launcher', 'none') == 'none' or torch.cuda.is_available():
        return
    import torch.distributed as dist
    if cfg.launcher == 'slurm':
        distributed.name_slurm_task()
    if not dist.is_initialized():
        dist.init_process_group('gloo')
    cfg.env_cfg.dist_cfg = dict(backend='gloo')
    cfg.setdefault('model_wrapper_cfg', dict(  # as mmengine's own, but for the device
        type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False)))
    cfg.pop('sync_bn', None)  # torch's SyncBatchNorm is CUDA only


def build_runner(cfg: Config, loaders: tuple[str, ...] = LOADERS) -> Runner:
    """Check a config and build its Runner.

    Raises:
        ConfigError: see :func:`preflight`; or something in the config cannot be built.
    """
    try:
        preflight(cfg, loaders)
        _prepare_distributed(cfg)
        checkpoints.install()
        clean_exit.install()
        sharding.install()
        if 'train_dataloader' in loaders and cfg.get('work_dir') and is_main_process():
            checkpoints.clear_debris(cfg.work_dir)
        hooks = list(cfg.get('custom_hooks') or [])
        there = {h.get('type') for h in hooks if isinstance(h, dict)}
        cfg.custom_hooks = hooks + [dict(type=kind) for kind in _HOOKS if kind not in there]
        if 'runner_type' in cfg:
            return RUNNERS.build(cfg)
        return Runner.from_cfg(cfg)
    except (UserError, FileNotFoundError):
        raise
    except Exception as error:  # of any of the libraries
        raise ConfigError(f'the config cannot be built: {in_words(error)}') from error


def train(cfg: Config, resume: str | bool = False, amp: bool = False,
          launcher: str = 'none') -> Runner:
    """Train (and validate as the config says).

    A worker that torchrun started anew after a failure goes on from the newest checkpoint
    whatever ``resume`` says.

    Args:
        cfg: From :func:`mmvitlin.engine.config.load_config`.
        resume: True for the newest checkpoint of the work directory that can be read (none: as the
            config starts), or a file.
        amp: Mixed precision, in :func:`mmvitlin.device.half_dtype`; float32 where
            there is none.
        launcher: 'none', 'pytorch' (torchrun), 'slurm' or 'mpi'.
    """
    cfg.launcher = launcher
    again = int(os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)) > 0
    started = Path(cfg.work_dir) / '.started'  # a restart must not take up an older run
    if not again and int(os.environ.get('RANK', 0)) == 0:
        started.parent.mkdir(parents=True, exist_ok=True)
        started.touch()
    if resume or again:
        found = None if isinstance(resume, str) and not again else \
            checkpoints.newest_readable(cfg.work_dir, since=None if resume else started)
        found = found or (resume if isinstance(resume, str) else None)
        if found:  # else it starts as the config says, from its load_from if it has one
            cfg.resume, cfg.load_from = True, str(found)
    if amp:
        _set_amp(cfg)
    _count_accumulation(cfg)
    check_schedule(cfg)
    runner = build_runner(cfg, ('train_dataloader', 'val_dataloader'))
    if cfg.get('load_from') and not cfg.get('resume') and isinstance(runner.model, torch.nn.Module):
        check_start(runner.model, cfg.load_from)
    try:
        runner.train()
    except (UserError, FileNotFoundError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # mmengine builds loaders, optimiser and loops in train()
        untried = next((h.untried for h in runner.hooks if isinstance(h, FirstTimesHook)), None)
        if untried is None:
            raise
        raise ConfigError(f'the first {untried} of this config ended with {in_words(error)} '
                          '(MMVITLIN_TRACEBACK=1 shows where)') from error
    distributed.leave()
    return runner


def without_initial_weights(cfg: Config) -> None:
    """Drop what the model would start training from: its weights come from a checkpoint."""
    for key, _ in list(checkpoints_of(cfg.model, 'model')):
        cfg.merge_from_dict({key.removesuffix('.checkpoint') if 'init_cfg' in key else key: None})
    if cfg.model.get('backbone', {}).get('pretrained') is True:
        cfg.model.backbone.pretrained = False


def augment_tests(cfg: Config, scales: Sequence[float] = (0.5, 0.75, 1., 1.25, 1.5, 1.75)) -> None:
    """Turn a config's test into one that averages over scales and flips.

    A ``tta_pipeline`` and a ``tta_model`` of the config are taken as they are; otherwise every view
    is the test pipeline at another scale, as it is and mirrored.

    Args:
        cfg: Of a segmentor.
        scales: Factors on what the pipeline resizes to.

    Raises:
        ConfigError: no ``Resize`` to start from.
    """
    if cfg.get('default_scope') == 'mmdet' and 'tta_model' not in cfg:
        raise ConfigError('--tta: give the config a tta_model and a tta_pipeline, as detectors of '
                          'mmdet have them')
    steps = cfg.test_dataloader.dataset.pipeline
    if 'tta_pipeline' not in cfg:
        at = next((n for n, s in enumerate(steps) if s['type'].split('.')[-1] == 'Resize'), None)
        if at is None or 'scale' not in steps[at]:
            raise ConfigError('--tta: the test pipeline has no Resize with a scale; give the '
                              'config a tta_pipeline')
        sizes = [tuple(round(f * n) for n in steps[at]['scale']) for f in scales]
        cfg.tta_pipeline = [*steps[:at], dict(type='TestTimeAug', transforms=[
            [dict(steps[at], scale=size) for size in sizes],
            [dict(type='RandomFlip', prob=p, direction='horizontal') for p in (0., 1.)],
            *([s] for s in steps[at + 1:])])]
    cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
    cfg.model = dict(cfg.get('tta_model') or dict(type='mmvitlin.HighResTTAModel'),
                     module=cfg.model)


def evaluate(cfg: Config, checkpoint: str, launcher: str = 'none', tta: bool = False
             ) -> dict[str, float]:
    """Evaluate a checkpoint on the test set; returns the metrics.

    Args:
        cfg: From :func:`mmvitlin.engine.config.load_config`.
        checkpoint: Of the whole model.
        launcher: See :func:`train`.
        tta: Average over augmented views, see :func:`augment_tests`.
    """
    cfg.launcher = launcher
    cfg.load_from = checkpoint
    cfg.pop('runner_type', None), cfg.pop('strategy', None)  # of training; checkpoints are whole
    without_initial_weights(cfg)
    if tta:
        augment_tests(cfg)
    runner = build_runner(cfg, ('test_dataloader', ))
    check_whole(runner.model, checkpoint)
    metrics = runner.test()
    distributed.leave()
    return metrics


def local_rank_from(args_rank: int | None) -> None:
    """Put torchrun's local rank where mmengine reads it."""
    os.environ.setdefault('LOCAL_RANK', str(args_rank or 0))
