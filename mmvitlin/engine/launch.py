"""From a config file to a running Runner: what the command lines call."""
from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict
from mmengine.dist import is_main_process
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.registry import DATASETS, RUNNERS, init_default_scope
from mmengine.runner import Runner

from mmvitlin import compat
from mmvitlin.engine import checkpoints, distributed
from mmvitlin.engine.hooks import clean_exit
from mmvitlin.errors import CheckpointError, ConfigError, UserError
from mmvitlin.models.utils import read_state_dict

_HOOKS = ('mmvitlin.ResultHook', 'mmvitlin.StepSeedHook', 'mmvitlin.CleanExitHook',
          'mmvitlin.FiniteLossHook')
_LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


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
    cfg = Config.fromfile(path)
    options = dict(options or {})
    root = options.get('data_root')
    cfg.merge_from_dict(options)
    if root is not None:
        for _, dataset in _datasets(cfg):
            dataset['data_root'] = root
    if work_dir is not None:
        cfg.work_dir = work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / Path(path).stem)
    return cfg


def _datasets(node, key: str = '') -> Iterator[tuple[str, dict]]:
    """Every dict with a ``data_root`` below the loaders of a config, with its key."""
    if isinstance(node, (Config, ConfigDict, dict)):
        children = [(k, node.get(k)) for k in (_LOADERS if key == '' else list(node))]
        if key and 'data_root' in node:
            yield key, node
    elif isinstance(node, (list, tuple)):
        children = [(str(i), v) for i, v in enumerate(node)]
    else:
        return
    for name, child in children:
        if child is not None:
            yield from _datasets(child, f'{key}.{name}' if key else name)


def _checkpoints(node, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, dict):
        for name, child in node.items():
            if name == 'checkpoint' and isinstance(child, str):
                yield f'{key}.{name}', child
            else:
                yield from _checkpoints(child, f'{key}.{name}')
    elif isinstance(node, (list, tuple)):
        for i, child in enumerate(node):
            yield from _checkpoints(child, f'{key}.{i}')


def preflight(cfg: Config, loaders: tuple[str, ...] = _LOADERS) -> None:
    """Look for missing data and checkpoints before anything is built.

    Raises:
        ConfigError: names the key and the remedy.
    """
    for key, dataset in _datasets(cfg):
        if key.split('.')[0] not in loaders:
            continue
        root = Path(dataset['data_root'] or '.')
        if '://' in str(dataset['data_root']):
            continue
        if not root.is_dir():
            raise ConfigError(
                f"{key}.data_root: no folder '{root}'. Put the data there, or give its place with "
                '--cfg-options data_root=…; `python tools/make_streets.py FOLDER` draws a '
                'data set in the Cityscapes layout to try things on.')
        prefix = dataset.get('data_prefix') or {}
        for name, part in (prefix.items() if isinstance(prefix, dict) else [('', prefix)]):
            if part and not (root / part).is_dir():
                which = f'data_prefix.{name}' if name else 'data_prefix'
                raise ConfigError(f"{key}.{which}: '{root}' has no folder '{part}'. It holds: "
                                  f'{sorted(p.name for p in root.iterdir())[:8]}')
    if cfg.get('load_from') and not _exists(cfg.load_from):
        raise ConfigError(f"load_from: no checkpoint at '{cfg.load_from}'")
    _check_classes(cfg, loaders)
    for key, path in _checkpoints(cfg.get('model', {}), 'model'):
        if not _exists(path):
            raise ConfigError(f"{key}: no checkpoint at '{path}'. Train the stage that writes it, "
                              f'or give one with --cfg-options {key}=FILE')


