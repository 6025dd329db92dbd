"""From a config file to a running Runner: what the command lines call."""
from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict
from mmengine.dist import is_main_process
from mmengine.logging import print_log
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.registry import DATASETS, RUNNERS, init_default_scope
from mmengine.runner import Runner

from mmvitlin import compat
from mmvitlin.engine import checkpoints, distributed
from mmvitlin.engine.hooks import clean_exit
from mmvitlin.errors import CheckpointError, ConfigError, UserError
from mmvitlin.models.utils.checkpoint import read_description, read_meta, read_state_dict

_HOOKS = ('mmvitlin.ResultHook', 'mmvitlin.StepSeedHook', 'mmvitlin.CleanExitHook',
          'mmvitlin.FiniteLossHook', 'mmvitlin.AverageBuffersHook')
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
        _move_data(cfg, str(root))
    if work_dir is not None:
        cfg.work_dir = work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / Path(path).stem)
    return cfg


def _move_data(cfg: Config, root: str) -> None:
    """Give every data set another root, and the evaluators what lay below the old ones."""
    roots = set()
    for _, dataset in _datasets(cfg):
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


def check_libraries(cfg: Config) -> None:
    """Look for what only some configs need.

    Raises:
        ConfigError: the config is of mmdet, or names something of it, and detection is not set up.
    """
    if cfg.get('default_scope') == 'mmdet' or "'mmdet." in repr(cfg.get('model')):
        compat.require_detection(cfg.filename or 'this config')


def preflight(cfg: Config, loaders: tuple[str, ...] = _LOADERS) -> None:
    """Look for missing data and checkpoints before anything is built.

    Raises:
        ConfigError: names the key and the remedy.
    """
    check_libraries(cfg)
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
        listed = dataset.get('ann_file')
        if isinstance(listed, str) and listed and '://' not in listed \
                and not (root / listed).exists():
            raise ConfigError(f"{key}.ann_file: '{root}' has no file '{listed}'")
    if cfg.get('load_from') and not _exists(cfg.load_from):
        raise ConfigError(f"load_from: no checkpoint at '{cfg.load_from}'")
    _check_classes(cfg, loaders)
    for key, path in _checkpoints(cfg.get('model', {}), 'model'):
        if not _exists(path):
            raise ConfigError(f"{key}: no checkpoint at '{path}'. Train the stage that writes it, "
                              f'or give one with --cfg-options {key}=FILE')
    _check_start(cfg)


def _check_start(cfg: Config) -> None:
    """A backbone goes on with images normalised as those that its weights have seen.

    Raises:
        ConfigError: the student's file says that they were normalised otherwise.
    """
    model = cfg.get('model', {})
    starts = (model.get('backbone') or {}).get('init_cfg') or {}
    starts = starts if isinstance(starts, (list, tuple)) else [starts]
    path = next((s['checkpoint'] for s in starts if s.get('checkpoint')), None)
    if not path or '://' in path:
        return
    meta = read_meta(path)
    if meta.get('finished') is False:
        print_log(f"{path} is of a distillation that has not come to its end (iteration "
                  f"{meta.get('iter')})", logger='current', level=logging.WARNING)
    ours = model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    if not ours.get('bgr_to_rgb', ours.get('to_rgb', False)):
        return  # the file's are of RGB images
    for key, theirs in (meta.get('normalisation') or {}).items():
        mine = ours.get(key)
        if isinstance(mine, (list, tuple)) and len(mine) == len(theirs) and any(
                abs(a - b) > 0.5 for a, b in zip(mine, theirs, strict=True)):
            raise ConfigError(f'model.data_preprocessor.{key} is {list(mine)}, and {path} was '
                              f'trained with {theirs}; set it so')


