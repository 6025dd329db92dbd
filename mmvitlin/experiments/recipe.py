"""Recipe files: several configs as one experiment."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mmvitlin.compat.mmengine import read_config
from mmvitlin.engine.runner.config import load_config, locate_config, schedule_of
from mmvitlin.experiments.stage import Stage
from mmvitlin.experiments.sweep import expand
from mmvitlin.utils.errors import ConfigError
from mmvitlin.utils.paths import folder as own_folder

_SHIPPED = own_folder('configs').parent


def load_recipe(path: str | Path) -> list[Stage]:
    """Stages of a recipe file, a config with a list ``stages``; ``mmvitlin::recipes/…`` is one of
    mmvitlin's. A stage's ``configs/…`` that does not exist is taken from this installation.

    With ``variants = dict(of=STAGE, options={NAME: {KEY: VALUE}})`` that stage, and all stages that
    depend on it, exist once for each variant; see :func:`mmvitlin.experiments.sweep.expand`.

    Raises:
        ConfigError: a key or an input that is not known, or a name used twice.
    """
    path = locate_config(str(path))
    if not Path(path).is_file():
        raise ConfigError(f'no recipe at {path}')
    stages: list[Stage] = []
    config_of = cache(load_config)  # many stages have one
    recipe = read_config(path)
    for entry in recipe.get('stages') or []:
        try:
            stage = Stage(**entry)
        except TypeError as error:
            raise ConfigError(f"{path}: stage {entry.get('name')}: {error}; a stage has "
                              f'{list(Stage.__dataclass_fields__)}') from error
        if not Path(stage.config).is_file() and (_SHIPPED / stage.config).is_file():
            stage.config = f"mmvitlin::{stage.config.removeprefix('configs/')}"
        beside = Path(path).parent / stage.config
        if '::' not in stage.config and not stage.there() and beside.is_file():
            stage.config = str(beside)
        if stage.by_seed and (stage.shared or not all(stage.by_seed.values())):
            raise ConfigError(f"{path}: stage '{stage.name}': by_seed needs a list of values for "
                              'each key, and a stage that is not shared')
        names = [s.name for s in stages]
        if stage.name in names:
            raise ConfigError(f"{path}: two stages are called '{stage.name}'")
        for key, source in stage.inputs.items():
            if source not in names:
                raise ConfigError(f"{path}: stage '{stage.name}' gives {key} the checkpoint of "
                                  f"'{source}', which is no earlier stage ({names})")
            if stage.there() and not _has(config_of(stage.config), key):
                raise ConfigError(f"{path}: stage '{stage.name}' gives a checkpoint to {key}, "
                                  f'which {stage.config} does not have')
        if stage.iterations and stage.there():
            stage.options = {**schedule_of(config_of(stage.config), stage.iterations),
                             **stage.options}
        stages.append(stage)
    if not stages:
        raise ConfigError(f'{path} has no stages')
    if variants := recipe.get('variants'):
        return _varied(stages, variants, path)
    return stages


def refuse_absent(stages: list[Stage]) -> None:
    """Say before anything is run that a stage's config is not there.

    Raises:
        ConfigError: names the stage.
    """
    for stage in stages:
        if not stage.there():
            raise ConfigError(f"stage '{stage.name}': there is no config at {stage.config}, seen "
                              'from here or from beside the recipe')


def _varied(stages: list[Stage], variants: dict, path: str) -> list[Stage]:
    options = variants.get('options')
    if set(variants) != {'of', 'options'} or not isinstance(options, dict) or not all(
            isinstance(changes, dict) for changes in options.values()):
        raise ConfigError(f'{path}: variants must be dict(of=STAGE, options={{NAME: {{KEY: VALUE}}'
                          f'}}), not {dict(variants)}')
    try:
        return expand(stages, variants['of'], options.to_dict())
    except ConfigError as error:
        raise ConfigError(f'{path}: {error}') from error


def _has(cfg: dict, key: str) -> bool:
    node = cfg
    for name in key.split('.'):
        if name not in node:
            return False
        node = node[name]
    return True


@dataclass
class Report:
    """How a recipe reports its results.

    Attributes:
        title: Heading.
        teacher: Stage of the network that is distilled.
        student: Stage of the network it is for.
        unlabelled: Stages before the student's that read no labels.
        rows: Stage → what it is, as text; the rows of the table, in order.
        note: A sentence more.
        pretrained: Teacher that ``tools/fetch_teacher.py`` gets and the stages need.
        offline: Recipe beside this one that needs none.
        shapes: (height, width) at which the backbones are timed.
        rounds: Measurements of each, at most.
    """
    title: str
    teacher: str
    student: str
    unlabelled: list[str]
    rows: dict[str, str]
    note: str = ''
    pretrained: str = ''
    offline: str = ''
    shapes: Sequence[tuple[int, int]] = ((512, 512), (1024, 1024), (1024, 2048), (2048, 2048))
    rounds: int = 9


def load_report(path: str | Path) -> Report:
    """The report settings of a recipe.

    Raises:
        ConfigError: it has no report, or the report names stages that it does not have.
    """
    path = locate_config(str(path))
    names = [s.name for s in load_recipe(path)]
    entries = read_config(path).get('report')
    try:
        report = Report(**(entries or {}))
    except TypeError as error:
        raise ConfigError(f'{path}: report: {error}') from error
    named = {report.teacher, report.student, *report.unlabelled, *report.rows}
    if unknown := sorted(named - set(names)):
        raise ConfigError(f'{path}: report names {unknown}, the stages are {names}')
    return report
