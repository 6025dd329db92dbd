"""Numbers that train nothing, or that end in an error of a library that names no key."""
from __future__ import annotations

from collections.abc import Iterator

from mmvitlin.compat.kinds import kind_of
from mmvitlin.engine.rules.context import Context, as_list, dicts_below, warn
from mmvitlin.utils.errors import ConfigError

_CLASS_COUNTS = ('num_classes', 'num_things_classes', 'num_stuff_classes')


def _is_number(value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def whole(context: Context) -> None:
    """Sizes of batches, lengths and intervals are whole numbers above 0.

    Raises:
        ConfigError: names the key.
    """
    for key, value, least in _counts(context):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ConfigError(f'{key} is {value!r}; it must be a whole number of at least {least}'
                              + (', or without validation: set val_dataloader, val_cfg and '
                                 'val_evaluator to None' if key.endswith('val_interval') else ''))


def _counts(context: Context) -> Iterator[tuple[str, object, int]]:
    """(key, value, least) of what counts something."""
    for name in context.loaders:
        loader = context.loader(name)
        for option, least in (('batch_size', 1), ('num_workers', 0)):
            if loader.get(option) is not None:
                yield f'{name}.{option}', loader[option], least
    if context.purpose != 'train':
        return
    loop, wrapper = (context.cfg.get(key) or {} for key in ('train_cfg', 'optim_wrapper'))
    for option in ('max_iters', 'max_epochs', 'val_interval'):
        if loop.get(option) is not None:
            yield f'train_cfg.{option}', loop[option], 1
    if wrapper.get('accumulative_counts') is not None:
        yield 'optim_wrapper.accumulative_counts', wrapper['accumulative_counts'], 1
    for _, _, steps in context.pipelines():
        for place, step in steps:
            if kind_of(step) == 'RandomCrop' and step.get('crop_type', 'absolute') == 'absolute':
                for side in as_list(step.get('crop_size')):
                    yield f'{place}.crop_size', side, 1


def class_counts(context: Context) -> None:
    """Numbers of classes are whole numbers, of a head's classes above 0.

    Raises:
        ConfigError: names the key; of a list of names also its length.
    """
    parts = [*dicts_below(context.model, 'model'), *dicts_below(*reversed(context.preprocessor)),
             *(step for _, _, steps in context.pipelines() for step in steps),
             *(metric for loader in context.loaders for metric in context.evaluators(loader))]
    for place, part in parts:
        for name in _CLASS_COUNTS:
            value, least = part.get(name), int(name == 'num_classes' and 'head' in place)
            whole_number = isinstance(value, int) and not isinstance(value, bool)
            if value is None or whole_number and (value >= least or 'head' not in place):
                continue
            hint = ''
            if isinstance(value, (list, tuple, dict)):
                hint = (f': {len(value)} for these, whose names are metainfo.classes of the data '
                        'sets')
            raise ConfigError(f'{place}.{name} is {value!r}; it must be the number of classes, a '
                              f'whole number of at least {least}{hint}')


def learning(context: Context) -> None:
    """A step changes the weights; a learning rate of 0, which may be a trial, only warns.

    Raises:
        ConfigError: the learning rate is negative or NaN, or the norm that gradients are clipped
            to is not above 0.
    """
    wrapper = context.cfg.get('optim_wrapper') or {}
    clip = wrapper.get('clip_grad') or {}
    for key, value in (('optimizer.lr', (wrapper.get('optimizer') or {}).get('lr')),
                       ('clip_grad.max_norm', clip.get('max_norm')),
                       ('clip_grad.clip_value', clip.get('clip_value'))):
        if key == 'optimizer.lr' and _is_number(value) and value == 0:
            warn('optim_wrapper.optimizer.lr is 0: the run changes no weight')
        elif _is_number(value) and not value > 0:
            raise ConfigError(f'optim_wrapper.{key} is {value}, so nothing would be learned; it '
                              'must be above 0' + (' (optim_wrapper.clip_grad=None does not clip)'
                                                   if 'clip' in key else ''))
