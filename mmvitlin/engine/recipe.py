"""Several configs as one experiment: each stage feeds checkpoints to later ones."""
from __future__ import annotations

import itertools
import json
import os
import shlex
import sys
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from mmengine.config import Config

from mmvitlin import shipped
from mmvitlin.engine.checkpoints import last_checkpoint
from mmvitlin.engine.config import load_config, locate_config, schedule_of
from mmvitlin.engine.stage_process import Children, Gpus, Locks, run_logged
from mmvitlin.engine.stage_record import compare, remember
from mmvitlin.errors import CheckpointError, ConfigError

_TRAIN = shipped.folder('tools') / 'train.py'
_POLL = 2.  # seconds between looks at what another process works at
_SHIPPED = shipped.folder('configs').parent


class StagesFailed(ConfigError):
    """Stages ended with an error; all that does not stand on them has been run."""


@dataclass
class Stage:
    """One run of ``tools/train.py``.

    Attributes:
        name: Folder of the stage, and its row in the results.
        config: Config file.
        inputs: Config key → earlier stage whose checkpoint it gets.
        options: More ``--cfg-options``.
        iterations: Train for as many instead of the config's; its schedule, warm-up included, is
            stretched or shortened in proportion.
        by_seed: Config key → values, of which each seed takes its own: seed N that at N modulo
            their number.
        output: File in the stage's folder that later stages take; '' for the last
            checkpoint.
        shared: Run once and used by every seed, as a downloaded teacher would be.
    """
    name: str
    config: str
    inputs: dict[str, str] = field(default_factory=dict)
    options: dict[str, object] = field(default_factory=dict)
    output: str = ''
    shared: bool = False
    by_seed: dict[str, list] = field(default_factory=dict)
    iterations: int = 0

    def options_of(self, seed: int) -> dict[str, object]:
        """What a seed is run with."""
        return {**self.options, **{k: v[seed % len(v)] for k, v in self.by_seed.items()}}

    def there(self) -> bool:
        """Whether the config is a file."""
        return Path(locate_config(self.config)).is_file()


def load_recipe(path: str | Path) -> list[Stage]:
    """Stages of a recipe file, a config with a list ``stages``; ``mmvitlin::recipes/…`` is ours.

    A stage's ``configs/…`` that is not there is the one of this installation.

    With ``variants = dict(of=STAGE, options={NAME: {KEY: VALUE}})`` that stage, and all that
    stands on it, is there once for each variant; see :func:`mmvitlin.engine.sweep.expand`.

    Raises:
        ConfigError: a key or an input that is not known, or a name used twice.
    """
    path = locate_config(str(path))
    if not Path(path).is_file():
        raise ConfigError(f'no recipe at {path}')
    stages: list[Stage] = []
    recipe = Config.fromfile(path)
    for entry in recipe.get('stages') or []:
        try:
            stage = Stage(**entry)
        except TypeError as error:
            raise ConfigError(f"{path}: stage {entry.get('name')}: {error}; a stage has "
                              f'{list(Stage.__dataclass_fields__)}') from error
        if not Path(stage.config).is_file() and (_SHIPPED / stage.config).is_file():
            stage.config = f"mmvitlin::{stage.config.removeprefix('configs/')}"
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
            if stage.there() and not _has(load_config(stage.config), key):
                raise ConfigError(f"{path}: stage '{stage.name}' gives a checkpoint to {key}, "
                                  f'which {stage.config} does not have')
        if stage.iterations and stage.there():
            stage.options = {**schedule_of(load_config(stage.config), stage.iterations),
                             **stage.options}
        stages.append(stage)
    if not stages:
        raise ConfigError(f'{path} has no stages')
    if variants := recipe.get('variants'):
        from mmvitlin.engine.sweep import expand
        return expand(stages, variants['of'], variants['options'].to_dict())
    return stages


def _has(cfg: Config, key: str) -> bool:
    node = cfg
    for name in key.split('.'):
        if name not in node:
            return False
        node = node[name]
    return True


@dataclass
class Report:
    """What a recipe says of its own results.

    Attributes:
        title: Heading.
        teacher: Stage of the network that is distilled.
        student: Stage of the network it is for.
        unlabelled: Stages before the student's that read no labels.
        rows: Stage → what it is, in words; the rows of the table, in order.
        note: A sentence more.
    """
    title: str
    teacher: str
    student: str
    unlabelled: list[str]
    rows: dict[str, str]
    note: str = ''


