"""How many samples the data sets of a run have, and what to do where that is too few."""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.dist import get_world_size
from mmengine.registry import DATASETS, init_default_scope
from mmengine.runner import BaseLoop, Runner
from torch.utils.data import DataLoader

from mmvitlin.compat.kinds import kind_of
from mmvitlin.datasets.checks.checking import Part
from mmvitlin.datasets.checks.files import absent_files, image_paths, stray_files
from mmvitlin.datasets.checks.masks import REMEDY, only_masks
from mmvitlin.engine.rules.classes import misplaced
from mmvitlin.engine.rules.context import LOADERS, as_list, unwrapped, warn
from mmvitlin.engine.rules.files import holdings
from mmvitlin.engine.rules.loops import lone_samples_kind
from mmvitlin.engine.rules.probe import follow, is_reader, leaves_of
from mmvitlin.utils.errors import ConfigError, in_words
from mmvitlin.utils.paths import files_below

_SHOWN = 3
_LOOPS = {'train_dataloader': 'train_loop', 'val_dataloader': 'val_loop',
          'test_dataloader': 'test_loop'}


def build_loaders(runner: Runner, loaders: tuple[str, ...]) -> None:
    """Build the loops with their data sets, as running them does, and count the samples.

    Raises:
        ConfigError: a data set is empty, or too small for one batch; or data sets that name their
            classes after their folders disagree; or labels are not of their image; or all label
            maps to be trained on hold only 0 and 255, which is ignored.
    """
    built: dict[str, DataLoader] = {}
    try:
        for key in loaders:
            loop = getattr(runner, _LOOPS[key], None) if runner.cfg.get(key) else None
            if isinstance(loop, BaseLoop):
                built[key] = loop.dataloader
    except Exception:
        refuse_empty(runner.cfg, loaders)
        raise
    for key, loader in built.items():
        _refuse_few(key, loader, runner)
        _refuse_absent(key, loader.dataset)
    _compare(built)
    _tell_shared(built)
    if 'teacher' in (runner.cfg.get('model') or {}):
        return
    for key, loader in built.items():
        _refuse_masks(key, loader.dataset)
    if 'train_dataloader' in built:
        _refuse_without_objects('train_dataloader.dataset', built['train_dataloader'].dataset)
        follow('train_dataloader.dataset', built['train_dataloader'].dataset)


def _refuse_few(key: str, loader: DataLoader, runner: Runner) -> None:
    count = len(loader.dataset)
    if count == 0:
        refuse_empty(runner.cfg, (key, ))
        raise ConfigError(f'{key}.dataset has no samples')
    if key != 'train_dataloader' or not _ends(loader):
        return
    processes = get_world_size()
    share = f' for each of {processes} processes' if processes > 1 else ''
    if len(loader) == 0:
        raise ConfigError(f'{key}: {count} samples make no whole batch of {loader.batch_size}'
                          f'{share}, and drop_last=True leaves the rest out, so nothing would be '
                          f'trained on; set {key}.drop_last=False, or a smaller batch_size')
    last = len(loader.sampler) % (loader.batch_size or 1)
    kind = lone_samples_kind(runner.cfg)
    if last == 1 and not loader.drop_last and loader.batch_size > 1 and kind and processes == 1:
        raise ConfigError(f'{key}: {count} samples in batches of {loader.batch_size} end with a '
                          f'batch of one image, over which {kind} cannot be normalised; set '
                          f'{key}.drop_last=True')


def _refuse_absent(key: str, dataset) -> None:
    """Every image and label map exists, before training would miss one."""
    for place, leaf in leaves_of(f'{key}.dataset', dataset):
        steps = leaf.pipeline.transforms
        if hasattr(leaf, 'check_files') or any(
                getattr(step, 'ignore_empty', False) or getattr(step, 'backend_args', None)
                for step in steps):
            continue  # looked for already, left out, or elsewhere
        labels = any(map(is_reader, steps))
        stray = _stray(leaf) if labels else ''
        for kind, absent, count in absent_files(leaf, labels):
            what = 'images' if kind == 'img_path' else 'label images'
            source = getattr(leaf, 'ann_file', '')
            raise ConfigError(
                f'{place}: {len(absent)} of its {count} {what} are not there, such as '
                f"{', '.join(absent[:_SHOWN])}{f'; and {stray}' if stray else ''}. Put them there, "
                + (f'or take them out of {source}' if source else 'or list the images that have '
                   f'labels in {place}.ann_file'))
        if stray:
            warn(f'{place}: {stray}')


def _refuse_masks(key: str, dataset) -> None:
    """Label maps of 0 and 255 leave one class where 255 is ignored."""
    for place, leaf in leaves_of(f'{key}.dataset', dataset):
        classes = (getattr(leaf, 'metainfo', None) or {}).get('classes') or ()
        reader = next(filter(is_reader, leaf.pipeline.transforms), None)
        found = only_masks(leaf, reader) if len(classes) > 1 else None
        if found is None:
            continue
        count, all_of_them = found
        words = (f"{place}: {'all' if all_of_them else 'the'} {count} label files"
                 f"{'' if all_of_them else ' that were looked at'} hold only 0 and 255, which is "
                 f'ignored, so {classes[0]} would be the only class: if 255 is a class, {REMEDY}')
        if all_of_them and key == 'train_dataloader':
            raise ConfigError(words)
        warn(words)


