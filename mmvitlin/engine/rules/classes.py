"""Names of classes, compared wherever two lists of them meet."""
from __future__ import annotations

import json
import mmap
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from mmvitlin.compat.kinds import kind_of
from mmvitlin.engine.rules.context import Context, as_list, dataset_class, warn
from mmvitlin.utils.errors import ConfigError

_NEEDS_NAMES = frozenset((  # metrics that read the data set's names of classes
    'IoUMetric', 'CocoMetric', 'CocoScores', 'VOCMetric', 'LVISMetric', 'CocoPanopticMetric',
    'InstanceMetric', 'PanopticQuality', 'SemSegMetric', 'CityScapesMetric', 'OpenImagesMetric',
    'ConfusionMatrix'))
_COCO_METRICS = frozenset(('CocoMetric', 'CocoScores', 'InstanceMetric'))

_SPLITS = frozenset(('train', 'training', 'val', 'valid', 'validation', 'test', 'testing'))


def well_formed(context: Context) -> None:
    """A list of classes is a list of different names.

    Raises:
        ConfigError: it is one string, is empty, or has a name twice; names the key.
    """
    for key, dataset in context.datasets(context.read):
        for place, classes in _given(key, dataset):
            if isinstance(classes, str):
                if Path(classes).is_file():
                    continue
                raise ConfigError(
                    f"{place} is the string '{classes}', which would be taken for its letters; "
                    f"write ('{classes}', ), or the path of a file with a name a line")
            names = as_list(classes)
            if not names:
                raise ConfigError(f'{place} has no names; list them, or take the key out')
            if odd := [n for n in names if not isinstance(n, str) or not n.strip()]:
                raise ConfigError(f'{place} holds {odd[0]!r}, which is no name of a class')
            doubled = [n for n, count in Counter(names).items() if count > 1]
            if doubled and tuple(names) != _named_by_type('ImageNet'):
                raise ConfigError(f"{place} has '{doubled[0]}' twice; every class once")
            palette = (dataset.get('metainfo') or {}).get('palette')
            if isinstance(palette, (list, tuple)) and len(palette) < len(names):
                raise ConfigError(f'{key}.metainfo.palette has {len(palette)} colours for '
                                  f'{len(names)} classes; give one for each, or none')


def _named_by_type(kind: str) -> tuple[str, ...]:
    """Classes that a data set of mmpretrain has by itself."""
    known = dataset_class(dict(type=f'mmpretrain.{kind}'))
    return tuple((getattr(known, 'METAINFO', None) or {}).get('classes') or ())


def _given(key: str, dataset: dict) -> Iterator[tuple[str, object]]:
    metainfo = dataset.get('metainfo')
    if isinstance(metainfo, dict) and metainfo.get('classes') is not None:
        yield f'{key}.metainfo.classes', metainfo['classes']
    if dataset.get('classes') is not None:
        yield f'{key}.classes', dataset['classes']


def classes_of(dataset: dict) -> tuple[str, ...] | None:
    """Names of a data set's classes, None where they are only known after reading it."""
    for _, classes in _given('', dataset):
        if isinstance(classes, str):
            return tuple(line.strip() for line in Path(classes).read_text(
                encoding='utf-8').splitlines() if line.strip())
        return tuple(classes)
    known = getattr(dataset_class(dataset), 'METAINFO', None) or {}
    if known.get('classes'):
        return tuple(known['classes'])
    return _folders(dataset)


def _folders(dataset: dict) -> tuple[str, ...] | None:
    """Folders that mmpretrain's CustomDataset counts as classes."""
    prefix = dataset.get('data_prefix') or ''
    prefix = (prefix.get('img_path') or '') if isinstance(prefix, dict) else prefix
    place = Path(dataset.get('data_root') or '', prefix)
    if kind_of(dataset) != 'CustomDataset' or dataset.get('ann_file') or '://' in str(place) \
            or not dataset.get('with_label', True) or not place.is_dir():
        return None
    return tuple(sorted(p.name for p in place.iterdir() if p.is_dir())) or None


def misplaced(names: Sequence[str], others: Sequence[str]) -> str | None:
    """The first name that two lists count differently, as text; None where no name differs."""
    numbers: dict[str, list[int]] = {}
    for n, name in enumerate(others):
        numbers.setdefault(_plain(name), []).append(n)  # ImageNet has two cranes
    for n, name in enumerate(names):
        other = numbers.get(_plain(name), [n])[0]
        if n not in numbers.get(_plain(name), [n]):
            return f"'{name}' is class {n} in the first and {other} in the second"
    return None


def _plain(name: str) -> str:
    return re.sub(r'[\W_]+', '', str(name)).casefold()


