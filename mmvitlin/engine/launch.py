"""From a config file to a running Runner: what the command lines call."""
from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmvitlin import compat
from mmvitlin.engine import checkpoints, distributed, sharding
from mmvitlin.engine.hooks import FirstTimesHook, clean_exit
from mmvitlin.engine.preflight import (
    LOADERS,
    check_whole,
    checkpoints_of,
    datasets_of,
    preflight,
)
from mmvitlin.errors import ConfigError, UserError

_HOOKS = ('mmvitlin.ResultHook', 'mmvitlin.StepSeedHook', 'mmvitlin.CleanExitHook',
          'mmvitlin.FiniteLossHook', 'mmvitlin.AverageBuffersHook', 'mmvitlin.FirstTimesHook')


def load_config(path: str, options: dict | None = None, work_dir: str | None = None) -> Config:
    """Read a config of any of the libraries.

    ``options`` are mmengine's ``--cfg-options``; a ``data_root`` among them is the root of
    every data set of the config, so that one option moves the data. The work directory is
    ``work_dirs/<name of the config>`` unless the config or the caller says otherwise.

    Raises:
        ConfigError: no such file.
    """
    compat.apply()
    if '::' in path:
        path, _ = Config._get_cfg_path(path, '')
    if not Path(path).is_file():
        raise ConfigError(f'no config file at {path}')
    try:
        cfg = Config.fromfile(path)
    except Exception as error:  # it is Python, and executed
        raise ConfigError(f'{path} is no config: {_words(error)}') from error
    options = dict(options or {})
    _refuse_unknown(cfg, options, path)
    root = options.get('data_root')
    cfg.merge_from_dict(options)
    if root is not None:
        _move_data(cfg, str(root))
    if work_dir is not None:
        cfg.work_dir = work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / Path(path).stem)
    return cfg


_RUNNER = {  # what a Runner takes, and we, whether the config has it or not
    'auto_scale_lr', 'cfg', 'compile', 'custom_hooks', 'custom_imports', 'data_preprocessor',
    'data_root', 'default_hooks', 'default_scope', 'env_cfg', 'experiment_name', 'launcher',
    'load_from', 'log_level', 'log_processor', 'model_wrapper_cfg', 'optim_wrapper',
    'param_scheduler', 'randomness', 'resume', 'runner_type', 'strategy', 'sync_bn', 'test_cfg',
    'test_dataloader', 'test_evaluator', 'train_cfg', 'train_dataloader', 'tta_model',
    'tta_pipeline', 'val_cfg', 'val_dataloader', 'val_evaluator', 'vis_backends', 'visualizer',
    'work_dir'}


def _refuse_unknown(cfg: Config, options: dict, path: str) -> None:
    """Raises ConfigError for an option that would change nothing."""
    for key in options:
        top = key.split('.')[0]
        if top not in cfg and top not in _RUNNER:
            close = difflib.get_close_matches(top, [*cfg.keys(), *_RUNNER], n=1)
            hint = f"; do you mean '{close[0]}'?" if close else ''
            within = [k for k in cfg if isinstance(cfg[k], dict) and top in cfg[k]]
            if within:
                hint = f'; it is in {within[0]}: {within[0]}.{key}'
            raise ConfigError(f"--cfg-options {key}: {path} has no '{top}'{hint}")


def _move_data(cfg: Config, root: str) -> None:
    """Give every data set another root, and the evaluators what lay below the old ones."""
    roots = set()
    for _, dataset in datasets_of(cfg):
        roots.add(str(dataset['data_root'] or '').rstrip('/'))
        dataset['data_root'] = root
    for key in ('val_evaluator', 'test_evaluator'):
        found = cfg.get(key) or []
        for evaluator in found if isinstance(found, (list, tuple)) else [found]:
            for name in ('ann_file', 'seg_prefix'):
                value = evaluator.get(name)
                old = next((r for r in sorted(roots - {''}, key=len, reverse=True)
                            if isinstance(value, str) and value.startswith(f'{r}/')), None)
                if old is not None:
                    evaluator[name] = f"{root.rstrip('/')}{value[len(old):]}"


def _set_amp(cfg: Config) -> None:
    wrapper = cfg.optim_wrapper
    wrapper.type = 'AmpOptimWrapper' if torch.cuda.is_available() else 'mmvitlin.CPUAmpOptimWrapper'
    if torch.cuda.is_available():
        wrapper.setdefault('dtype', 'bfloat16' if torch.cuda.is_bf16_supported() else 'float16')


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
    cfg.setdefault('model_wrapper_cfg', dict(type='MMDistributedDataParallel', device_ids=None))
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
        raise ConfigError(f'the config cannot be built: {_words(error)}') from error


def train(cfg: Config, resume: str | bool = False, amp: bool = False,
          launcher: str = 'none') -> Runner:
    """Train (and validate as the config says).

    A worker that torchrun started anew after a failure goes on from the newest checkpoint
    whatever ``resume`` says.

    Args:
        cfg: From :func:`load_config`.
        resume: True for the newest checkpoint of the work directory that can be read (none: as the
            config starts), or a file.
        amp: Mixed precision: float16 or bfloat16 on a GPU, bfloat16 on a CPU.
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
    runner = build_runner(cfg, ('train_dataloader', 'val_dataloader'))
    try:
        runner.train()
    except (UserError, FileNotFoundError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # mmengine builds loaders, optimiser and loops in train()
        untried = next((h.untried for h in runner.hooks if isinstance(h, FirstTimesHook)), None)
        if untried is None:
            raise
        raise ConfigError(f'the first {untried} of this config ended with {_words(error)} '
                          '(MMVITLIN_TRACEBACK=1 shows where)') from error
    distributed.leave()
    return runner


def _words(error: Exception) -> str:
    """What an error of one of the libraries says, without the traceback of a worker."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    if 'Original Traceback' in text:
        text = text.rstrip().rsplit('\n', 1)[-1]
    kind = type(error).__name__
    return text if text.startswith(f'{kind}: ') else f'{kind}: {text}'.removesuffix(': ')


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
        cfg: From :func:`load_config`.
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
