"""Loaders, loops, schedules and test settings that would fail later, or never end."""
from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterator

from mmengine.registry import DATA_SAMPLERS, METRICS

from mmvitlin.compat.kinds import class_of, kind_of
from mmvitlin.engine.rules.context import Context, as_list, dicts_below, warn
from mmvitlin.utils.errors import ConfigError

_POOLING = frozenset(('UPerHead', 'PSPHead', 'ASPPHead', 'DepthwiseSeparableASPPHead', 'APCHead'))
_SCALING = {'enable', 'base_batch_size', 'accumulative_counts'}
_TESTING = {'mode', 'crop_size', 'stride', 'strip_mib', 'top_k', 'probabilities', 'compact_labels'}
_OF_MMSEG = frozenset(('EncoderDecoder', 'CascadeEncoderDecoder'))
_BATCH_NORMS = frozenset(('BN', 'BN2d', 'SyncBN', 'MMSyncBN'))


def workers(context: Context) -> None:
    """Options of worker processes are for loaders that have some.

    Raises:
        ConfigError: names the key.
    """
    for name in context.loaders:
        loader = context.loader(name)
        if not loader or loader.get('num_workers', 0):
            continue
        for option in ('persistent_workers', 'prefetch_factor'):
            if loader.get(option):
                raise ConfigError(f'{name}.num_workers is 0, and {name}.{option}='
                                  f'{loader[option]} is of worker processes; take it out, or give '
                                  f'--cfg-options {name}.{option}='
                                  f"{False if option == 'persistent_workers' else None}")


def _is_infinite(loader: dict) -> bool:
    sampler = loader.get('sampler')
    known = class_of(sampler, DATA_SAMPLERS) if isinstance(sampler, dict) else None
    names = {base.__name__ for base in getattr(known, '__mro__', ())} | {kind_of(sampler)}
    return 'InfiniteSampler' in names


def _by_epoch(cfg) -> bool:
    """Whether the training loop counts epochs."""
    loop = cfg.get('train_cfg') or {}
    return kind_of(loop) == 'EpochBasedTrainLoop' or bool(loop.get('by_epoch')) or (
        not kind_of(loop) and 'max_epochs' in loop and 'max_iters' not in loop)


def samplers(context: Context) -> None:
    """Loops that count epochs have finite samplers.

    Raises:
        ConfigError: an epoch, a validation or a test would never end; names the sampler.
    """
    cfg = context.cfg
    for name in context.loaders:
        loader = context.loader(name)
        ends = name != 'train_dataloader' or _by_epoch(cfg)
        if ends and _is_infinite(loader) and 'num_batch_per_epoch' not in loader:
            what = 'an epoch of training' if name == 'train_dataloader' else 'an evaluation'
            raise ConfigError(f'{name}.sampler is {loader["sampler"]["type"]}, with which {what} '
                              "never ends; take dict(type='mmvitlin.SeededSampler', shuffle="
                              f"{name == 'train_dataloader'})")
    train = context.loader('train_dataloader')
    if context.purpose == 'train' and kind_of(cfg.get('train_cfg')) == 'IterBasedTrainLoop' \
            and train.get('sampler') and not _is_infinite(train):
        warn(f"train_dataloader.sampler is {kind_of(train['sampler'])} in a loop that counts "
             'iterations: every epoch starts its workers anew, and a resumed run reads all that it '
             "has seen before; take dict(type='mmvitlin.SeededInfiniteSampler', shuffle=True)")


def whole_evaluations(context: Context) -> None:
    """An evaluation sees every sample.

    Raises:
        ConfigError: ``drop_last`` of a loader whose metric is of all samples.
    """
    for name in context.loaders:
        if name != 'train_dataloader' and context.loader(name).get('drop_last'):
            raise ConfigError(f'{name}.drop_last=True leaves samples out of the metric; set it '
                              'False')


def schedulers_of(cfg) -> list[tuple[str, dict]]:
    """(key, config) of the learning rates' schedules."""
    parts = cfg.get('param_scheduler')
    if isinstance(parts, dict) and 'type' not in parts:  # of several optimisers
        parts = [part for some in parts.values() for part in as_list(some)]
    return [(f'param_scheduler.{n}', part) for n, part in enumerate(as_list(parts))
            if isinstance(part, dict)]


def schedule(context: Context) -> None:
    """Learning rates count what the loop counts, and end with the run.

    Raises:
        ConfigError: a schedule by epochs in a run by iterations, where it would never step.
    """
    cfg = context.cfg
    loop = cfg.get('train_cfg') or {}
    by_epoch = _by_epoch(cfg)
    length = loop.get('max_epochs' if by_epoch else 'max_iters')
    parts = schedulers_of(cfg)
    if kind_of(loop) == 'IterBasedTrainLoop':
        for key, part in parts:
            if part.get('by_epoch', True) and not part.get('convert_to_iter_based') \
                    and not kind_of(part).startswith('ReduceOnPlateau'):
                raise ConfigError(
                    f'{key} ({kind_of(part)}) counts epochs, and train_cfg counts iterations, so '
                    f'it would never change a rate; give {key}.by_epoch=False and its lengths in '
                    'iterations')
        saving = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
        if saving and saving.get('by_epoch', True) and saving.get('interval', -1) > 0:
            warn('default_hooks.checkpoint counts epochs (by_epoch=True), and train_cfg counts '
                 'iterations: a checkpoint is written only at the end; set '
                 'default_hooks.checkpoint.by_epoch=False and interval in iterations')
    ends = [part.get('end') for _, part in parts if part.get('by_epoch', True) == by_epoch]
    if isinstance(length, int) and ends and all(isinstance(end, int) for end in ends) \
            and max(ends) != length:
        key, unit = ('max_epochs', 'epochs') if by_epoch else ('max_iters', 'iterations')
        warn('the learning rates of this config (param_scheduler) are planned for '
             f'{max(ends)} {unit}, the run has {length} (train_cfg.{key}); give '
             'param_scheduler the same length, or the rates stop on their way')


