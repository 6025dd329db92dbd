"""From a config to a running Runner: what the command lines call."""
from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmvitlin.compat.kinds import is_kind, kind_of
from mmvitlin.compat.mmengine import read_tensors_only, short_console
from mmvitlin.engine.hooks import CleanExitHook, FirstTimesHook, TF32Hook
from mmvitlin.engine.rules import (
    build_loaders,
    check,
    check_start,
    check_whole,
    checkpoints_of,
)
from mmvitlin.engine.rules.context import unwrapped, warn
from mmvitlin.engine.rules.kinds import check_kinds
from mmvitlin.engine.runner.run_options import apply_options, join_without_gpu
from mmvitlin.engine.strategies import distributed, settings
from mmvitlin.utils.errors import ConfigError, UserError, in_words


def build_runner(cfg: Config, purpose: str = 'train', checkpoint: str | None = None) -> Runner:
    """Check a config and build the Runner that it describes: without adding to it.

    Args:
        cfg: From :func:`mmvitlin.engine.runner.config.load_config`.
        purpose: 'train' or 'test'.
        checkpoint: That is tested.

    Raises:
        ConfigError: see :mod:`mmvitlin.engine.rules`; or something in the config cannot be built.
    """
    try:
        check_kinds(cfg)
        check(cfg, purpose, checkpoint=checkpoint)
        settings.refuse(cfg)
        read_tensors_only()
        distributed.join(cfg.get('launcher', 'none'))
        with short_console():
            runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
        if file := _log_file(runner):
            runner.logger.info(f'versions, the whole config and the order of hooks: {file}')
        return runner
    except (UserError, FileNotFoundError):
        raise
    except Exception as error:  # of any of the libraries
        raise ConfigError(f'the config cannot be built: {in_words(error)}') from error


def _log_file(runner: Runner) -> str | None:
    return next((h.baseFilename for h in runner.logger.handlers
                 if isinstance(h, logging.FileHandler)), None)