def _check_classes(cfg: Config, loaders: tuple[str, ...]) -> None:
    """The head, the data set and the reader of labels must count the same classes.

    A label above the head's classes otherwise ends in an index error or a device assertion.
    """
    head = cfg.get('model', {}).get('decode_head')
    heads = head if isinstance(head, (list, tuple)) else [head] if head else []
    counts = {h.get('num_classes') for h in heads if isinstance(h, dict)} - {None}
    if len(counts) != 1:
        return
    count, = counts
    init_default_scope(cfg.get('default_scope') or 'mmseg')
    for loader in loaders:
        dataset = (cfg.get(loader) or {}).get('dataset') or {}
        if not isinstance(dataset.get('type'), str):
            continue
        with DATASETS.switch_scope_and_registry(None) as registry:  # the library's own
            known = registry.get(dataset['type'])
        told = (dataset.get('metainfo') or {}).get('classes') or \
            (getattr(known, 'METAINFO', None) or {}).get('classes')
        if told and len(told) != count:
            raise ConfigError(f'model.decode_head.num_classes is {count}, but {loader}.dataset '
                              f"({dataset['type']}) has {len(told)} classes; make them equal")
        for n, step in enumerate(dataset.get('pipeline') or []):
            theirs = step.get('num_classes')
            if str(step.get('type')).endswith('LoadSegLabels') and theirs != count:
                raise ConfigError(f'model.decode_head.num_classes is {count}, but {loader}.dataset.'
                                  f'pipeline.{n} (LoadSegLabels) has num_classes={theirs}; make '
                                  'them equal')


def _exists(path: str) -> bool:
    return '://' in path or Path(path).expanduser().is_file()


def _set_amp(cfg: Config) -> None:
    wrapper = cfg.optim_wrapper
    wrapper.type = 'AmpOptimWrapper' if torch.cuda.is_available() else 'mmvitlin.CPUAmpOptimWrapper'
    if torch.cuda.is_available():
        wrapper.setdefault('dtype', 'bfloat16' if torch.cuda.is_bf16_supported() else 'float16')


def _prepare_distributed(cfg: Config) -> None:
    """Let the same command run on gloo where there is no GPU (mmengine wants CUDA)."""
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


def build_runner(cfg: Config, loaders: tuple[str, ...] = _LOADERS) -> Runner:
    """Check a config and build its Runner.

    Raises:
        ConfigError: see :func:`preflight`; or something in the config cannot be built.
    """
    try:
        preflight(cfg, loaders)
        _prepare_distributed(cfg)
        checkpoints.install()
        clean_exit.install()
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
        raise ConfigError('the config cannot be built: '
                          f'{str(error).strip(chr(39)) or type(error).__name__}') from error


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
    runner.train()
    distributed.leave()
    return runner


def without_initial_weights(cfg: Config) -> None:
    """Drop what the model would start training from: its weights come from a checkpoint."""
    for key, _ in list(_checkpoints(cfg.model, 'model')):
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
    without_initial_weights(cfg)
    if tta:
        augment_tests(cfg)
    runner = build_runner(cfg, ('test_dataloader', ))
    check_whole(runner.model, checkpoint)
    metrics = runner.test()
    distributed.leave()
    return metrics


def check_whole(model: torch.nn.Module, checkpoint: str) -> dict[str, torch.Tensor]:
    """Read a checkpoint and refuse to evaluate a model that the checkpoint does not fill.

    Raises:
        CheckpointError: parameters are missing or of another shape.
    """
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    own = model.state_dict()
    state = read_state_dict(checkpoint, prefix='')
    missing = [k for k in own if k not in state]
    wrong = [k for k in own if k in state and state[k].shape != own[k].shape]
    if missing or wrong:
        raise CheckpointError(
            f"{checkpoint} is no checkpoint of this config's model: {len(missing)} keys are "
            f'missing ({missing[:3]}), {len(wrong)} have another shape ({wrong[:3]}). '
            'A student.pth holds the backbone alone; give the checkpoint that training with this '
            'config wrote.')
    return state


def local_rank_from(args_rank: int | None) -> None:
    """Put torchrun's local rank where mmengine reads it."""
    os.environ.setdefault('LOCAL_RANK', str(args_rank or 0))