def misspelt(context: Context) -> None:
    """Options that nothing reads are not those that something does, misspelt. Other keys may be
    for a head of the user's.

    Raises:
        ConfigError: names the key, and the one that is meant.
    """
    metrics = [(key, metric, _arguments(metric)) for loader in context.loaders
               for key, metric in context.evaluators(loader)]
    for where, options, known in (
            ('auto_scale_lr', context.cfg.get('auto_scale_lr'), _SCALING),
            ('model.test_cfg', context.model.get('test_cfg') if 'decode_head' in context.model
             else None, _TESTING), *metrics):
        for key in set(options if isinstance(options, dict) else ()) - known:
            if near := difflib.get_close_matches(key, known, 1, cutoff=0.75):
                raise ConfigError(f"{where} has no '{key}', which would change nothing; it has "
                                  f"'{near[0]}'")


def _arguments(metric: dict) -> set[str]:
    """Those of a metric, of which many take any besides, and pass them over or hand them on."""
    names = {'type'}
    for kind in getattr(class_of(metric, METRICS), '__mro__', ()):
        names |= set(inspect.signature(kind).parameters) if kind is not object else set()
    return names


def windows(context: Context) -> None:
    """Windows of a test have a height and a width, and leave no gaps; a segmentor of mmseg is told
    whether there are any.

    Raises:
        ConfigError: names the key.
    """
    test = context.model.get('test_cfg')
    test = test if isinstance(test, dict) else {}
    tests = context.loader('val_dataloader' if context.purpose == 'train' else 'test_dataloader')
    if 'mode' not in test and tests and context.purpose in ('train', 'test') and str(
            context.model.get('type')).removeprefix('mmseg.') in _OF_MMSEG:
        raise ConfigError(f'model.test_cfg.mode is not given, and {kind_of(context.model)} needs '
                          "it; set model.test_cfg=dict(mode='whole')")
    if test.get('mode') not in ('slide', 'slide_flip'):
        if test.get('mode') not in (None, 'whole') and 'decode_head' in context.model:
            raise ConfigError(f"model.test_cfg.mode is '{test['mode']}'; take 'whole' or 'slide'")
        return
    for key in ('crop_size', 'stride'):
        pair = test.get(key)
        if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not all(
                isinstance(n, int) and n > 0 for n in pair):
            side = pair if isinstance(pair, int) else 512
            raise ConfigError(f"model.test_cfg.{key} is {pair!r}; mode='slide' needs (height, "
                              f'width), such as ({side}, {side})')
    if any(step > side for step, side in zip(test['stride'], test['crop_size'], strict=True)):
        raise ConfigError(f"model.test_cfg.stride {tuple(test['stride'])} is larger than crop_size "
                          f"{tuple(test['crop_size'])}, which leaves pixels that no window covers; "
                          'take at most the crop, two thirds of it as a rule')


def lone_samples(context: Context) -> None:
    """Heads that normalise one pooled value a channel over the batch get more than one image.

    Raises:
        ConfigError: a batch of one; names head, norm and remedy.
    """
    if context.purpose != 'train':
        return
    head = next(_pooled(context.model), None)
    if head and context.loader('train_dataloader').get('batch_size') == 1:
        key, kind, norm = head
        if norm.startswith(('Sync', 'MMSync')) and context.processes > 1:
            return
        raise ConfigError(
            f'train_dataloader.batch_size is 1, and {key} ({kind}) pools to one value a channel, '
            f'which {norm} cannot normalise over one image; take at least 2, or '
            f"{key}.norm_cfg=dict(type='GN', num_groups=32)")


def _pooled(model: dict) -> Iterator[tuple[str, str, str]]:
    """(key, type, norm) of heads that pool a whole image and normalise over the batch."""
    for name in ('decode_head', 'auxiliary_head'):
        for key, head in dicts_below(model.get(name), f'model.{name}'):
            norm = kind_of(head.get('norm_cfg'))
            scales = as_list(head.get('pool_scales')) or [1]
            if kind_of(head) in _POOLING and 1 in scales and norm in _BATCH_NORMS:
                yield key, kind_of(head), norm


def lone_samples_kind(cfg) -> str | None:
    """Type and norm of a head that cannot train on one image; None where there is none."""
    return next((f'{kind} with {norm}' for _, kind, norm in _pooled(cfg.get('model') or {})), None)


def sizes(context: Context) -> None:
    """The preprocessor pads to the size that the pipeline crops to."""
    key, settings = context.preprocessor
    size = settings.get('size')
    if context.purpose != 'train' or not isinstance(size, (list, tuple)) or len(size) != 2:
        return
    for loader, _, steps in context.pipelines():
        crops = [(place, tuple(step['crop_size'])) for place, step in steps
                 if kind_of(step) == 'RandomCrop'
                 and isinstance(step.get('crop_size'), (list, tuple))
                 and step.get('crop_type', 'absolute') == 'absolute']
        if loader != 'train_dataloader' or not crops:
            continue
        place, crop = crops[-1]
        if len(crop) == 2 and crop != tuple(size) and (crop[::-1] == tuple(size)):
            warn(f'{key}.size is {tuple(size)} and {place}.crop_size {crop}: both are (height, '
                 'width), so every crop is padded; make them equal')
        elif len(crop) == 2 and crop != tuple(size):
            warn(f'{key}.size is {tuple(size)}, and {place}.crop_size {crop}; crops are padded '
                 'where they are smaller')
