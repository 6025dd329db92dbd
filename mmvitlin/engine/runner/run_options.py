"""Applies the options of a command line to a config; ``tools/print_config.py`` shows it."""
from __future__ import annotations

import logging
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.logging import print_log

from mmvitlin.compat.kinds import kind_of
from mmvitlin.engine.checkpoints import newest_readable
from mmvitlin.engine.strategies import settings
from mmvitlin.utils.device import half_dtype, why_float32
from mmvitlin.utils.errors import ConfigError

_WRAPPERS = ('OptimWrapper', 'AmpOptimWrapper', 'CPUAmpOptimWrapper', 'ApexOptimWrapper',
             'DeepSpeedOptimWrapper')


def apply_options(cfg: Config, *, resume: str | bool = False, amp: bool = False,
                  launcher: str = 'none', restarted: bool = False,
                  since: Path | None = None) -> None:
    """Apply run options to a config; applying them twice changes nothing more.

    Args:
        cfg: From :func:`mmvitlin.engine.runner.config.load_config`.
        resume: True for the newest checkpoint of the work directory that can be read (none: as the
            config starts), or a file.
        amp: Mixed precision, in :func:`mmvitlin.utils.device.half_dtype`; float32 where
            there is none.
        launcher: 'none', 'pytorch' (torchrun), 'slurm' or 'mpi'.
        restarted: Resume from the newest checkpoint of the work directory, also without ``resume``.
        since: Checkpoints older than this file are of another run.

    Raises:
        CheckpointError: there are checkpoints, and none can be read.
        ConfigError: see :func:`mmvitlin.engine.strategies.settings.fill_in`; mixed precision of an
            optimiser wrapper of the user's own.
    """
    cfg.launcher = launcher
    if cfg.get('resume') and not resume:  # as mmengine has it in a config
        resume, cfg.resume = cfg.get('load_from') or True, False
    if resume or restarted:
        given = resume if isinstance(resume, str) else None
        checkpoint = newest_readable(cfg.work_dir, since=since) if restarted or not given else None
        checkpoint = checkpoint or given
        if not checkpoint and not restarted:
            print_log(f'--resume: there is no checkpoint in {cfg.work_dir}; the run starts at its '
                      'beginning', logger='current', level=logging.WARNING)
        if checkpoint:  # else it starts as the config says, from its load_from if it has one
            cfg.resume, cfg.load_from = True, str(checkpoint)
    if amp:
        _set_amp(cfg)
    _count_accumulation(cfg)
    settings.fill_in(cfg)
    join_without_gpu(cfg)


def join_without_gpu(cfg: Config) -> None:
    """Let several processes run on gloo where there is no GPU; mmengine needs CUDA."""
    if cfg.get('launcher', 'none') == 'none' or torch.cuda.is_available():
        return
    cfg.setdefault('env_cfg', {})
    cfg.env_cfg.dist_cfg = dict(backend='gloo')
    cfg.setdefault('model_wrapper_cfg', dict(  # as mmengine's own, but for the device
        type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False)))
    cfg.pop('sync_bn', None)  # torch's SyncBatchNorm is CUDA only


def _set_amp(cfg: Config) -> None:
    wrapper, dtype = cfg.optim_wrapper, half_dtype()
    if wrapper.get('type') and kind_of(wrapper) not in _WRAPPERS:
        raise ConfigError(f'--amp takes the place of optim_wrapper.type={wrapper.type}, which is '
                          'none of its own; derive that from mmvitlin.AmpOptimWrapper, and leave '
                          '--amp out')
    if dtype is None:
        print_log(f'--amp: {why_float32()}, so the run is in float32 (bfloat16 all the same: '
                  '--cfg-options optim_wrapper.type=mmvitlin.CPUAmpOptimWrapper)',
                  logger='current', level=30)
    elif torch.cuda.is_available():
        wrapper.type = 'mmvitlin.AmpOptimWrapper'
        wrapper.setdefault('dtype', str(dtype).removeprefix('torch.'))
        if wrapper.dtype == 'bfloat16':  # has float32's range; a scaler would hide bad gradients
            wrapper.setdefault('loss_scale', dict(enabled=False))
    else:
        wrapper.type = 'mmvitlin.CPUAmpOptimWrapper'


def _count_accumulation(cfg: Config) -> None:
    """Scale learning rates by the images of a whole update; mmengine counts those of a step.

    ``auto_scale_lr.accumulative_counts`` records that it was done.
    """
    counts = (cfg.get('optim_wrapper') or {}).get('accumulative_counts', 1)
    scaling = cfg.get('auto_scale_lr') or {}
    done = scaling.get('accumulative_counts', 1)
    if counts != done and scaling.get('enable'):
        scaling.base_batch_size *= done / counts
        scaling.accumulative_counts = counts
        print_log(f'auto_scale_lr: {counts} steps make an update, so the learning rate is '
                  f'{counts} times that of one step', logger='current')
