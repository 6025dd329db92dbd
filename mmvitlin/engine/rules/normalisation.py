"""Normalisation of images: scale, order of channels, agreement with the weights."""
from __future__ import annotations

from mmvitlin.compat.kinds import kind_of
from mmvitlin.engine.rules.context import Context, as_list, dicts_below, of_library, warn
from mmvitlin.engine.rules.weights import has_weights
from mmvitlin.utils.errors import ConfigError
from mmvitlin.utils.normalisation import Normalisation, near, takes_rgb

_IMAGENET = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
_TIMM = frozenset(('TimmViT', 'TimmFeatures', 'TimmBackbone', 'TIMMBackbone'))
_SCALING = frozenset(('Normalize', 'ToFloat', 'ToTensor', 'ToPIL', 'Rescale'))


def plausible(context: Context) -> None:
    """Mean and deviation are those of images from 0 to 255, in the order of the channels.

    Raises:
        ConfigError: they are of images from 0 to 1, or are exchanged, or stand where the config's
            own preprocessor is no longer asked; names the key.
    """
    key, settings = context.preprocessor
    if key.startswith('model.') and 'type' not in settings and context.cfg.get('data_preprocessor'):
        raise ConfigError(f'{key} has {sorted(settings)} and no type, and would replace the '
                          "config's data_preprocessor, its order of channels too; set "
                          f'{key.removeprefix("model.")} instead')
    mean, std = as_list(settings.get('mean')), as_list(settings.get('std'))
    if len(mean) != 3 or len(std) != 3 or not all(
            isinstance(value, (int, float)) for value in (*mean, *std)):
        return
    if 0 < max(mean) <= 1 and max(std) <= 1 and not _scaled(context):
        raise ConfigError(f'{key}.mean {mean} and std {std} are of images from 0 to 1, and images '
                          'are read from 0 to 255; give them times 255')
    if near(mean, _IMAGENET[1], 1.) and near(std, _IMAGENET[0], 1.):
        raise ConfigError(f'{key}.mean and {key}.std are exchanged')
    if min(std) == 0:
        raise ConfigError(f'{key}.std holds 0, by which images would be divided')
    rgb, order = takes_rgb(settings), _IMAGENET[0]
    if near(mean, order[::-1] if rgb else order):
        warn(f"{key}.mean {mean} is in the order of {'BGR' if rgb else 'RGB'}, and the images are "
             f"{'RGB' if rgb else 'BGR'} (bgr_to_rgb={rgb}); reverse one of them")


def _scaled(context: Context) -> bool:
    """Whether a step may scale images to 0 to 1, as users' own steps may."""
    for _, _, steps in context.pipelines():
        for _, step in steps:
            if kind_of(step) in _SCALING or not of_library(step):
                return True
    return False


def alike(context: Context) -> None:
    """Where steps normalise images, those of training and evaluation do it alike.

    Raises:
        ConfigError: they differ, or one normalises and the other does not; names both.
    """
    first: tuple[str, tuple | None] | None = None
    for _, key, steps in context.pipelines(context.compared):
        flat = [inner for place, step in steps for inner in dicts_below(step, place)
                if kind_of(inner[1])]
        normalising = [(place, step) for place, step in flat if kind_of(step) == 'Normalize']
        if not steps or not normalising and not all(of_library(step) for _, step in flat):
            continue
        place, step = normalising[-1] if normalising else (f'{key}.pipeline', {})
        values = tuple(str(list(as_list(step.get(name)))) for name in ('mean', 'std')) + (
            step.get('to_rgb', True), ) if normalising else None
        if first is None:
            first = place, values
        elif values != first[1]:
            raise ConfigError(
                f'{first[0]} and {place} normalise images differently ({_in_words(first[1])}, and '
                f'{_in_words(values)}), so a network would be tested on other images than it was '
                'trained on; give both the same Normalize, or leave it to the data preprocessor')


def _in_words(values: tuple | None) -> str:
    return 'no Normalize' if values is None else 'mean {}, std {}, to_rgb {}'.format(*values)


