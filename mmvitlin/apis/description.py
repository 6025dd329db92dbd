"""Description that is stored in an exported file, so that running it needs no config."""
from __future__ import annotations

import mmvitlin
from mmvitlin.apis.data_sets import names_and_colours
from mmvitlin.apis.shown_by_tests import max_value, resizing, steps_of_test, turns


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
        for any; 'patch_size'; 'pads_to' and 'multiple' (pixels that the file itself pads to
        multiples of, and the test before it cuts windows); 'precision' of its weights; 'finished';
        and, of segmentors and classifiers, 'classes', 'palette', 'max_value' (white of images of
        16 bits, None for 65535), 'turn' (whether images are turned as their camera says), 'resize'
        (what the test pipeline does to an image first: 'scale' with 'keep_ratio', 'factor', one or
        (across, down), or 'short_edge'; 'pillow', a filter of Pillow's, else bilinear without
        smoothing; 'crop', a side or (width, height)); of segmentors 'align_corners', 'threshold'
        and 'stride' ((down, right) of the windows that the config tests in, or None).

    Raises:
        ConfigError: a test pipeline with a step that the file would leave out.
    """
    net = deployed.net
    mean, std = ([float(v) for v in values.flatten()] for values in (deployed.mean, deployed.std))
    if not deployed.rgb:  # of the network's order, which is the reverse
        mean, std = mean[::-1], std[::-1]
    about = dict(version=mmvitlin.__version__, task='features', outputs=list(deployed.outputs),
                 input='(B, 3, H, W) float32 RGB, 0 to 255', mean=mean, std=std,
                 network_colours='RGB' if deployed.rgb else 'BGR',
                 size=None if dynamic else list(size), precision='fp32',
                 patch_size=deployed.patch, pads_to=deployed.pads_to,
                 multiple=deployed.multiple, finished=bool(deployed.finished))
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
    steps = steps_of_test(dataset)
    return dict(about, classes=list(map(str, classes)), palette=palette.tolist(),
                resize=resizing(steps, about['task'] == 'classification'),
                max_value=max_value(steps), turn=turns(steps))
