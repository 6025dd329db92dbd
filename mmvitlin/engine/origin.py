"""Where the weights of a run come from: published ones, and runs that it started from."""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import timm

from mmvitlin.engine.recorded_config import recorded_config
from mmvitlin.models.teachers.fetch import TEACHERS
from mmvitlin.models.utils.checkpoint import read_meta
from mmvitlin.utils.errors import UserError
from mmvitlin.utils.paths import is_place, locate

NOT_KNOWN = 'not known'
RANDOM = 'random weights'
_LONGEST = 8  # runs that are followed back


@dataclass(frozen=True)
class Run:
    """A run, by a checkpoint that it wrote and what lies beside it.

    Attributes:
        file: The checkpoint.
        meta: Its entries besides the weights.
        later: Names of the runs that started from it, one from another.
    """
    file: Path
    meta: Mapping
    later: tuple[str, ...] = ()

    @cached_property
    def config(self) -> Mapping:
        """Its config; empty where that is not known."""
        return recorded_config(self.meta, self.file.parent)

    @property
    def model(self) -> Mapping:
        """Config of its network, a distiller with its teacher."""
        return self.config.get('model') or {}

    @property
    def teacher(self) -> Mapping | None:
        """Config of its teacher; None of a run without."""
        return (self.model['teacher'] or {}) if 'teacher' in self.model else None

    @property
    def inherits(self) -> bool:
        """Whether its student starts with the teacher's weights."""
        return bool(self.model.get(
            'inherit', str(self.model.get('type')).endswith('AttentionAlignment')))

    @property
    def backbone(self) -> Mapping:
        """Config of the backbone that it trains."""
        return (self.model.get('student') or self.model).get('backbone') or {}

    @property
    def load_from(self) -> object:
        """The whole model that it started from; None of a resumed run, which names itself there."""
        return None if self.config.get('resume') else self.config.get('load_from')

    @cached_property
    def before(self) -> Run | None:
        """The run whose weights it started from; None where there is none, or it is not known."""
        if self.inherits:
            return None
        return self.of_file(_file_of(self.backbone, self.load_from))

    def of_file(self, file: object) -> Run | None:
        """The run that wrote a file that this one's config names.

        None where the file is not there, where no run wrote it, or where this run or one that
        started from it has written it anew.
        """
        path = _found(file, self.file.parent) if len(self.later) < _LONGEST else None
        later = (*self.later, str(self.meta.get('experiment_name')))
        with suppress(UserError, OSError):
            meta = read_meta(path) if path is not None else {}
            if (meta.get('experiment_name') or meta.get('cfg')) \
                    and meta.get('experiment_name') not in later:
                return Run(path, meta, later)
        return None

    def chain(self) -> Iterator[Run]:
        """This run, and those before it, newest first."""
        yield self
        if self.before is not None:
            yield from self.before.chain()

    @property
    def iterations(self) -> str:
        """How long it was, as text."""
        done = [f"{self.meta['iter']:,} iterations" for _ in 'i' if self.meta.get('iter')]
        done += [f"{self.meta['epoch']:,} epochs" for _ in 'e' if self.meta.get('epoch')]
        cut = ' (the run had not ended)' if self.meta.get('finished') is False else ''
        return f"{', '.join(done) or NOT_KNOWN}{cut}"

    @property
    def data_sets(self) -> str:
        """Types of the data sets that it was trained on, as text."""
        loader = self.config.get('train_dataloader') or {}
        return ', '.join(f'`{name}`' for name in _data_sets(loader.get('dataset'))) or NOT_KNOWN

    def start(self) -> tuple[str, str]:
        """Whose weights its network started with, and their licence."""
        if not self.config:
            return NOT_KNOWN, NOT_KNOWN
        if self.inherits:
            return "the teacher's own weights", NOT_KNOWN
        return self.origin(self.backbone, self.load_from)

    def origin(self, settings: Mapping, load_from: object = None) -> tuple[str, str]:
        """Whose weights a teacher or a backbone of this run takes, and their licence."""
        inner = settings.get('model') or settings
        network = inner.get('backbone') or inner
        kind = str(network.get('type', NOT_KNOWN)).removeprefix('mmvitlin.')
        name = network.get('model_name') or network.get('arch')
        name = f'{kind} {name}' if isinstance(name, str) and not is_place(name) else kind
        file = _file_of(settings, load_from)
        fetched = str(file).startswith('mmvitlin::')
        known = TEACHERS.get(str(file).removeprefix('mmvitlin::')) if fetched else None
        if known is not None:
            return (f'{name}, {known.title} of the package {known.requirement}; training: '
                    f'{known.training}'), known.licence
        if (run := self.of_file(file)) is not None:
            weights, licence = run.start()
            data = '' if run.data_sets == NOT_KNOWN else f' on {run.data_sets}'
            return (f'{name}, of a run of {run.iterations}{data} that started from: {weights}',
                    licence)
        if file:
            return f'{name}, of a file whose origin is {NOT_KNOWN}', NOT_KNOWN
        if network.get('pretrained') is True:
            published = timm.models.get_pretrained_cfg(network.get('model_name', ''))
            licence = getattr(published, 'license', None)
            return (f"{name}, timm's published weights",
                    f"{licence} by timm's record; see what its makers say" if licence
                    else NOT_KNOWN)
        return f'{name}, {RANDOM}' if network else NOT_KNOWN, NOT_KNOWN


def _file_of(settings: Mapping, load_from: object = None) -> object:
    """The file of weights that a config names, or None."""
    network = settings.get('model') or settings
    network = network.get('backbone') or network
    return load_from or settings.get('checkpoint') or (
        network.get('init_cfg') or {}).get('checkpoint') or network.get('checkpoint')


def _found(file: object, folder: Path) -> Path | None:
    """A file that a config names: from the working folder, or from a folder above the run's."""
    if not isinstance(file, str) or '://' in file:
        return None
    with suppress(OSError):
        path = locate(file)
        return next((base / path for base in (Path(), *folder.resolve().parents)
                     if (base / path).is_file()), None)
    return None


def _data_sets(dataset: object) -> Iterator[str]:
    """Types of data sets, without what wraps them."""
    if not isinstance(dataset, Mapping):
        return
    inner = dataset.get('datasets') or [dataset.get('dataset')]
    if isinstance(inner, (list, tuple)) and any(isinstance(one, Mapping) for one in inner):
        for one in inner:
            yield from _data_sets(one)
    elif 'type' in dataset:
        yield str(dataset['type'])