def _stray(leaf) -> str:
    """Label files of a folder without an image, as text; '' where there are none."""
    labels = (getattr(leaf, 'data_prefix', None) or {}).get('seg_map_path')
    suffix = getattr(leaf, 'seg_map_suffix', None)
    if not labels or not suffix or not Path(labels).is_dir() \
            or sum(p.name.endswith(suffix) for p in files_below(labels)) <= len(leaf):
        return ''
    files = [file for kind, file, *_ in stray_files(leaf) if kind == 'label without image']
    shown = f"{len(files)} label files of {labels} have no image, such as {', '.join(files[:3])}"
    return shown if files else ''


def _refuse_without_objects(key: str, dataset) -> None:
    """At least one image of a detector has an object."""
    counts = Counter()
    for _, leaf in leaves_of(key, dataset):
        for number in range(len(leaf)):
            instances = leaf.get_data_info(number).get('instances')
            if instances is None:
                return  # it has no boxes, or others than mmdet's
            counts.update(bool(i.get('ignore_flag')) for i in instances)
            counts['images'] += 1
            if counts[False]:
                return
    if counts['images']:
        raise ConfigError(f"{key}: none of {counts['images']} images has an object to learn from"
                          f" ({counts[True]} are ignored, as crowds are); see what the annotations "
                          'hold with `mmvitlin check_data`')


def follow_training(parts: Iterable[Part]) -> None:
    """Build the pipelines of training data, and follow a sample of each step by step.

    Args:
        parts: See :func:`mmvitlin.datasets.checks.checking.open_splits`.

    Raises:
        ConfigError: a step cannot be built, or labels are not of their image; names the step.
    """
    for part in parts:
        if part.split != 'train':
            continue
        steps = []
        for number, step in enumerate(part.steps):
            try:
                steps += Compose([step]).transforms
            except Exception as error:
                raise ConfigError(f'{part.key}.pipeline.{number} ({kind_of(step)}) cannot be '
                                  f'built: {in_words(error)}') from error
        follow(part.key, part.dataset, steps)


def _ends(loader: DataLoader) -> bool:
    return 'InfiniteSampler' not in {base.__name__ for base in type(loader.sampler).__mro__}


def _compare(built: dict[str, DataLoader]) -> None:
    """Classes of data sets that are known only after reading, such as folders."""
    first: tuple[str, list[str]] | None = None
    for key, loader in built.items():
        names = as_list((getattr(loader.dataset, 'metainfo', None) or {}).get('classes'))
        if not names:
            continue
        if first is None:
            first = key, names
        elif words := misplaced(first[1], names):
            raise ConfigError(f'{first[0]} and {key} read their classes differently: {words}; '
                              'give both the same metainfo.classes')


def _tell_shared(built: dict[str, DataLoader]) -> None:
    """Images that are trained on and validated on."""
    if not {'train_dataloader', 'val_dataloader'} <= built.keys() or any(
            type(loader.dataset).__name__ == 'KFoldDataset' for loader in built.values()):
        return
    leaves = {key: [leaf for _, leaf in leaves_of(key, loader.dataset)]
              for key, loader in built.items()}
    trained, validated = ({path for leaf in leaves[key] for path in image_paths(leaf)}
                          for key in ('train_dataloader', 'val_dataloader'))
    if shared := sorted(trained & validated):
        warn(f'{len(shared)} of the {len(validated)} images that val_dataloader reads are trained '
             f"on, such as {', '.join(shared[:_SHOWN])}: their scores are of samples that the "
             'network has seen')


def refuse_empty(cfg: Config, loaders: tuple[str, ...] = LOADERS) -> None:
    """Say which data set has no samples, and why.

    Raises:
        ConfigError: one of them has none; counts what its files hold.
    """
    init_default_scope(cfg.get('default_scope') or 'mmengine')
    for loader in loaders:
        settings = cfg.get(loader)
        if not isinstance(settings, dict):
            continue
        for key, dataset, _ in unwrapped(settings.get('dataset'), f'{loader}.dataset'):
            if words := _why_empty(key, dataset):
                raise ConfigError(f'{key} has no samples: {words}')


def _why_empty(key: str, settings: dict) -> str | None:
    """Why a data set is empty, as text; None where it is not, or where building it says more."""
    try:
        dataset = DATASETS.build(dict(settings, pipeline=[], lazy_init=True, indices=None))
        listed = dataset.load_data_list()
        dataset.data_list = listed
        kept = dataset.filter_data()
    except Exception:
        return None
    if not listed:
        return ', '.join(_sources(key, settings, dataset)) or 'its files list none'
    if not kept:
        return (f'{len(listed)} are listed, and {key}.filter_cfg={settings.get("filter_cfg")} '
                f'leaves none of them; {_boxes(listed)}')
    indices = settings.get('indices')
    if indices is not None and not as_list(indices) or indices == 0:
        return f'{key}.indices={indices} chooses none of {len(kept)}'
    return None


def _boxes(listed: list[dict]) -> str:
    boxes = sum(len(sample.get('instances') or ()) for sample in listed)
    if boxes:
        return f'they have {boxes} boxes of its classes'
    return 'they have no boxes of its classes: compare metainfo.classes with the categories'


def _sources(key: str, settings: dict, dataset) -> Iterator[str]:
    """What the files and folders hold that a data set is made of."""
    file = getattr(dataset, 'ann_file', '')
    if file and Path(file).is_file():
        yield f'{key}.ann_file {file} lists none'
        return
    prefix = getattr(dataset, 'data_prefix', None) or {}
    for name, folder in (prefix.items() if isinstance(prefix, dict) else [('', prefix)]):
        if folder and name in ('', 'img', 'img_path'):
            suffix = getattr(dataset, 'img_suffix', None)
            ending = f" that ends with img_suffix='{suffix}'" if suffix else ''
            yield f'{folder} has no image{ending}; {holdings(Path(folder))}'