def same_order(context: Context) -> None:
    """All data sets of a config number their classes alike.

    Where a trained network is run, its checkpoint says with which classes (``of_checkpoint``); the
    config's training set stands in for one that does not, and is not sure to be the one it had.

    Raises:
        ConfigError: a name has two numbers; names both keys.
    """
    if context.distils or context.open_vocabulary:
        return
    loaders = ('train_dataloader', 'val_dataloader', 'test_dataloader')
    first: tuple[str, tuple[str, ...]] | None = None
    for key, dataset in context.datasets(loaders):
        names = classes_of(dataset)
        if names is None:
            continue
        if first is None:
            first = key, names
        elif words := misplaced(first[1], names):
            message = (f'{first[0]} and {key} list their classes differently: {words}; give both '
                       'the same metainfo.classes')
            if context.purpose in ('train', 'data'):
                raise ConfigError(message)
            if not _says_classes(context):
                warn(message)
        elif len(names) == len(first[1]) and (other := _renamed(first[1], names)):
            warn(f'class {other} is called otherwise in {first[0]} ({first[1][other]}) and in '
                 f'{key} ({names[other]}); they are taken for the same')


def _says_classes(context: Context) -> bool:
    path = str(context.checkpoint or '')
    return bool(path) and '://' not in path and classes_in(context.meta(path)) is not None


def _renamed(names: Sequence[str], others: Sequence[str]) -> int | None:
    return next((n for n, (a, b) in enumerate(zip(names, others, strict=True))
                 if _plain(a) != _plain(b)), None)


def of_checkpoint(context: Context) -> None:
    """The checkpoint's classes are those of the config's data set.

    Raises:
        ConfigError: a name has two numbers; names the file.
    """
    path, training = context.checkpoint, context.purpose == 'train'
    if training:
        path = context.cfg.get('load_from')
    if context.distils or context.open_vocabulary or not path or '://' in str(path):
        return
    others = classes_in(context.meta(str(path)))
    loader = 'train_dataloader' if training else 'test_dataloader'
    for key, dataset in context.datasets((loader, )):
        names = classes_of(dataset)
        if not others or names is None:
            continue
        words = misplaced(names, others)
        message = (f'{key} and {path} list their classes differently: {words}; give '
                   f'{key}.metainfo.classes in the order of the file')
        if words and (not training or context.cfg.get('resume')):
            raise ConfigError(message)
        if words and len(names) == len(others):
            warn(message)  # its head is trained anew
        elif not training and len(names) != len(others):
            raise ConfigError(f'{key} has {len(names)} classes, and {path} was trained with '
                              f'{len(others)}: {list(others)[:4]} …; give it that list')


def classes_in(meta: dict) -> tuple[str, ...] | None:
    """Names of the classes that a checkpoint was trained with, None where it does not say."""
    kept = meta.get('dataset_meta')
    for source in (kept if isinstance(kept, dict) else {}, meta):
        names = source.get('classes') or source.get('CLASSES')
        if isinstance(names, (list, tuple)) and all(isinstance(n, str) for n in names):
            return tuple(names)
    return None


def named_for_metrics(context: Context) -> None:
    """A metric that reports by class finds the names of the classes.

    Raises:
        ConfigError: the data set has none; names key and metric.
    """
    for loader in context.loaders:
        needing = [f'{key} ({kind_of(metric)})' for key, metric in context.evaluators(loader)
                   if kind_of(metric) in _NEEDS_NAMES]
        for key, dataset in context.datasets((loader, )):
            known = dataset_class(dataset)
            plain = kind_of(dataset) in ('BaseSegDataset', 'BaseDetDataset', 'BaseDataset')
            if needing and (plain or known is not None and _declares_nothing(known)) \
                    and classes_of(dataset) is None:
                raise ConfigError(f'{key} has no names of classes, and {needing[0]} needs them; '
                                  f"give {key}.metainfo=dict(classes=('first', 'second', …))")


def _declares_nothing(known: type) -> bool:
    """Whether a type gives no names and reads its files as mmseg's base does."""
    loads = getattr(getattr(known, 'load_data_list', None), '__qualname__', '')
    return loads == 'BaseSegDataset.load_data_list'


def of_folders(context: Context) -> None:
    """Class folders are classes, and each has the same number in every split.

    Raises:
        ConfigError: a hidden folder, or splits, count as classes; names of classes are not in the
            order of the folders; or a list of files gives a folder another number.
    """
    first: dict[str, tuple[int, str]] = {}
    for key, dataset in context.datasets():
        folders = _folders(dataset)
        if folders is not None:
            _refuse_folders(key, folders)
            given = next((as_list(classes) for _, classes in _given(key, dataset)
                          if not isinstance(classes, str)), None)
            if given and sorted(given) == list(folders) != given:
                raise ConfigError(
                    f'{key}: folders are numbered in the order of their names, and the classes are '
                    f"given in another: {misplaced(given, folders)}; sort metainfo.classes")
        numbers = {name: n for n, name in enumerate(folders)} if folders else \
            _numbers_of_folders(dataset)
        for name, number in numbers.items():
            before, place = first.setdefault(name, (number, key))
            if before != number:
                raise ConfigError(f"{place} counts the folder '{name}' as class {before}, and "
                                  f'{key} as class {number}; give both the same numbers')