def train(cfg: Config, resume: str | bool = False, amp: bool = False,
          launcher: str = 'none') -> Runner:
    """Train (and validate as the config says).

    A worker that torchrun restarted after a failure resumes from the newest checkpoint, also
    without ``resume``.

    Args:
        cfg: From :func:`mmvitlin.engine.runner.config.load_config`.
        resume: True for the newest checkpoint of the work directory that can be read (none: as the
            config starts), or a file.
        amp: Mixed precision, in :func:`mmvitlin.utils.device.half_dtype`; float32 where
            there is none.
        launcher: 'none', 'pytorch' (torchrun), 'slurm' or 'mpi'.
    """
    restarted = int(os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)) > 0
    started = Path(cfg.work_dir) / '.started'  # a restart must not resume an older run
    if not restarted and int(os.environ.get('RANK', 0)) == 0:
        _mark(started, cfg)
    apply_options(cfg, resume=resume, amp=amp, launcher=launcher, restarted=restarted,
                  since=None if resume else started)
    runner = build_runner(cfg)
    if cfg.get('load_from') and not cfg.get('resume') and isinstance(runner.model, torch.nn.Module):
        check_start(runner.model, cfg.load_from)
    try:
        build_loaders(runner, ('train_dataloader', 'val_dataloader'))
        runner.train()
    except (UserError, FileNotFoundError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # mmengine builds loaders, optimiser and loops in train()
        refuse_other_sizes(error)
        untried = next((h.untried for h in runner.hooks if isinstance(h, FirstTimesHook)), None)
        if untried is None:
            raise
        raise ConfigError(f'the first {untried} of this config ended with {in_words(error)} '
                          '(MMVITLIN_TRACEBACK=1 shows where)') from error
    finally:  # an error leaves hooks without their last call; whoever called goes on
        for hook in getattr(runner, 'hooks', ()):
            if isinstance(hook, (CleanExitHook, TF32Hook)):
                hook.restore()
    distributed.leave()
    return runner


def _mark(started: Path, cfg: Config) -> None:
    """Note when a run began, and of which config; warn where the folder has runs of another one,
    as two configs of one name have a work directory in common."""
    own = str(Path(cfg.filename).resolve()) if cfg.filename else ''
    before = started.read_text() if started.is_file() else ''
    if own and before not in ('', own):
        warn(f'{cfg.work_dir} holds runs of {before}, and this one is of {own}: checkpoints are '
             'replaced, and --resume may take those of the other; give --work-dir')
    started.parent.mkdir(parents=True, exist_ok=True)
    started.write_text(own or before)


def refuse_other_sizes(error: Exception) -> None:
    """Explain torch's error about a batch of images with different sizes.

    Raises:
        ConfigError: the error is that images of a batch have different sizes.
    """
    if sizes := re.search(r'stack expects each tensor to be equal size, but got (\[[\d, ]+\]) at '
                          r'entry \d+ and (\[[\d, ]+\])', str(error)):
        raise ConfigError(
            f'images of one batch have different sizes, {sizes[1]} and {sizes[2]} (channels, '
            'height, width); let train_dataloader.dataset.pipeline resize or crop them to one size'
            ) from error


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
        ConfigError: no test data, no ``Resize`` to start from, or a ``tta_pipeline`` without
            ``TestTimeAug``.
    """
    if cfg.get('default_scope') == 'mmdet' and 'tta_model' not in cfg:
        raise ConfigError('--tta: give the config a tta_model and a tta_pipeline, as detectors of '
                          'mmdet have them')
    if not cfg.get('test_dataloader'):
        raise ConfigError('--tta: the config has no test_dataloader')
    own = cfg.get('tta_pipeline')
    if own is not None and not any(is_kind(step, frozenset(('TestTimeAug', ))) for step in own):
        raise ConfigError("--tta: tta_pipeline has no step TestTimeAug, which makes the views")
    whole = cfg.test_dataloader.dataset
    parts = [whole] if whole.get('pipeline') else [one for _, one, _ in unwrapped(whole, '')]
    for dataset in {id(one): one for one in parts}.values():  # one set may be joined twice
        dataset.pipeline = own or _views(dataset.pipeline, scales)
    model = dict(cfg.get('tta_model') or dict(type='mmvitlin.HighResTTAModel'))
    if kind_of(model) == 'SegTTAModel' and kind_of(cfg.model) == 'HighResSegmentor':
        model['type'] = 'mmvitlin.HighResTTAModel'  # mmseg's needs the scores of other segmentors
    cfg.model = dict(model, module=cfg.model)


def _views(steps: Sequence[dict], scales: Sequence[float]) -> list[dict]:
    at = next((n for n, step in enumerate(steps) if kind_of(step) == 'Resize'), None)
    key = next((key for key in ('scale', 'scale_factor') if at is not None and steps[at].get(key)),
               None)
    if key is None:
        raise ConfigError('--tta: the test pipeline has no Resize with a scale; give the config a '
                          'tta_pipeline')
    base = steps[at][key]
    base = tuple(base) if isinstance(base, (list, tuple)) else (base, base)
    whole = round if key == 'scale' else float
    return [*steps[:at], dict(type='TestTimeAug', transforms=[
        [dict(steps[at], **{key: tuple(whole(f * n) for n in base)}) for f in scales],
        [dict(type='RandomFlip', prob=p, direction='horizontal') for p in (0., 1.)],
        *([step] for step in steps[at + 1:])])]


def evaluate(cfg: Config, checkpoint: str, launcher: str = 'none', tta: bool = False
             ) -> dict[str, float]:
    """Evaluate a checkpoint on the test set; returns the metrics.

    Args:
        cfg: From :func:`mmvitlin.engine.runner.config.load_config`.
        checkpoint: Of the whole model.
        launcher: See :func:`train`.
        tta: Average over augmented views, see :func:`augment_tests`.
    """
    cfg.launcher = launcher
    join_without_gpu(cfg)
    cfg.load_from = checkpoint
    cfg.pop('runner_type', None), cfg.pop('strategy', None)  # of training; checkpoints are whole
    without_initial_weights(cfg)
    if tta:
        augment_tests(cfg)
    runner = build_runner(cfg, 'test', checkpoint)
    check_whole(runner.model, checkpoint)
    build_loaders(runner, ('test_dataloader', ))
    metrics = runner.test()
    distributed.leave()
    return metrics


def local_rank_from(args_rank: int | None) -> None:
    """Put torchrun's local rank where mmengine reads it."""
    os.environ.setdefault('LOCAL_RANK', str(args_rank or 0))
