"""What can be found wrong with a config before anything of it is built."""
from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.registry import DATASETS, init_default_scope

from mmvitlin import detection
from mmvitlin.errors import CheckpointError, ConfigError
from mmvitlin.models.utils.checkpoint import read_description, read_meta, read_state_dict
from mmvitlin.shipped import locate

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def datasets_of(node, key: str = '') -> Iterator[tuple[str, dict]]:
    """Every dict with a ``data_root`` below the loaders of a config, with its key."""
    if isinstance(node, (Config, ConfigDict, dict)):
        children = [(k, node.get(k)) for k in (LOADERS if key == '' else list(node))]
        if key and 'data_root' in node:
            yield key, node
    elif isinstance(node, (list, tuple)):
        children = [(str(i), v) for i, v in enumerate(node)]
    else:
        return
    for name, child in children:
        if child is not None:
            yield from datasets_of(child, f'{key}.{name}' if key else name)


def checkpoints_of(node, key: str) -> Iterator[tuple[str, str]]:
    """(key, file) of every ``checkpoint`` below a part of a config that has this key."""
    if isinstance(node, dict):
        for name, child in node.items():
            if name == 'checkpoint' and isinstance(child, str):
                yield f'{key}.{name}', child
            else:
                yield from checkpoints_of(child, f'{key}.{name}')
    elif isinstance(node, (list, tuple)):
        for i, child in enumerate(node):
            yield from checkpoints_of(child, f'{key}.{i}')


def check_libraries(cfg: Config) -> None:
    """Look for what only some configs need.

    Raises:
        ConfigError: the config is of mmdet, or names something of it, and detection is not set up.
    """
    if cfg.get('default_scope') == 'mmdet' or "'mmdet." in repr(cfg.get('model')):
        detection.prepare(cfg.filename or 'this config')


def preflight(cfg: Config, loaders: tuple[str, ...] = LOADERS) -> None:
    """Look for missing data and checkpoints before anything is built.

    Raises:
        ConfigError: names the key and the remedy.
    """
    check_libraries(cfg)
    check_data_folders(cfg, loaders)
    if cfg.get('load_from'):
        _look_for(cfg.load_from, 'load_from')
    check_classes(cfg, loaders)
    check_strides(cfg)
    for key, path in checkpoints_of(cfg.get('model', {}), 'model'):
        _look_for(path, key)
    _check_start(cfg)


def check_data_folders(cfg: Config, loaders: tuple[str, ...] = LOADERS) -> None:
    """Look for the folders and lists of a config's data sets.

    Raises:
        ConfigError: names the key and the remedy.
    """
    for key, dataset in datasets_of(cfg):
        if key.split('.')[0] not in loaders:
            continue
        root = Path(dataset['data_root'] or '.')
        if '://' in str(dataset['data_root']):
            continue
        if not root.is_dir():
            raise ConfigError(
                f"{key}.data_root: no folder '{root}'. Put the data there, or give its place with "
                '--cfg-options data_root=…; `python tools/make_streets.py FOLDER` draws a '
                'data set in the Cityscapes layout to try things on, docs/data.md says where '
                'others come from.')
        prefix = dataset.get('data_prefix') or {}
        for name, part in (prefix.items() if isinstance(prefix, dict) else [('', prefix)]):
            if part and not (root / part).is_dir():
                which = f'data_prefix.{name}' if name else 'data_prefix'
                raise ConfigError(f"{key}.{which}: '{root}' has no folder '{part}'. It holds: "
                                  f'{sorted(p.name for p in root.iterdir())[:8]}. Give the '
                                  f"right one with --cfg-options {key}.{which}=…, '' for the "
                                  'folder itself')
        listed = dataset.get('ann_file')
        if isinstance(listed, str) and listed and '://' not in listed \
                and not (root / listed).exists():
            raise ConfigError(f"{key}.ann_file: '{root}' has no file '{listed}'")


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


def check_classes(cfg: Config, loaders: tuple[str, ...]) -> None:
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


def check_strides(cfg: Config) -> None:
    """The pyramid must count from the stride at which the backbone gives its maps.

    Boxes would otherwise be looked for at other places and sizes than the maps show.

    Raises:
        ConfigError: patches of another size than ``neck.in_stride``; names both keys.
    """
    model = cfg.get('model', {})
    neck, backbone = model.get('neck') or {}, model.get('backbone') or {}
    if str(neck.get('type')).rsplit('.', 1)[-1] != 'SimpleFPN':
        return
    more = backbone.get('model_kwargs') or {}
    named = re.search(r'_patch(\d+)_', str(backbone.get('model_name')))
    key, patch = next(((k, v) for k, v in (
        ('patch_size', backbone.get('patch_size')),
        ('model_kwargs.patch_size', more.get('patch_size')),
        ('model_name', named and int(named[1]))) if v), ('patch_size', None))
    stride = neck.get('in_stride', 16)
    if patch is not None and patch != stride:
        told = f' ({backbone.model_name})' if key == 'model_name' else ''
        raise ConfigError(f'model.backbone.{key} is {patch}{told}, but model.neck.in_stride is '
                          f'{stride}, so every level would have another stride than it is taken '
                          'for; make them equal')


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


