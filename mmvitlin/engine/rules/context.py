"""What a rule looks at: a resolved config, what it is for, and the checkpoint that goes with it."""
from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from mmengine.config import Config, ConfigDict
from mmengine.dist import get_world_size
from mmengine.logging import print_log
from mmengine.registry import DATASETS, TRANSFORMS, init_default_scope

from mmvitlin.compat.kinds import class_of, kind_of
from mmvitlin.compat.quiet import import_library
from mmvitlin.models.utils.checkpoint import read_meta
from mmvitlin.utils.environment import process

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
EVALUATORS = {'val_dataloader': 'val_evaluator', 'test_dataloader': 'test_evaluator'}
PURPOSES = {  # what a config is used for → the loaders that are built then
    'train': ('train_dataloader', 'val_dataloader'),
    'test': ('test_dataloader', ),
    'data': LOADERS,
    'infer': (),
    'export': (),
    'build': (),  # without weights, to be measured
}


@dataclass
class Context:
    """Arguments of a rule.

    Args:
        cfg: A resolved config of any of the libraries.
        purpose: A key of ``PURPOSES``.
        loaders: Keys of the loaders that will be built.
        checkpoint: File of the whole model, where one is evaluated, run or exported.
    """
    cfg: Config
    purpose: str
    loaders: tuple[str, ...]
    checkpoint: str | None = None
    _meta: dict[str, dict] = field(default_factory=dict, repr=False)

    def __post_init__(self):
        import_library(self.cfg.get('default_scope') or 'mmseg')
        init_default_scope(self.cfg.get('default_scope') or 'mmseg')

    @property
    def model(self) -> dict:
        """The network's config, without a wrapper for augmented tests."""
        model = self.cfg.get('model') or {}
        inner = model.get('module')
        return inner if isinstance(inner, dict) else model

    @property
    def distils(self) -> bool:
        """Whether the network learns from a teacher and reads no labels."""
        return 'teacher' in self.model

    @property
    def open_vocabulary(self) -> bool:
        """Whether classes are texts that the network reads, in any number and order."""
        return 'language_model' in self.model or 'text_encoder' in self.model

    @property
    def processes(self) -> int:
        """Processes that the run will have; they are not connected yet."""
        if (self.cfg.get('launcher') or 'none') == 'none':
            return get_world_size()
        return max(process()[1], get_world_size())

    def meta(self, path: str) -> dict:
        """What a checkpoint says beside its weights; the file is read once for all rules."""
        if path not in self._meta:
            self._meta[path] = read_meta(path)
        return self._meta[path]

    @property
    def read(self) -> tuple[str, ...]:
        """Loaders whose settings say how images are read: those that are built, or the test's."""
        return self.loaders or ('test_dataloader', )

    @property
    def compared(self) -> tuple[str, ...]:
        """Loaders whose settings must agree: that of training, and those that are built."""
        return tuple(dict.fromkeys(('train_dataloader', *self.loaders)))

    def loader(self, key: str) -> dict:
        """A loader's config, empty where there is none."""
        loader = self.cfg.get(key)
        return loader if isinstance(loader, dict) else {}

    def datasets(self, loaders: tuple[str, ...] | None = None) -> Iterator[tuple[str, dict]]:
        """(key, config) of the data sets with files of their own, below wrappers."""
        for loader in self.loaders if loaders is None else loaders:
            for key, dataset, _ in unwrapped(self.loader(loader).get('dataset'),
                                             f'{loader}.dataset'):
                yield key, dataset

    def pipelines(self, loaders: tuple[str, ...] | None = None
                  ) -> Iterator[tuple[str, str, list[tuple[str, dict]]]]:
        """(loader, key of the data set, [(key, step)]), steps of wrappers behind those below."""
        for loader in self.read if loaders is None else loaders:
            for key, _, steps in unwrapped(self.loader(loader).get('dataset'),
                                           f'{loader}.dataset'):
                yield loader, key, steps

    def evaluators(self, loader: str) -> list[tuple[str, dict]]:
        """(key, config) of the metrics of a loader."""
        key = EVALUATORS.get(loader)
        metrics = self.cfg.get(key) if key else None
        if isinstance(metrics, dict) and kind_of(metrics) == 'Evaluator':
            key, metrics = f'{key}.metrics', metrics.get('metrics')
        if isinstance(metrics, (list, tuple)):
            return [(f'{key}.{n}', f) for n, f in enumerate(metrics) if isinstance(f, dict)]
        return [(key, metrics)] if isinstance(metrics, dict) else []

    @cached_property
    def preprocessor(self) -> tuple[str, dict]:
        """(key, config) of what normalises images."""
        if isinstance(self.model.get('data_preprocessor'), dict):
            return 'model.data_preprocessor', self.model['data_preprocessor']
        return 'data_preprocessor', self.cfg.get('data_preprocessor') or {}


