"""What kind of value a key takes, before anything asks it for more."""
from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

from mmengine.config import Config

from mmvitlin.utils.errors import ConfigError

OPTIONS, BUILT, LIST, EITHER = ('a dict', 'a dict with a type', 'a list of dicts, each with a type',
                                'a dict with a type, or a list of those')
NUMBERS = 'a list of numbers'
KINDS = {  # key → what it takes, unless it is None or absent; * is one part of a key
    'model': BUILT,
    **dict.fromkeys((f'model.{key}' for key in (
        'backbone', 'neck', 'head', 'decode_head', 'auxiliary_head', 'rpn_head', 'roi_head',
        'bbox_head', 'panoptic_head', 'teacher.backbone')), EITHER),
    'model.objectives.*': BUILT,
    **dict.fromkeys((f'model.{key}' for key in (
        'data_preprocessor', 'data_preprocessor.test_cfg', 'train_cfg', 'test_cfg', 'teacher',
        'objectives')), OPTIONS),
    **dict.fromkeys((f'model.{of}.{key}' for of in ('data_preprocessor', 'teacher')
                     for key in ('mean', 'std')), NUMBERS),
    '*_dataloader': OPTIONS,
    **dict.fromkeys((f'*_dataloader.{key}' for key in (
        'dataset', 'sampler', 'batch_sampler', 'worker_init_fn')), BUILT),
    '*_evaluator': EITHER,
    **dict.fromkeys(('optim_wrapper', 'optim_wrapper.clip_grad', 'optim_wrapper.paramwise_cfg',
                     'optim_wrapper.paramwise_cfg.custom_keys',
                     'optim_wrapper.paramwise_cfg.custom_keys.*'), OPTIONS),
    'optim_wrapper.optimizer': BUILT, 'param_scheduler': EITHER,
    'default_hooks': OPTIONS, 'default_hooks.*': BUILT, 'custom_hooks': LIST,
    'visualizer': BUILT, 'visualizer.vis_backends': LIST,
    **dict.fromkeys(('train_cfg', 'val_cfg', 'test_cfg', 'env_cfg', 'env_cfg.mp_cfg',
                     'env_cfg.dist_cfg', 'log_processor', 'randomness', 'auto_scale_lr'), OPTIONS)}
ANYWHERE = {  # in the network, at any depth
    **dict.fromkeys(('act_cfg', 'conv_cfg', 'norm_cfg'), BUILT), 'init_cfg': EITHER,
    **dict.fromkeys(('loss_bbox', 'loss_cls', 'loss_decode', 'loss_dice', 'loss_mask'), EITHER)}
OF_DATASET = {'dataset': BUILT, 'datasets': LIST, 'pipeline': LIST, 'metainfo': OPTIONS}


def check_kinds(cfg: Config, typed: bool = True) -> None:
    """A number, a word or a list where a dict belongs fails deep in a library, or is left out.

    Args:
        cfg: A resolved config, or parts of one.
        typed: Whether what a registry builds must have its type.

    Raises:
        ConfigError: names the key, and says what it takes.
    """
    top = dict(cfg.items())
    for pattern, kind in KINDS.items():
        for key, value in _matches(top, pattern.split('.')):
            _demand(key, value, kind, typed)
    for key, value in _matches(top, ['*_dataloader', 'dataset']):
        _dataset(key, value, typed)
    _anywhere('model', top.get('model') or {}, typed)


def _anywhere(key: str, node: dict | list | tuple, typed: bool) -> None:
    for name, value in node.items() if isinstance(node, dict) else enumerate(node):
        if value is not None and name in ANYWHERE:
            _demand(f'{key}.{name}', value, ANYWHERE[name], typed)
        if isinstance(value, (dict, list, tuple)):
            _anywhere(f'{key}.{name}', value, typed)


def _matches(node: dict, parts: list[str], at: str = '') -> Iterator[tuple[str, object]]:
    """Values under a pattern, with their keys; what is missing or None is left out."""
    first, *rest = parts
    for name, value in node.items():
        if value is not None and fnmatchcase(str(name), first):
            if not rest:
                yield f'{at}{name}', value
            elif isinstance(value, dict):
                yield from _matches(value, rest, f'{at}{name}.')


def _dataset(key: str, cfg: dict, typed: bool) -> None:
    """A data set and those that it wraps."""
    for name, kind in OF_DATASET.items():
        inner = cfg.get(name)
        if inner is None:
            continue
        _demand(f'{key}.{name}', inner, kind, typed)
        if name in ('dataset', 'datasets'):
            for number, one in enumerate(inner if isinstance(inner, (list, tuple)) else [inner]):
                _dataset(f'{key}.{name}' + f'.{number}' * (one is not inner), one, typed)


def _demand(key: str, value: object, kind: str, typed: bool) -> None:
    if kind == LIST or (kind == EITHER and isinstance(value, (list, tuple))):
        if not isinstance(value, (list, tuple)):
            raise ConfigError(_words(key, value, kind))
        for number, item in enumerate(value):
            _demand(f'{key}.{number}', item, BUILT, typed)
    elif kind == NUMBERS:
        if not isinstance(value, (list, tuple)) or not all(
                isinstance(item, (int, float)) for item in value):
            raise ConfigError(_words(key, value, kind))
    elif not isinstance(value, dict):
        raise ConfigError(_words(key, value, kind))
    elif typed and kind != OPTIONS and 'type' not in value:
        if kind == EITHER and value and all(isinstance(v, (dict, list)) for v in value.values()):
            return  # param_scheduler of several optimisers, by name
        raise ConfigError(f'{key} has no type, by which it is built; it has {sorted(value) or "no"}'
                          " keys. Give one, or inherit a config that does")


def _words(key: str, value: object, kind: str) -> str:
    text = repr(value)
    text = text if len(text) <= 60 else f'{text[:57]}...'
    return f'{key}={text} is a {type(value).__name__}; it takes {kind}'