def _look_for(path: str, key: str) -> None:
    """A checkpoint that a config names must be there, unless it is a URL."""
    try:
        there, why = '://' in path or locate(path).is_file(), f"no checkpoint at '{path}'"
    except FileNotFoundError as error:  # a name that no folder holds
        there, why = False, str(error).rstrip('.')
    if not there:
        raise ConfigError(f'{key}: {why}. Train the stage that writes it, or give one with '
                          f'--cfg-options {key}=FILE')


def check_schedule(cfg: Config) -> None:
    """Say where a schedule of learning rates does not end with the run, as after a change of its
    length alone."""
    length, by_epoch = (cfg.get('train_cfg') or {}).get('max_iters'), False
    if length is None:
        length, by_epoch = (cfg.get('train_cfg') or {}).get('max_epochs'), True
    parts = cfg.get('param_scheduler') or []
    parts = [parts] if isinstance(parts, dict) else parts
    parts = parts if all(isinstance(part, dict) for part in parts) else []
    ends = [part.end for part in parts
            if part.get('by_epoch', True) == by_epoch and part.get('end') is not None]
    if length is not None and ends and max(ends) != length:
        key, unit = ('max_epochs', 'epochs') if by_epoch else ('max_iters', 'iterations')
        print_log('the learning rates of this config (param_scheduler) are planned for '
                  f'{max(ends)} {unit}, the run has {length} (train_cfg.{key}); give '
                  'param_scheduler the same length, or the rates stop on their way',
                  logger='current', level=30)


def check_start(model: torch.nn.Module, checkpoint: str) -> None:
    """Refuse to train on from a checkpoint of another backbone; heads may differ.

    Positions learned on another grid are interpolated while they are loaded, where the backbone
    does so; it is told here what the file says of its own.

    Raises:
        CheckpointError: parameters of the backbone are missing, are of another shape, or are left
            over.
    """
    while is_model_wrapper(model):
        model = model.module
    if '://' in checkpoint or not hasattr(model, 'backbone'):
        return
    heed, told = getattr(model.backbone, 'heed', None), read_description(checkpoint)
    state = {k.removeprefix('module.'): v for k, v in read_state_dict(checkpoint, '').items()}
    own = model.state_dict()
    if heed is not None:
        heed(told, checkpoint)
    for name, module in model.named_modules():
        for hook in module._load_state_dict_pre_hooks.values():
            hook(state, f'{name}.' if name else '', {}, False, [], [], [])
    misfits = misfits_of_backbone({k: v.shape for k, v in state.items()},
                                  {k: v.shape for k, v in own.items()})
    if misfits:
        raise CheckpointError(f'load_from: {checkpoint} is of another backbone: {misfits}. Give '
                              'the config the arch, patch_size and img_size of the checkpoint, or '
                              'start a backbone alone by model.backbone.init_cfg')
    if heed is not None:
        heed(told, checkpoint)  # holds for one loading, and the real one comes now


def misfits_of_backbone(theirs: dict[str, torch.Size], ours: dict[str, torch.Size]) -> str:
    """In words, what of a backbone does not fit; by shapes of whole models."""
    def of_backbone(shapes: dict[str, torch.Size]) -> set[str]:
        return {k for k in shapes if k.startswith('backbone.') and not k.endswith('.mask_token')}

    here, there = of_backbone(ours), of_backbone(theirs)
    wrong = {f'{k}: {tuple(theirs[k])} in the file, {tuple(ours[k])} in the model'
             for k in here & there if theirs[k] != ours[k]}
    words = [f"{len(keys)} {what} ({'; '.join(sorted(keys)[:3])})" for what, keys in (
        ('keys are not in the file', here - there), ('keys have no place in it', there - here),
        ('have another shape', wrong)) if keys]
    return ', '.join(words)


def check_whole(model: torch.nn.Module, checkpoint: str) -> dict[str, torch.Tensor]:
    """Read a checkpoint and refuse to evaluate a model that the checkpoint does not fill.

    Raises:
        CheckpointError: parameters are missing, of another shape, or of the backbone and left
            over, or the file says that its backbone computed something else with them (softmax for
            linear attention, say).
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
    surplus = [k for k in state if k.startswith('backbone.') and k not in own
               and not k.endswith('.mask_token')]
    if missing or wrong or surplus:
        raise CheckpointError(
            f"{checkpoint} is no checkpoint of this config's model: {len(missing)} keys are "
            f'missing ({missing[:3]}), {len(wrong)} have another shape ({wrong[:3]}), '
            f'{len(surplus)} of its backbone have no place in it ({surplus[:3]}). '
            'A student.pth holds the backbone alone; give the checkpoint that training with this '
            'config wrote.')
    return state
