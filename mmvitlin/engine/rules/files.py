"""Files, folders and libraries that a config names."""
from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from mmvitlin.compat import detection
from mmvitlin.compat.kinds import is_kind, kind_of
from mmvitlin.datasets.checks.checking import refuse_list
from mmvitlin.datasets.checks.files import unread_images
from mmvitlin.engine.rules.context import (
    Context,
    checkpoints_of,
    dataset_class,
    datasets_of,
    default_of,
    warn,
)
from mmvitlin.engine.rules.pipelines import LABEL_STEPS
from mmvitlin.utils.errors import ConfigError
from mmvitlin.utils.paths import FETCHED, files_below, why_absent

_COUNTED = 100_000  # files of a folder that are counted by their suffix


def libraries(context: Context) -> None:
    """What only some configs need is installed.

    Raises:
        ConfigError: the config is of mmdet, or names something of it, and detection is not set up.
    """
    cfg = context.cfg
    if cfg.get('default_scope') == 'mmdet' or "'mmdet." in repr(cfg.get('model')):
        detection.prepare(cfg.filename or 'this config')


def data_folders(context: Context) -> None:
    """The folders and lists of the data sets are there.

    Raises:
        ConfigError: names the key and the remedy.
    """
    for key, dataset in datasets_of(context.cfg):
        root = Path(dataset['data_root'] or '.')
        if key.split('.')[0] not in context.loaders or '://' in str(dataset['data_root']):
            continue
        if not root.is_dir():
            raise ConfigError(
                f"{key}.data_root: no folder '{root}'. Put the data there, or give its place with "
                '--cfg-options data_root=…; `mmvitlin make_streets FOLDER` draws a '
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
        if isinstance(listed, str) and listed and (root / listed).is_dir() and _loads(dataset) in (
                'BaseSegDataset', 'CustomDataset'):  # mmseg would read every image
            raise ConfigError(f"{key}.ann_file: '{root / listed}' is a folder; give a file that "
                              "lists names, or '' for every image")


def _loads(dataset: dict) -> str:
    """Name of the class that lists a data set's samples; '' of one that is not known."""
    loads = getattr(dataset_class(dataset), 'load_data_list', None)
    return getattr(loads, '__qualname__', '').partition('.')[0]


def annotations_of_metrics(context: Context) -> None:
    """Metrics compare with the annotations of the images that their loader reads.

    Raises:
        ConfigError: their file is not there, or is of other images, or the loader reads only some
            of those that count; names the key.
    """
    for loader in context.loaders:
        data = [(key, dataset) for key, dataset in context.datasets((loader, ))
                if dataset.get('ann_file')]
        own = {str(Path(str(dataset.get('data_root') or ''), dataset['ann_file']))
               for _, dataset in data}
        for key, metric in context.evaluators(loader):
            file = metric.get('ann_file')
            if not isinstance(file, str) or '://' in file:
                continue
            if not Path(file).is_file():
                raise ConfigError(f"{key}.ann_file: no file '{file}'"
                                  + (f'; that of {loader} is {min(own)}' if own else ''))
            if kind_of(metric) == 'CocoMetric' and _starts_at_zero(file):
                warn(f'{key}.ann_file {file} numbers its annotations from 0, which pycocotools '
                     "counts as missed; take type='mmvitlin.CocoScores'")
            if chosen := [place for place, d in data if d.get('indices') is not None]:
                raise ConfigError(f'{chosen[0]}.indices takes some of the images, and {key}.'
                                  'ann_file counts all: what the others show would be missed. '
                                  f'Set {key}.ann_file=None, which compares with what is read')
            if own and not any(_same_file(file, other) for other in own):
                _compare_images(key, file, loader, own)


def _starts_at_zero(file: str) -> bool:
    """Whether a COCO file has an annotation with the id 0."""
    try:
        return any(a.get('id') == 0 for a in json.loads(Path(file).read_bytes())['annotations'])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # reading it says more
        return False


def _compare_images(key: str, file: str, loader: str, own: set[str]) -> None:
    """Refuse the annotations of other images than a loader reads."""
    read = {i: n for other in own for i, n in _images(other).items()}
    listed = _images(file)
    if not read or not listed:
        warn(f'{key}.ann_file is {file}, and {loader} reads {min(own)}; predictions are compared '
             'with annotations of another file')
        return
    other = [i for i, name in read.items() if listed.get(i, name) != name]
    missing, surplus = read.keys() - listed.keys(), listed.keys() - read.keys()
    if other or missing:
        words = f'image {other[0]} is {read[other[0]]} here and {listed[other[0]]} there' if other \
            else f'{len(missing)} of its {len(read)} images are not there'
        raise ConfigError(f'{loader} reads {min(own)}, and {key}.ann_file compares with {file}: '
                          f'{words}; give both the same file')
    if surplus:
        warn(f'{key}.ann_file {file} has {len(surplus)} images that {loader} ({min(own)}) does not '
             'read; all that they show counts as missed')


def _images(file: str) -> dict:
    """Id → file name, without folders and suffix, of a COCO file's images; empty of others."""
    try:
        images = json.loads(Path(file).read_bytes())['images']
        return {i['id']: Path(i['file_name']).stem for i in images}
    except (OSError, ValueError, KeyError, TypeError):  # reading the data set says more
        return {}


def _same_file(file: str, other: str) -> bool:
    return Path(other).is_file() and Path(file).samefile(other)


def checkpoints(context: Context) -> None:
    """The weights that training starts from are there.

    Raises:
        ConfigError: names the key.
    """
    start = context.cfg.get('load_from')
    if start is not None:
        _look_for(start, 'CHECKPOINT' if context.checkpoint == start else
                  '--resume' if context.cfg.get('resume') else 'load_from')
    for key, path in checkpoints_of(context.cfg.get('model', {}), 'model'):
        _look_for(path, key)


def _look_for(path: str, key: str) -> None:
    """A checkpoint that a config names must be there, unless it is a URL."""
    reason = None if '://' in path else why_absent(path)
    if reason is None:
        return
    if key in ('CHECKPOINT', '--resume') or path.removeprefix('mmvitlin::') in FETCHED:
        raise ConfigError(f'{key}: {reason}')
    raise ConfigError(f'{key}: {reason}. Train the stage that writes it, or give one with '
                      f'--cfg-options {key}=FILE')


def lists(context: Context) -> None:
    """Lists of files can be followed, line by line.

    Raises:
        ConfigError: names the list, the line and the remedy.
    """
    for key, dataset in context.datasets():
        refuse_list(dataset, key)


def suffixes(context: Context) -> None:
    """Folders hold files of the suffixes that mmseg's data sets look for.

    Raises:
        ConfigError: there are none; counts what there is by its suffix.
    """
    for key, dataset, kind, folder, suffix in _image_folders(context):
        if not dataset.get('ann_file') and not any(
                path.name.endswith(suffix) for path in files_below(folder)):
            argument = 'img_suffix' if kind == 'img_path' else 'seg_map_suffix'
            raise ConfigError(f"{key}: no file of {folder} ends with {argument}='{suffix}'; "
                              f'{holdings(folder)}. Set {key}.{argument}')
    for key, dataset in context.datasets():
        folder, extensions = _listing(dataset) or (None, '')
        if isinstance(extensions, tuple) and folder.is_dir() and not any(
                path.name.lower().endswith(extensions) for path in files_below(folder)):
            raise ConfigError(f'{key}: no file of {folder} ends with one of extensions='
                              f'{extensions}; {holdings(folder)}. Set {key}.extensions')


def left_out(context: Context) -> None:
    """Warns of images that are not read because they have another suffix."""
    for key, dataset in context.datasets():
        known = dataset_class(dataset)
        if dataset.get('indices') is not None or not (listing := _listing(dataset)):
            continue
        folder, suffix = listing
        labels = dataset.get('seg_map_suffix', default_of(known, 'seg_map_suffix'))
        for message in unread_images(str(folder), suffix, labels):
            warn(f'{key}: {message}')


def _listing(dataset: dict) -> tuple[Path, str | tuple[str, ...]] | None:
    """(folder, suffix or suffixes) where mmseg's or mmpretrain's data set lists images itself."""
    known, root = dataset_class(dataset), str(dataset.get('data_root') or '')
    name = {'BaseSegDataset': 'img_suffix', 'CustomDataset': 'extensions'}.get(_loads(dataset))
    if name is None or dataset.get('ann_file') or '://' in root:
        return None
    prefix, suffix = dataset.get('data_prefix') or '', dataset.get(name, default_of(known, name))
    prefix = prefix.get('img_path') or '' if isinstance(prefix, dict) else prefix
    return Path(root, prefix), suffix if isinstance(suffix, str) else tuple(suffix or ())


def apart(context: Context) -> None:
    """Labels have a folder, and are no images.

    Raises:
        ConfigError: the data set has no place for labels that are read, or takes label files for
            images; names the key.
    """
    for key, dataset in context.datasets():
        known, prefix = dataset_class(dataset), dataset.get('data_prefix')
        reader = next((step for step in dataset.get('pipeline') or []
                       if is_kind(step, LABEL_STEPS)), None)
        if _loads(dataset) != 'BaseSegDataset' or not isinstance(prefix, dict) \
                or reader is None or context.distils:
            continue
        if prefix.get('seg_map_path') is None:
            raise ConfigError(f'{key}.data_prefix.seg_map_path is not given, and '
                              f'{kind_of(reader)} of its pipeline reads labels; give the folder')
        root = Path(str(dataset.get('data_root') or ''))
        images, labels = (Path(root, prefix.get(name) or '').resolve()
                          for name in ('img_path', 'seg_map_path'))
        suffixes = [dataset.get(name, default_of(known, name)) or ''
                    for name in ('img_suffix', 'seg_map_suffix')]
        if images == labels and suffixes[0] == suffixes[1]:
            raise ConfigError(f'{key}: images and labels are the same files, {images}/*'
                              f"{suffixes[0]}; give data_prefix.img_path and seg_map_path their "
                              'folders')
        if not dataset.get('ann_file') and suffixes[1].endswith(suffixes[0]) \
                and (images == labels or images in labels.parents):
            raise ConfigError(
                f"{key}: label files (seg_map_suffix='{suffixes[1]}') lie in the folder of the "
                f"images, {images}, and end with img_suffix='{suffixes[0]}' too, so they would be "
                'taken for images; list the images in ann_file, or move the labels')


def _image_folders(context: Context) -> Iterator[tuple[str, dict, str, Path, str]]:
    """(key, data set, 'img_path' or 'seg_map_path', folder, suffix) of what mmseg lists itself."""
    for key, dataset in context.datasets():
        known = dataset_class(dataset)
        root, prefix = str(dataset.get('data_root') or ''), dataset.get('data_prefix') or {}
        if _loads(dataset) != 'BaseSegDataset' or '://' in root or not isinstance(prefix, dict):
            continue
        for kind, argument in (('img_path', 'img_suffix'), ('seg_map_path', 'seg_map_suffix')):
            suffix = dataset.get(argument, default_of(known, argument))
            if not isinstance(suffix, str):
                raise ConfigError(f'{key}.{argument} is {suffix!r}, and a data set of mmseg takes '
                                  'one suffix; take a ConcatDataset of one for each')
            folder = Path(root, prefix.get(kind) or '')
            is_read = kind == 'img_path' or any(is_kind(step, LABEL_STEPS)
                                                for step in dataset.get('pipeline') or [])
            if is_read and prefix.get(kind) is not None and suffix and folder.is_dir():
                yield key, dataset, kind, folder, suffix


def holdings(folder: Path) -> str:
    """What a folder holds, as text."""
    if not folder.is_dir():
        return f'there is no folder {folder}'
    counts: Counter[str] = Counter()
    for path in islice(files_below(folder), _COUNTED):
        counts[path.suffix or 'without a suffix'] += 1
    if not counts:
        return f'{folder} holds no files'
    return 'it holds ' + ', '.join(f'{n:,} {suffix}' for suffix, n in counts.most_common(5))
