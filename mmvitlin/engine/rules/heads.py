"""Numbers of classes of a network's heads, with their labels and losses."""
from __future__ import annotations

import re
from collections.abc import Iterator

from mmvitlin.compat.kinds import kind_of
from mmvitlin.engine.rules.classes import classes_of
from mmvitlin.engine.rules.context import Context, as_list, dataset_class, default_of, dicts_below
from mmvitlin.utils.errors import ConfigError

_HEADS = ('decode_head', 'auxiliary_head', 'head', 'bbox_head', 'mask_head', 'mask_iou_head',
          'point_head')
_OTHER_LABELS = frozenset(('STDCHead', ))  # boundaries, made of the labels
_BOX_HEADS = frozenset((
    'RetinaHead', 'FCOSHead', 'ATSSHead', 'GFLHead', 'TOODHead', 'VFNetHead', 'SSDHead',
    'YOLOXHead', 'RTMDetHead', 'RTMDetSepBNHead', 'DETRHead', 'DeformableDETRHead', 'DINOHead'))
_COUNTING = frozenset(('LabelSmoothLoss', 'SeesawLoss'))  # losses
_SOFTMAX = frozenset(('CrossEntropyLoss', 'PixelCrossEntropyLoss', 'LabelSmoothLoss',
                      'OhemCrossEntropy'))
_QUERIES = frozenset(('Mask2FormerHead', 'MaskFormerHead', 'DETRHead'))  # "no object" beside


def heads_of(model: dict, key: str = 'model') -> Iterator[tuple[str, dict, int]]:
    """(key, head, classes) of every head that counts the data set's classes."""
    for name in _HEADS:
        head = model.get(name)
        for n, one in enumerate(as_list(head)):
            if not isinstance(one, dict) or one.get('class_agnostic') \
                    or kind_of(one) in _OTHER_LABELS:
                continue
            place = f'{key}.{name}.{n}' if isinstance(head, (list, tuple)) else f'{key}.{name}'
            if isinstance(count := one.get('num_classes'), int):
                yield place, one, count
    for name in ('roi_head', 'student', 'detector'):
        if isinstance(model.get(name), dict):
            yield from heads_of(model[name], f'{key}.{name}')


def panoptic_of(model: dict) -> Iterator[tuple[str, dict, int, int]]:
    """(key, head, things, stuff) of the heads that count both."""
    for name in ('panoptic_head', 'panoptic_fusion_head', 'semantic_head'):
        head = model.get(name) or {}
        if 'num_things_classes' in head:
            yield (f'model.{name}', head, head['num_things_classes'],
                   head.get('num_stuff_classes', 0))


def counts(context: Context) -> None:
    """Heads, data sets and readers of labels count the same classes.

    A label above the head's classes otherwise ends in an index error or a device assertion.

    Raises:
        ConfigError: names the keys and their counts.
    """
    model = context.model
    if context.open_vocabulary:
        return
    both = list(panoptic_of(model))
    for key, _, things, stuff in both[1:]:
        if (things, stuff) != both[0][2:]:
            raise ConfigError(f'{both[0][0]} counts {both[0][2]} things and {both[0][3]} stuff, '
                              f'{key} counts {things} and {stuff}; make them equal')
    numbers = {f'{key}.num_classes': count for key, _, count in heads_of(model)}
    for place, head, _ in heads_of(model):
        numbers |= {f'{key}.num_classes': loss['num_classes'] for key, loss in dicts_below(
            head, place) if kind_of(loss) in _COUNTING and isinstance(loss.get('num_classes'), int)}
    key, settings = context.preprocessor
    if isinstance(settings.get('num_classes'), int):
        numbers[f'{key}.num_classes'] = settings['num_classes']
    if len(set(numbers.values())) > 1:
        raise ConfigError(f'the heads count different classes: {numbers}; make them equal')
    if both:  # boxes are of things
        key, _, things, stuff = both[0]
        for name, count in numbers.items():
            if count not in (things, things + stuff):
                raise ConfigError(f'{name} is {count}, but {key}.num_things_classes is {things}')
        numbers = {f'{key}.num_things_classes with num_stuff_classes': things + stuff}
    for name, count in list(numbers.items())[:1]:
        _compare_data(context, name, count)