def _check_classes(cfg: Config, loaders: tuple[str, ...]) -> None:
    """The head, the data set and the reader of labels must count the same classes.

    A label above the head's classes otherwise ends in an index error or a device assertion.
    """
    model = cfg.get('model', {})
    heads = _heads(model)
    counts = {h.get('num_classes') for h in heads.values()} - {None}
    if len(counts) > 1 and 'roi_head' in model:
        told = {f'model.{k}.num_classes': h.get('num_classes') for k, h in heads.items()}
        raise ConfigError(f'the heads count different classes: {told}; make them equal')
    if len(counts) != 1:
        return
    name = next(k for k, h in heads.items() if h.get('num_classes'))
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
            raise ConfigError(f'model.{name}.num_classes is {count}, but {loader}.dataset '
                              f"({dataset['type']}) has {len(told)} classes; make them equal")
        for n, step in enumerate(dataset.get('pipeline') or []):
            theirs = step.get('num_classes')
            if str(step.get('type')).endswith('LoadSegLabels') and theirs != count:
                raise ConfigError(f'model.{name}.num_classes is {count}, but {loader}.dataset.'
                                  f'pipeline.{n} (LoadSegLabels) has num_classes={theirs}; make '
                                  'them equal')


def _heads(model: dict) -> dict[str, dict]:
    """Every head that classifies, by its key below ``model``."""
    found = {}
    things = model.get('panoptic_head') or {}
    if 'num_things_classes' in things:
        found['panoptic_head'] = dict(num_classes=things['num_things_classes'] +
                                      things.get('num_stuff_classes', 0))
    for key, node in (('decode_head', model), ('bbox_head', model),
                      ('roi_head.bbox_head', model.get('roi_head') or {}),
                      ('roi_head.mask_head', model.get('roi_head') or {})):
        head = node.get(key.rsplit('.', 1)[-1])
        for n, one in enumerate(head if isinstance(head, (list, tuple)) else [head]):
            if isinstance(one, dict) and not one.get('class_agnostic'):
                found[f'{key}.{n}' if isinstance(head, (list, tuple)) else key] = one
    return found


def _exists(path: str) -> bool:
    return '://' in path or Path(path).expanduser().is_file()


def _set_amp(cfg: Config) -> None:
    wrapper = cfg.optim_wrapper
    wrapper.type = 'AmpOptimWrapper' if torch.cuda.is_available() else 'mmvitlin.CPUAmpOptimWrapper'
    if torch.cuda.is_available():
        wrapper.setdefault('dtype', 'bfloat16' if torch.cuda.is_bf16_supported() else 'float16')


def _prepare_distributed(cfg: Config) -> None:
    """Let the same command run on gloo where there is no GPU (mmengine wants CUDA).

    Raises:
        ConfigError: the config shards its model, which takes GPUs.
    """
    sharded = (cfg.get('strategy') or {}).get('type')
    sharded = sharded if sharded in ('FSDPStrategy', 'DeepSpeedStrategy') else None
    if sharded and (cfg.get('launcher', 'none') == 'none' or not torch.cuda.is_available()):
        # torch's FSDP trains on CPUs, and ends in a segmentation fault when it saves (2.11)
        raise ConfigError(f'{sharded} shards the model over GPUs: start it with '
                          'tools/dist_train.sh on a machine that has some, or leave the switch out '
                          'of _base_')
    if sharded == 'DeepSpeedStrategy':  # which has a mixed precision of its own
        cfg.optim_wrapper.type = 'DeepSpeedOptimWrapper'
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


def check_whole(model: torch.nn.Module, checkpoint: str) -> dict[str, torch.Tensor]:
    """Read a checkpoint and refuse to evaluate a model that the checkpoint does not fill.

    Raises:
        CheckpointError: parameters are missing or of another shape, or the file says that its
            backbone computed something else with them (softmax for linear attention, say).
    """
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    told = read_description(checkpoint)
    ours = getattr(getattr(model, 'backbone', None), 'describe', dict)()
    if not any(k.endswith('pos_embed') for k in model.state_dict()):
        ours.pop('grid', None)  # rotary positions fit any
    differing = {}
    for key, here in ours.items():
        there = told.get(key, here)
        if isinstance(here, dict) and isinstance(there, dict):  # what both of them know
            here, there = ({k: d[k] for k in sorted(here.keys() & there.keys())}
                           for d in (here, there))
        if here != there:
            differing[key] = here, there
    if differing:
        raise CheckpointError(f'{checkpoint} is of another backbone than this config: ' + '; '.join(
            f'{key} is {here} here and {there} there' for key, (here, there) in differing.items()))
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