def warn(message: str) -> None:
    """Say in the log, once for all processes, what is probably, but not surely, a mistake."""
    if process()[0] == 0:
        print_log(message, logger='current', level=logging.WARNING)


def dataset_class(node: dict) -> type | None:
    """Class of a data set."""
    return class_of(node, DATASETS)


def of_library(step: dict) -> bool:
    """Whether a transform comes with one of the libraries, so that its name says what it does."""
    known = class_of(step, TRANSFORMS)
    return known is not None and known.__module__.split('.')[0] in (
        'mmcv', 'mmseg', 'mmdet', 'mmpretrain', 'mmvitlin')


def default_of(known: type | None, argument: str):
    """Default of a class's argument, its bases' included; None where it has none."""
    for base in getattr(known, '__mro__', ()):
        if '__init__' in vars(base):
            parameter = inspect.signature(base.__init__).parameters.get(argument)
            if parameter is not None:
                return None if parameter.default is inspect.Parameter.empty else parameter.default
    return None


def as_list(value) -> list:
    """A list of what may be given singly; empty of None."""
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def dicts_below(node, key: str = '') -> Iterator[tuple[str, dict]]:
    """(key, dict) of every dict below a part of a config, itself included."""
    if isinstance(node, (Config, ConfigDict, dict)):
        yield key, node
        children = list(node.items())
    elif isinstance(node, (list, tuple)):
        children = list(enumerate(node))
    else:
        return
    for name, child in children:
        if isinstance(child, (dict, list, tuple)):
            yield from dicts_below(child, f'{key}.{name}' if key else str(name))


def unwrapped(node, key: str, outer: list[tuple[str, dict]] | None = None
              ) -> Iterator[tuple[str, dict, list[tuple[str, dict]]]]:
    """(key, data set, steps) below what concatenates, repeats and mixes data sets."""
    if not isinstance(node, dict):
        return
    steps = [(f'{key}.pipeline.{n}', step) for n, step in enumerate(node.get('pipeline') or [])
             if isinstance(step, dict)] + (outer or [])
    if isinstance(node.get('datasets'), (list, tuple)):
        for n, inner in enumerate(node['datasets']):
            yield from unwrapped(inner, f'{key}.datasets.{n}', steps)
    elif isinstance(node.get('dataset'), dict):
        yield from unwrapped(node['dataset'], f'{key}.dataset', steps)
    else:
        yield key, node, steps


def datasets_of(node, key: str = '') -> Iterator[tuple[str, dict]]:
    """Every dict with a ``data_root`` below the loaders of a config, with its key."""
    if isinstance(node, (Config, ConfigDict, dict)):
        children = [(k, node.get(k)) for k in (LOADERS if key == '' else list(node))]
        if key and 'data_root' in node:
            yield key, node
    elif isinstance(node, (list, tuple)):
        children = [(str(i), v) for i, v in enumerate(node)]
    else:
        return
    for name, child in children:
        if child is not None:
            yield from datasets_of(child, f'{key}.{name}' if key else name)


def checkpoints_of(node, key: str) -> Iterator[tuple[str, str]]:
    """(key, file) of every ``checkpoint`` below a part of a config that has this key."""
    for place, part in dicts_below(node, key):
        if isinstance(part.get('checkpoint'), str):
            yield f'{place}.checkpoint', part['checkpoint']