def lone_class(context: Context) -> None:
    """A softmax has more than one class to choose from.

    Raises:
        ConfigError: of one class its loss is always 0; names the key.
    """
    for key, head, count in heads_of(context.model):
        losses = as_list(head.get('loss_decode' if 'decode_head' in key else 'loss'))
        if count == 1 and re.search(r'\.(decode_head|head)(\.\d+)?$', key) and all(
                kind_of(loss) in _SOFTMAX and not loss.get('use_sigmoid') for loss in losses):
            raise ConfigError(
                f'{key}.num_classes is 1, and the softmax of one class is 1 whatever the image, so '
                'nothing would be learned; count the background as a class too (of a segmentor: '
                'num_classes=2, out_channels=1 and a loss with use_sigmoid=True)')


def _compare_data(context: Context, name: str, count: int) -> None:
    for key, dataset in context.datasets(context.read):
        names = None if context.distils else classes_of(dataset)
        if names is not None and len(names) != count:
            raise ConfigError(f'{name} is {count}, but {key} ({kind_of(dataset)}) has '
                              f'{len(names)} classes; make them equal')
    for _, _, steps in context.pipelines():
        for place, step in steps:
            expected = step.get('num_classes', count)
            if kind_of(step) == 'LoadSegLabels' and expected != count:
                raise ConfigError(f'{name} is {count}, but {place} (LoadSegLabels) has '
                                  f'num_classes={expected}; make them equal')


def loss_names(context: Context) -> None:
    """The losses of a head are added up.

    Raises:
        ConfigError: one has a name without 'loss', which mmengine only logs.
    """
    for key, head, _ in heads_of(context.model):
        for place, loss in dicts_below(head, key):
            name = loss.get('loss_name')
            if isinstance(name, str) and 'loss' not in name:
                raise ConfigError(f"{place}.loss_name='{name}': only losses with 'loss' in their "
                                  f"names are added up; take 'loss_{name}'")


def class_weights(context: Context) -> None:
    """A loss that weighs classes has a weight for each.

    Raises:
        ConfigError: names the key and both counts.
    """
    model = context.model
    if context.open_vocabulary:
        return
    heads = [*heads_of(model), *((key, head, things + stuff)
                                 for key, head, things, stuff in panoptic_of(model))]
    for key, head, count in heads:
        for place, loss in dicts_below(head, key):
            if not re.search(r'\.loss\w*(\.\d+)?$', place):
                continue
            for name in ('class_weight', 'alpha'):
                weights = loss.get(name)
                if not isinstance(weights, (list, tuple)):
                    continue
                lengths = _weights_wanted(head, loss, count, place)
                if len(weights) not in lengths:
                    raise ConfigError(
                        f'{place}.{name} has {len(weights)} weights, and {key} has {count} classes'
                        f"; give {' or '.join(map(str, sorted(lengths)))}")


def _weights_wanted(head: dict, loss: dict, count: int, place: str) -> set[int]:
    """Lengths that a list of weights may have."""
    kind = kind_of(head)
    if kind in _QUERIES or kind.endswith('DETRHead') or 'num_queries' in head \
            or 'num_things_classes' in head and 'loss_cls' in place:
        return {count + 1}
    if '.bbox_head' in place and not loss.get('use_sigmoid'):
        return {count + 1}  # the background
    if head.get('out_channels') is not None:
        return {count, head['out_channels']}
    return {count}


def masks(context: Context) -> None:
    """Masks are read where a head learns them, and scored where a head gives them.

    Raises:
        ConfigError: names the key and the head.
    """
    model = context.model
    region_head = model.get('roi_head')
    learns = isinstance(region_head, dict) and bool(region_head.get('mask_head'))
    for loader, _, steps in context.pipelines():
        readers = [(place, step) for place, step in steps if kind_of(step) == 'LoadAnnotations'
                   and not step.get('with_mask')]
        if learns and loader == 'train_dataloader' and readers:
            raise ConfigError(f'model.roi_head.mask_head learns masks, and {readers[0][0]} reads '
                              f'none; set {readers[0][0]}.with_mask=True, or '
                              'model.roi_head.mask_head=None')
    boxes_only = isinstance(region_head, dict) and not learns or \
        kind_of(model.get('bbox_head')) in _BOX_HEADS and not model.get('mask_head')
    for loader in context.loaders if boxes_only else ():
        for place, metric in context.evaluators(loader):
            if 'segm' in as_list(metric.get('metric')):
                raise ConfigError(f"{place}.metric asks for 'segm', and a {kind_of(model)} without "
                                  f"a mask head gives only boxes; set {place}.metric='bbox'")