def _refuse_folders(key: str, folders: Sequence[str]) -> None:
    if hidden := [name for name in folders if name.startswith('.') or name == '__MACOSX']:
        raise ConfigError(f"{key}: the folder '{hidden[0]}' would count as a class; remove it")
    if len(folders) > 1 and {name.lower() for name in folders} <= _SPLITS:
        raise ConfigError(f'{key}: the folders {list(folders)} are splits, and would count as '
                          f"classes; give {key}.data_prefix, such as '{folders[0]}'")


def _numbers_of_folders(dataset: dict) -> dict[str, int]:
    """Class by folder, where a list of mmpretrain's kind gives each folder one class of its own."""
    file = Path(str(dataset.get('data_root') or ''), str(dataset.get('ann_file') or ''))
    loads = getattr(getattr(dataset_class(dataset), 'load_data_list', None), '__qualname__', '')
    if loads != 'CustomDataset.load_data_list' or not dataset.get('with_label', True) \
            or not file.is_file():
        return {}
    numbers: dict[str, int] = {}
    with file.open(encoding='utf-8', errors='replace') as lines:
        for line in lines:
            name, _, label = line.strip().rpartition(' ')
            folder, slash, _ = name.rpartition('/')
            if not slash or not label.isdigit() \
                    or numbers.setdefault(folder.rpartition('/')[2], int(label)) != int(label):
                return {}
    return numbers if len(set(numbers.values())) > 1 else {}


def of_annotations(context: Context) -> None:
    """A COCO file has the classes as categories, in their order.

    mmdet numbers labels in the order of the file's categories, whatever the classes' order.

    Raises:
        ConfigError: a class is no category, or the order is another; names the file.
    """
    for key, dataset in context.datasets():
        file = Path(str(dataset.get('data_root') or ''), str(dataset.get('ann_file') or ''))
        if not _numbers_by_file(dataset) or not file.is_file():
            continue
        names, classes = categories(file), classes_of(dataset)
        if not names or classes is None:
            continue
        if absent := [c for c in classes if c not in names]:
            raise ConfigError(f"{key}.ann_file: {file} has no category '{absent[0]}' "
                              f'({len(absent)} of {len(classes)} classes are absent); it has '
                              f'{names[:8]}. Set {key}.metainfo=dict(classes=(…))')
        order = [name for name in names if name in classes]
        if doubled := [name for name, count in Counter(order).items() if count > 1]:
            raise ConfigError(f"{key}.ann_file: {file} has several categories '{doubled[0]}'; make "
                              'them one, or give them different names')
        if order != list(classes):
            raise ConfigError(
                f'{key}.ann_file: {file} counts its categories in another order than the classes: '
                f'{misplaced(classes, order)}; give {key}.metainfo.classes as {order[:8]}')


def of_metrics(context: Context) -> None:
    """The annotation file of a metric has the classes as categories, in their order.

    mmdet's metric numbers predictions in the order of that file's categories.

    Raises:
        ConfigError: a class is no category there, or the order is another; names the file.
    """
    for loader in context.loaders:
        data = next(iter(context.datasets((loader, ))), None)
        classes = classes_of(data[1]) if data else None
        for key, metric in context.evaluators(loader):
            file = Path(str(metric.get('ann_file') or ''))
            if classes is None or kind_of(metric) not in _COCO_METRICS or not file.is_file():
                continue
            order = [name for name in categories(file) if name in classes]
            things = 'Panoptic' in kind_of(data[1])  # whose stuff has no boxes
            expected = list(classes[:len(order)] if things else classes)
            if order and order != expected:
                absent = [name for name in expected if name not in order]
                words = f"has no category '{absent[0]}'" if absent else \
                    f'counts its categories otherwise: {misplaced(expected, order)}'
                raise ConfigError(f'{key}.ann_file: {file} {words}, so boxes would get the names '
                                  f'of others; give the file that {loader} reads')


def _numbers_by_file(dataset: dict) -> bool:
    """Whether a data set reads its categories as mmdet's ``CocoDataset`` does."""
    known = dataset_class(dataset)
    if known is None:
        return kind_of(dataset) in ('CocoDataset', 'CocoInstances')
    loads = getattr(getattr(known, 'load_data_list', None), '__qualname__', '')
    return loads == 'CocoDataset.load_data_list' or known.__name__ == 'CocoInstances'


def categories(file: Path) -> list[str]:
    """Names of a COCO file's categories, in its order, without reading the rest; empty where it
    has no such list."""
    if not file.stat().st_size:
        return []
    with file.open('rb') as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as text:
        for match in re.finditer(rb'"categories"\s*:\s*(?=\[)', text):
            end = text.find(b']', match.end())
            while end != -1 and end - match.end() < 2**22:  # a list may hold others
                try:
                    entries = json.loads(text[match.end():end + 1])
                except ValueError:
                    end = text.find(b']', end + 1)
                    continue
                return [c['name'] for c in entries if isinstance(c, dict) and 'name' in c]
    return []
