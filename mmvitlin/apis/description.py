"""Description that is stored in an exported file, so that running it needs no config."""
from __future__ import annotations

import logging

from mmengine.config import Config
from mmengine.logging import print_log

import mmvitlin
from mmvitlin.apis.data_sets import names_and_colours
from mmvitlin.utils.errors import ConfigError


def describe(deployed, size: tuple[int, int], dynamic: bool) -> dict:
    """Plain values, to be kept in a file as JSON.

    Args:
        deployed: A :class:`mmvitlin.apis.export.Deployed`.
        size: (height, width) that it is traced at.
        dynamic: Whether it takes other sizes.

    Returns:
        'version'; 'task' ('segmentation', 'classification' or 'features'); 'outputs'; 'input' (what
        images must be); 'mean' and 'std' (in the order of the image's colours; the file normalises
        itself); 'network_colours' ('RGB' or 'BGR', which the file sees to as well); 'size' or None
        for any; 'patch_size'; 'precision' of its weights; 'finished'; and, of segmentors and
        classifiers, 'classes', 'palette', 'max_value' (white of images of 16 bits, None for
        65535), 'resize' (what the test pipeline does to an image first: 'scale' with
        'keep_ratio', 'factor' or 'short_edge'; 'pillow', a filter of Pillow's, else bilinear
        without smoothing; 'crop', a side or (width, height)); of segmentors 'align_corners',
        'threshold' and 'stride' ((down, right) of the windows that the config tests in, or None).

    Raises:
        ConfigError: a test pipeline that resizes the longer edge.
    """
    net = deployed.net
    backbone = getattr(net, 'backbone', net)
    mean, std = ([float(v) for v in values.flatten()] for values in (deployed.mean, deployed.std))
    if not deployed.rgb:  # of the network's order, which is the reverse
        mean, std = mean[::-1], std[::-1]
    about = dict(version=mmvitlin.__version__, task='features', outputs=list(deployed.outputs),
                 input='(B, 3, H, W) float32 RGB, 0 to 255', mean=mean, std=std,
                 network_colours='RGB' if deployed.rgb else 'BGR',
                 size=None if dynamic else list(size), precision='fp32',
                 patch_size=getattr(backbone, 'patch_size', 1), finished=bool(deployed.finished))
    if hasattr(net, 'decode_head'):
        head = net.decode_head
        about.update(task='segmentation', align_corners=bool(net.align_corners),
                     threshold=getattr(head, 'threshold', None),
                     stride=deployed.windows and list(deployed.windows[1]))
        count = max(head.num_classes, 2) if head.out_channels == 1 else head.num_classes
    elif hasattr(net, 'head'):
        about.update(task='classification')
        count = net.head.num_classes
    else:
        return about
    dataset = (deployed.config or {}).get('test_dataloader', {}).get('dataset') or {}
    classes, palette = names_and_colours(dataset, count)
    return dict(about, classes=list(map(str, classes)), palette=palette.tolist(),
                resize=_resize(dataset), max_value=max_value(dataset))


def max_value(dataset: dict | Config) -> int | None:
    """White of images of 16 bits, as the test pipeline reads them; None for 65535."""
    return next((step['max_value'] for step in dataset.get('pipeline') or ()
                 if step['type'].split('.')[-1] == 'LoadImage' and step.get('max_value')), None)


def _resize(dataset: dict | Config) -> dict | None:
    """What the test pipeline does to an image's size; None for nothing."""
    resize: dict = {}
    pillow = None
    for step in dataset.get('pipeline') or ():
        kind = step['type'].split('.')[-1]
        if kind == 'Resize' and step.get('scale') is not None:
            scale = step['scale']
            scale = [scale, scale] if isinstance(scale, (int, float)) else list(scale)
            resize = dict(scale=scale, keep_ratio=bool(step.get('keep_ratio', False)))
            pillow = _filter_of(step)
        elif kind == 'Resize' and isinstance(step.get('scale_factor'), (int, float)):
            resize = dict(factor=step['scale_factor'])
            pillow = _filter_of(step)
        elif kind == 'ResizeEdge' and step.get('edge', 'short') != 'short':
            raise ConfigError(f"the test pipeline's ResizeEdge has edge={step['edge']!r}; with "
                              "edge='short' it can be exported")
        elif kind == 'ResizeEdge':
            resize = dict(short_edge=step['scale'])
            pillow = _filter_of(step)
        elif kind == 'CenterCrop':
            size = step['crop_size']
            resize['crop'] = size if isinstance(size, int) else list(size)
    if pillow:
        resize['pillow'] = pillow
    return resize or None


def _filter_of(step: dict) -> str | None:
    """Pillow's filter of a step that resizes; None for OpenCV's bilinear one, which is ours too."""
    method = step.get('interpolation', 'bilinear')
    if step.get('backend', 'cv2') == 'pillow':
        return method
    if method != 'bilinear':
        print_log(f"the test pipeline resizes by OpenCV's {method} filter, an exported file by "
                  "Pillow's: labels may differ", logger='current', level=logging.WARNING)
        return {'area': 'box', 'lanczos': 'lanczos', 'nearest': 'nearest'}.get(method, method)
    return None