def strides(context: Context) -> None:
    """The pyramid counts from the stride at which the backbone gives its maps.

    Boxes would otherwise be looked for at other places and sizes than the maps show.

    Raises:
        ConfigError: patches of another size than ``neck.in_stride``; names both keys.
    """
    neck, backbone = context.model.get('neck') or {}, context.model.get('backbone') or {}
    if not isinstance(neck, dict) or kind_of(neck) != 'SimpleFPN':
        return
    more = backbone.get('model_kwargs') or {}
    named = re.search(r'_patch(\d+)_', str(backbone.get('model_name')))
    key, patch = next(((k, v) for k, v in (
        ('patch_size', backbone.get('patch_size')),
        ('model_kwargs.patch_size', more.get('patch_size')),
        ('model_name', named and int(named[1]))) if v), ('patch_size', None))
    stride = neck.get('in_stride', 16)
    if patch is not None and patch != stride:
        name = f" ({backbone['model_name']})" if key == 'model_name' else ''
        raise ConfigError(f'model.backbone.{key} is {patch}{name}, but model.neck.in_stride is '
                          f'{stride}, so every level would have another stride than it is taken '
                          'for; make them equal')


def ignored_labels(context: Context) -> None:
    """What readers, steps, heads, losses and metrics leave out is one label.

    Raises:
        ConfigError: another label is ignored than by the head; names both keys.
    """
    head = next((h for h in as_list(context.model.get('decode_head')) if isinstance(h, dict)), None)
    if head is None or context.distils:
        return
    expected = head.get('ignore_index', 255)
    for key, value, shown in _ignored(context):
        if value == expected:
            continue
        if shown:
            raise ConfigError(f'{key} is {value}, but model.decode_head.ignore_index is {expected}'
                              f"{'' if 'ignore_index' in head else ' (the default)'}; make them "
                              'equal, or pixels without a class are trained on or scored')
        raise ConfigError(f'model.decode_head.ignore_index is {expected}, but {key} is {value} '
                          '(the default); set it so')


def _ignored(context: Context) -> Iterator[tuple[str, int, bool]]:
    """(key, label, whether the config gives it) of every place that has a label to leave out."""
    for name in ('decode_head', 'auxiliary_head'):
        head = context.model.get(name)
        for n, one in enumerate(as_list(head)):
            key = f'model.{name}.{n}' if isinstance(head, (list, tuple)) else f'model.{name}'
            if not isinstance(one, dict) or kind_of(one) in _OTHER_LABELS:
                continue
            yield f'{key}.ignore_index', one.get('ignore_index', 255), 'ignore_index' in one
            for place, loss in dicts_below(one.get('loss_decode'), f'{key}.loss_decode'):
                if loss.get('ignore_index') is not None:
                    yield f'{place}.ignore_index', loss['ignore_index'], True
    key, settings = context.preprocessor
    if context.purpose == 'train' and kind_of(settings) in (
            'SegDataPreProcessor', 'SegPreprocessor'):
        yield f'{key}.seg_pad_val', settings.get('seg_pad_val', 255), 'seg_pad_val' in settings
    for _, _, steps in context.pipelines():
        for place, step in steps:
            yield from _ignored_by_step(place, step)
    for loader in context.loaders:
        for place, dataset in context.datasets((loader, )):
            if default_of(dataset_class(dataset), 'ignore_index') is not None \
                    and 'ignore_index' in dataset:
                yield f'{place}.ignore_index', dataset['ignore_index'], True
        for place, metric in context.evaluators(loader):
            if kind_of(metric) in ('IoUMetric', 'CityscapesMetric'):
                yield (f'{place}.ignore_index', metric.get('ignore_index', 255),
                       'ignore_index' in metric)


def _ignored_by_step(key: str, step: dict) -> Iterator[tuple[str, int, bool]]:
    names = {'LoadSegLabels': 'ignore_index', 'RandomCrop': 'ignore_index',
             'RandomRotate': 'seg_pad_val', 'RandomMosaic': 'seg_pad_val'}
    kind = kind_of(step)
    if kind in names:
        name = names[kind]
        if kind == 'RandomCrop' and name not in step:
            return  # mmseg's counts classes with it, others have none
        yield f'{key}.{name}', step.get(name, 255), name in step
    padding = step.get('pad_val')
    if kind == 'Pad':
        given = isinstance(padding, dict) and 'seg' in padding
        yield f'{key}.pad_val.seg', padding['seg'] if given else 255, given