def of_teacher(context: Context) -> None:
    """A teacher sees images as those that it was trained on.

    It goes by the student's preprocessor where its own mean is not given, and always by the
    student's order of channels.

    Raises:
        ConfigError: its checkpoint says that images were normalised otherwise, or a timm model
            would see BGR; names the keys.
    """
    teacher = context.model.get('teacher')
    key, settings = context.preprocessor
    if not isinstance(teacher, dict):
        return
    if settings.get('mean') is None and not _scaled(context):
        raise ConfigError(f'{key}.mean is not given, so teacher and student would see images from '
                          '0 to 255 as they are; give mean and std, such as '
                          f'{list(_IMAGENET[0])} and {list(_IMAGENET[1])}')
    network = teacher.get('model') or teacher.get('backbone') or {}
    path = teacher.get('checkpoint') or network.get('checkpoint')
    seen = None
    if isinstance(path, str) and '://' not in path:
        try:
            meta = context.meta(path)
        except FileNotFoundError:  # another rule says so
            return
        if 'teacher' not in meta:  # a fetched one brings its own mean
            seen = Normalisation.of_meta(meta)
    rgb, trained_rgb = takes_rgb(settings), _order(seen)
    if rgb != trained_rgb and (_knows_order(seen) or kind_of(network) in _TIMM and has_weights(
            dict(network, checkpoint=path))):
        name = 'to_rgb' if 'to_rgb' in settings else 'bgr_to_rgb'
        raise ConfigError(f"the teacher was trained on {'RGB' if trained_rgb else 'BGR'} images, "
                          f'and {key}.{name} is {rgb}; set it {trained_rgb}')
    for name in ('mean', 'std'):
        given = teacher.get(name) or settings.get(name)
        place = f'model.teacher.{name}' if teacher.get(name) else f'{key}.{name}'
        if seen is not None and _differs(given, getattr(seen, name)):
            raise ConfigError(f'{place} is {list(given)}, and the teacher, {path}, was trained '
                              f'with {list(getattr(seen, name))}; {_remedy(teacher, seen)}')


def _knows_order(seen: Normalisation | None) -> bool:
    return seen is not None and seen.rgb is not None


def _order(seen: Normalisation | None) -> bool:
    """Whether weights have seen RGB, as older files that do not say so have."""
    return seen.rgb if _knows_order(seen) else True


def _differs(given, trained: tuple[float, ...]) -> bool:
    return isinstance(given, (list, tuple)) and len(given) == len(trained) \
        and not near(given, trained)


def _remedy(teacher: dict, seen: Normalisation) -> str:
    if 'model' in teacher:  # of LogitDistillation, which has one preprocessor for both
        return 'set it so'
    return f'set model.teacher.mean={list(seen.mean)} and model.teacher.std={list(seen.std)}'


def of_start(context: Context) -> None:
    """A pretrained backbone sees images normalised as in its training.

    Raises:
        ConfigError: the student's file says that they were normalised otherwise.
    """
    backbone = context.model.get('backbone') or {}
    starts = [dict(checkpoint=backbone.get('checkpoint')), *as_list(backbone.get('init_cfg'))]
    path = next((s['checkpoint'] for s in starts if isinstance(s, dict) and s.get('checkpoint')),
                None)
    if not path or '://' in path:
        return
    meta = context.meta(path)
    if meta.get('finished') is False:
        warn(f'{path} is of a distillation that is not finished (iteration '
             f"{meta.get('iter')})")
    _compare(context, path, meta)


def of_checkpoint(context: Context) -> None:
    """A trained network sees images normalised as those that it was trained on.

    Raises:
        ConfigError: the checkpoint says that they were normalised otherwise.
    """
    if context.checkpoint and '://' not in str(context.checkpoint):
        _compare(context, str(context.checkpoint), context.meta(str(context.checkpoint)))


def _compare(context: Context, path: str, meta: dict) -> None:
    key, settings = context.preprocessor
    seen = Normalisation.of_meta(meta)
    if settings.get('mean') is None and seen is not None:
        step = next(((place, step) for _, _, steps in context.pipelines()
                     for place, step in reversed(steps) if kind_of(step) == 'Normalize'), None)
        if step is None and settings and not _scaled(context):
            raise ConfigError(f'{key}.mean is not given, and {path} was trained with '
                              f'mean={list(seen.mean)} and std={list(seen.std)}; set them')
        if step is not None:
            key, settings = step[0], dict(step[1], to_rgb=step[1].get('to_rgb', True)
                                          or takes_rgb(settings))
    rgb, trained_rgb = takes_rgb(settings), _order(seen)
    if settings and _knows_order(seen) and rgb != trained_rgb:
        name = 'to_rgb' if 'to_rgb' in settings else 'bgr_to_rgb'
        raise ConfigError(f"{path} was trained on {'RGB' if trained_rgb else 'BGR'} images, and "
                          f'{key}.{name} is {rgb}; set it {trained_rgb}')
    if seen is None or rgb != trained_rgb:
        return
    for name in ('mean', 'std'):
        given, trained = settings.get(name), getattr(seen, name)
        if _differs(given, trained):
            raise ConfigError(f'{key}.{name} is {list(given)}, and {path} was trained with '
                              f'{list(trained)}; set it so')