def load_report(path: str | Path) -> Report:
    """How a recipe wants its results told.

    Raises:
        ConfigError: it does not say, or speaks of stages it does not have.
    """
    path = locate_config(str(path))
    names = [s.name for s in load_recipe(path)]
    told = Config.fromfile(path).get('report')
    try:
        report = Report(**(told or {}))
    except TypeError as error:
        raise ConfigError(f'{path}: report: {error}') from error
    spoken = {report.teacher, report.student, *report.unlabelled, *report.rows}
    if unknown := sorted(spoken - set(names)):
        raise ConfigError(f'{path}: report speaks of {unknown}, the stages are {names}')
    return report


def checkpoint_of(stage: Stage, folder: Path) -> Path:
    """The file that later stages take.

    Raises:
        ConfigError: the stage left none.
    """
    if not (folder / 'result.json').is_file():
        raise ConfigError(f"stage '{stage.name}' has not come to its end in {folder}; run it first")
    if not stage.output:
        return last_checkpoint(folder)
    if not (folder / stage.output).is_file():
        raise ConfigError(f"stage '{stage.name}' left no {stage.output} in {folder}")
    return folder / stage.output


def folder_of(stage: Stage, work_dir: Path, seed: int) -> Path:
    """Where a stage of a seed works."""
    return work_dir / ('shared' if stage.shared else f'seed{seed}') / stage.name


def finished(stages: Sequence[Stage], work_dir: str | Path, seeds: Sequence[int]
             ) -> dict[int, dict[str, dict]]:
    """Seed → stage → its ``result.json``, of the stages that are done."""
    paths = {seed: {s.name: folder_of(s, Path(work_dir), seed) / 'result.json' for s in stages}
             for seed in seeds}
    return {seed: {name: json.loads(path.read_text()) for name, path in files.items()
                   if path.is_file()} for seed, files in paths.items()}


