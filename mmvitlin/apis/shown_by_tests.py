"""What a config's test shows its network: sizes, colours, windows, for files that go without it."""
from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from torch import Tensor

from mmvitlin.compat.kinds import is_kind
from mmvitlin.utils.errors import ConfigError
from mmvitlin.utils.normalisation import Normalisation, takes_rgb

_READING = ('LoadImage', 'LoadImageFromFile')
# steps that change nothing of an image, and Normalize, which a file does itself
_LABELS = ('LoadSegLabels', 'LoadAnnotations', 'LoadPanoptic', 'LoadPanopticAnnotations')
_KNOWN = (*_READING, 'PackImage', 'PackInputs', 'PackSegInputs', 'PackDetInputs', 'Normalize')


def steps_of_test(dataset: Mapping) -> list[dict]:
    """Steps of a test set's pipeline, of a set in other sets too.

    Raises:
        ConfigError: sets that are joined have different ones.
    """
    inner = dataset.get('dataset') or {}
    found = [steps_of_test(one) for one in dataset.get('datasets') or ([inner] if inner else ())]
    if any(steps != found[0] for steps in found):
        raise ConfigError('the data sets of test_dataloader have different pipelines, and an '
                          'exported file does what one of them does; give test_dataloader one')
    return list(dataset.get('pipeline') or (found[0] if found else ()))


def max_value(steps: Sequence[Mapping]) -> int | None:
    """White of images of 16 bits, as the test pipeline reads them; None for 65535."""
    return next((step['max_value'] for step in steps
                 if _kind(step) == 'LoadImage' and step.get('max_value')), None)


def turns(steps: Sequence[Mapping]) -> bool:
    """Whether the test pipeline turns images as their camera says."""
    kinds = [step.get('color_type', 'color') for step in steps if _kind(step) in _READING]
    return not any('ignore_orientation' in kind or kind == 'unchanged' for kind in kinds)


def reads_grey(cfg: Config) -> bool:
    """Whether the test pipeline reads images as grey."""
    return any(str(step.get('color_type', 'color')).startswith('grayscale')
               for step in _steps(cfg) if _kind(step) in _READING)


def grey_of(images: Tensor) -> Tensor:
    """Pillow's grey (B, 1, H, W) of RGB images (B, 3, H, W), of values 0 to 255.

    Its weights are multiples of 1/65536, so that float32 is exact.
    """
    weights = torch.tensor([19595., 38470., 7471.], device=images.device).view(1, 3, 1, 1)
    return ((images.float() * weights).sum(1, keepdim=True) / 65536 + 0.5).floor().to(images.dtype)


def _steps(cfg: Config) -> list[dict]:
    return steps_of_test((cfg.get('test_dataloader') or {}).get('dataset') or {})


def _kind(step: Mapping) -> str:
    return str(step['type']).split('.')[-1]


def resizing(steps: Sequence[Mapping], crops: bool) -> dict | None:
    """What the test pipeline does to an image's size; None for nothing.

    Args:
        steps: Of the pipeline.
        crops: Whether the network takes a part of the image, as classifiers do.

    Raises:
        ConfigError: a step that an exported file would leave out; names it.
    """
    resize: dict = {}
    for step in steps:
        kind, options = _kind(step), set(step) - {'type'}
        if kind in _KNOWN or is_kind(step, _LABELS):
            continue
        if resize and kind in ('Resize', 'ResizeEdge'):
            raise ConfigError(f'the test pipeline resizes twice ({resize}, then {kind}), and an '
                              'exported file does it once; make it one step')
        if kind == 'Resize' and options <= {'scale', 'keep_ratio', 'interpolation', 'backend',
                                            'clip_object_border'} and step.get('scale'):
            scale = step['scale']
            scale = [scale, scale] if isinstance(scale, (int, float)) else list(scale)
            resize = dict(scale=scale, keep_ratio=bool(step.get('keep_ratio', False)),
                          **_filter_of(step))
        elif kind == 'Resize' and step.get('scale_factor') and not step.get('scale'):
            factor = step['scale_factor']
            if not isinstance(factor, (int, float)):
                factor = list(factor)
                if step.get('keep_ratio') and factor[0] != factor[1]:
                    raise ConfigError("the test pipeline's Resize has two factors and keep_ratio, "
                                      'which say different things; drop one')
            resize = dict(factor=factor, **_filter_of(step))
        elif kind == 'ResizeEdge' and step.get('edge', 'short') == 'short':
            resize = dict(short_edge=step['scale'], **_filter_of(step))
        elif kind == 'CenterCrop' and crops:
            size = step['crop_size']
            resize['crop'] = size if isinstance(size, int) else list(size)
        else:
            given = {k: v for k, v in step.items() if k != 'type'}
            raise ConfigError(
                f"the test pipeline's {kind}{given or ''} would be left out by an exported file, "
                'which would then give other results; take it out of test_dataloader.dataset.'
                'pipeline and do it before the file sees the image')
    return resize or None


def _filter_of(step: Mapping) -> dict[str, str]:
    """Pillow's filter of a step that resizes; none for OpenCV's bilinear one, which is ours too."""
    method = step.get('interpolation', 'bilinear')
    if step.get('backend', 'cv2') == 'pillow':
        return dict(pillow=method)
    if method != 'bilinear':
        print_log(f"the test pipeline resizes by OpenCV's {method} filter, an exported file by "
                  "Pillow's: labels may differ", logger='current', level=logging.WARNING)
        return dict(pillow={'area': 'box'}.get(method, method))
    return {}


def windows_of(cfg: Config) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """(height, width) of the windows that a config tests in, and how far apart; None for none."""
    test = cfg.model.get('test_cfg') or {}
    if test.get('mode') != 'slide':
        return None
    return tuple(test['crop_size']), tuple(test['stride'])


def _preprocessor(cfg: Config) -> Mapping:
    return cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}


def multiple(cfg: Config, patch: int) -> int:
    """Pixels that a config's test pads images to multiples of.

    Raises:
        ConfigError: it pads to a size, or a classifier's images.
    """
    settings = _preprocessor(cfg)
    test = settings.get('test_cfg') or {}
    if test.get('size') or (settings.get('pad_size_divisor') or 1) > 1:
        raise ConfigError('an exported file does not pad images to a size; drop test_cfg.size and '
                          'pad_size_divisor of the data preprocessor')
    return math.lcm(patch, test.get('size_divisor') or 1)


def normalisation(cfg: Config) -> tuple[Sequence[float], Sequence[float], bool, bool]:
    """Mean and std of a config's network, in the order of its colours, whether that is RGB, and
    whether it is shown images as grey.

    Raises:
        ConfigError: both a step of the test pipeline and the preprocessor normalise, or turn BGR
            to RGB.
    """
    settings, grey = _preprocessor(cfg), reads_grey(cfg)
    known, rgb = Normalisation.of_config(settings), takes_rgb(settings)
    step = next((step for step in _steps(cfg) if _kind(step) == 'Normalize'), None)
    if step is None and known is None:
        channels = 1 if grey else 3
        return [0.] * channels, [1.] * channels, rgb, grey
    if step is None:
        return known.mean, known.std, known.rgb, grey
    if known is not None or rgb and step.get('to_rgb', True):
        raise ConfigError("both the test pipeline's Normalize and the data preprocessor "
                          f"{'turn BGR to RGB' if known is None else 'normalise'}; drop one")
    mean, std = step['mean'], step['std']
    return (mean[::-1], std[::-1], True, grey) if rgb else (
        mean, std, step.get('to_rgb', True), grey)