def run_recipe(stages: Sequence[Stage],
               work_dir: str | Path,
               seeds: Sequence[int] = (0, ),
               options: dict[str, object] | None = None,
               only: Sequence[str] | None = None,
               amp: bool = False,
               jobs: int = 1) -> dict[int, dict[str, dict]]:
    """Run the stages that have no result yet, each as soon as its inputs are there.

    A stage is done when its folder holds ``result.json``; a stage that was interrupted goes
    on from its newest checkpoint. What a stage was run with is written beside it (``stage.json``:
    its config, its options, the files it was given; not where the data lies or how it is read);
    a folder that says it was made with something else is refused: every done stage of the recipe
    before anything starts, and those that stand on a stage that had to run as soon as it has.
    Processes may share a work directory: what one runs, the others wait for.

    Args:
        stages: From :func:`load_recipe`.
        work_dir: Holds ``seed<N>/<stage>``, and ``shared/<stage>`` for shared stages.
        seeds: Every stage is run once for each; shared stages once, with 0.
        options: ``--cfg-options`` for every stage, such as data_root.
        only: Names of the stages to run; all if None.
        amp: Train every stage in mixed precision.
        jobs: Stages that may run side by side, also of different seeds. Where there are several
            GPUs, each runs on the one that has the fewest of them; on a CPU they share its cores
            evenly, and one that all others wait for has them all.

    Returns:
        Seed → stage → its ``result.json``.

    Raises:
        StagesFailed: names their logs, after everything that does not stand on them was run.
        ConfigError: a stage lies there that was run with other settings, or an option sets the
            seed.
    """
    work_dir, by_name = Path(work_dir), {s.name: s for s in stages}

    if any(mark in str(work_dir) for mark in ' ,()[]"\''):
        raise ConfigError(f"the work directory '{work_dir}' has a blank, a comma, a bracket or a "
                          'quote in its name, which --cfg-options would take apart')

    def folder(stage: Stage, seed: int) -> Path:
        return folder_of(stage, work_dir, seed)

    def needed(stage: Stage, seed: int) -> set[Path]:  # also through stages that are done
        before = [by_name[source] for source in stage.inputs.values()]
        return {folder(s, seed) for s in before}.union(*(needed(s, seed) for s in before))

    def compare_done(after: Path | None = None) -> None:
        for stage, seed in itertools.product(stages, seeds):
            target = folder(stage, seed)
            if (target / 'result.json').is_file() and (
                    after is None or after in needed(stage, seed)):
                compare(stage, target, options or {}, _inputs(stage, by_name, work_dir, seed), amp,
                        seed)

    for stage in stages:
        if 'randomness.seed' in {**(options or {}), **stage.options, **stage.by_seed}:
            raise ConfigError(f"stage '{stage.name}' has the option randomness.seed, which --seeds "
                              'overwrites; give the seeds there')
    compare_done()
    wanted = [s for s in stages if only is None or s.name in only]
    runs = {folder(s, seed): (s, seed) for seed in seeds for s in wanted}
    waiting = {f: run for f, run in runs.items() if not (f / 'result.json').is_file()}
    left = set(waiting)
    failed: dict[Path, str] = {}
    elsewhere: set[Path] = set()  # what another process works at
    threads = max((os.cpu_count() or 1) // jobs, 1) if jobs > 1 else None
    with ThreadPoolExecutor(jobs) as pool, Children() as children, Locks() as locks:
        running: dict[Future, Path] = {}
        gpus = Gpus()
        while waiting or running:
            ready = [(f, run) for f, run in waiting.items() if not left & needed(*run)]
            alone = len(ready) == 1 and not running  # it may have the whole machine
            for target, (stage, seed) in ready:
                if len(running) == jobs:
                    break
                if not locks.claim(target):
                    if target not in elsewhere:
                        print(f'    {target} is being run by another process; waiting for it',
                              flush=True)
                    elsewhere.add(target)
                    continue
                del waiting[target]
                if (target / 'result.json').is_file():  # that process has done it
                    locks.free(target)
                    left.discard(target)
                    compare_done(target)
                    continue
                given = {k: str(checkpoint_of(by_name[source], folder(by_name[source], seed)))
                         for k, source in stage.inputs.items()}
                command = _command(stage, target, seed, {**(options or {}), **given}, amp)
                remember(stage, target, options or {}, given, amp, seed)
                label = stage.name if len(seeds) == 1 else f'{stage.name} {seed}'
                print(f'[{label}] {shlex.join(command[1:])}', flush=True)
                running[pool.submit(run_logged, command, target / 'train.log', label,
                                    None if alone else threads, children,
                                    gpus.take(target))] = target
            if not running:
                time.sleep(_POLL if elsewhere & waiting.keys() else 0)
                continue
            for future in wait(running, _POLL if elsewhere & waiting.keys() else None,
                               FIRST_COMPLETED).done:
                target = running.pop(future)
                locks.free(target)
                gpus.leave(target)
                code, last = future.result()
                if code:
                    failed[target] = (f"stage '{target.name}' ended with status {code}: {last} "
                                      f"(the whole log is {target / 'train.log'})")
                    print(f'    {failed[target]}', flush=True)
                    waiting = {f: run for f, run in waiting.items() if target not in needed(*run)}
                    continue
                left.discard(target)
                compare_done(target)
    if failed:
        raise StagesFailed('; '.join(failed.values()) + '. All else that could be run is done; '
                           'the same command goes on from here.')
    return finished(wanted, work_dir, seeds)


def _inputs(stage: Stage, by_name: dict[str, Stage], work_dir: Path, seed: int) -> dict[str, str]:
    """The files that earlier stages left for this one, as far as they are still there."""
    found = {}
    for key, source in stage.inputs.items():
        with suppress(ConfigError, CheckpointError):
            found[key] = str(checkpoint_of(by_name[source],
                                           folder_of(by_name[source], work_dir, seed)))
    return found


def _command(stage: Stage, folder: Path, seed: int, settings: dict[str, object],
             amp: bool) -> list[str]:
    settings = {**settings, **stage.options_of(seed)}
    command = [sys.executable, os.path.relpath(_TRAIN), stage.config, '--work-dir', str(folder),
               '--seed', str(0 if stage.shared else seed)]
    if settings:
        command += ['--cfg-options', *(f'{k}={v}' for k, v in settings.items())]
    if amp:
        command.append('--amp')
    if any(folder.glob('*.pth')):
        command.append('--resume')
    return command
