"""Running a recipe: each stage in a process, as soon as its input checkpoints exist."""
from __future__ import annotations

import itertools
import json
import os
import shlex
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path

from mmvitlin.engine.checkpoints import last_checkpoint
from mmvitlin.engine.runner.options import format_option
from mmvitlin.experiments.stage import Stage
from mmvitlin.experiments.stage_process import Children, Gpus, Locks, run_logged
from mmvitlin.experiments.stage_record import compare, remember
from mmvitlin.utils.errors import CheckpointError, ConfigError
from mmvitlin.utils.paths import folder as own_folder

_TRAIN = own_folder('tools') / 'train.py'
_POLL = 2.  # seconds between checks of what other processes run


class StagesFailed(ConfigError):
    """Stages ended with an error; all that does not depend on them has been run."""


def checkpoint_of(stage: Stage, folder: Path) -> Path:
    """The file that later stages take.

    Raises:
        ConfigError: the stage left none.
    """
    if not (folder / 'result.json').is_file():
        raise ConfigError(f"stage '{stage.name}' is not finished in {folder}; run it first")
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


class _Run:
    """A recipe that is being run: which stages wait, which are left, and which failed.

    Attributes:
        waiting: Folder → stage and seed, of what is to be run and was not started.
        left: Folders of what is to be run and is not done.
        failed: Folder → message on how its stage ended.
        elsewhere: Folders that another process runs.
    """

    def __init__(self, stages: Sequence[Stage], work_dir: Path, seeds: Sequence[int],
                 options: dict[str, object], amp: bool):
        self.stages, self.work_dir, self.seeds = stages, work_dir, seeds
        self.options, self.amp = options, amp
        self.by_name = {s.name: s for s in stages}
        self.waiting: dict[Path, tuple[Stage, int]] = {}
        self.left: set[Path] = set()
        self.failed: dict[Path, str] = {}
        self.elsewhere: set[Path] = set()

    def folder(self, stage: Stage, seed: int) -> Path:
        return folder_of(stage, self.work_dir, seed)

    def inputs_of(self, stage: Stage, seed: int, missing: bool = False) -> set[Path]:
        """Folders that a stage depends on, directly or not; of ``missing`` those without a result,
        which have to be run for it."""
        before = [self.by_name[source] for source in stage.inputs.values()]
        if missing:
            before = [s for s in before if not _is_done(self.folder(s, seed))]
        return {self.folder(s, seed) for s in before}.union(
            *(self.inputs_of(s, seed, missing) for s in before))

    def compare_done(self, after: Path | None = None) -> None:
        """Refuse finished stages that were run with other settings; with ``after`` those that
        depend on it."""
        for stage, seed in itertools.product(self.stages, self.seeds):
            target = self.folder(stage, seed)
            if _is_done(target) and (after is None or after in self.inputs_of(stage, seed)):
                compare(stage, target, self.options, self._files_of(stage, seed), self.amp, seed)

    def _files_of(self, stage: Stage, seed: int) -> dict[str, str]:
        """Checkpoints of earlier stages for this one, as far as they still exist."""
        files = {}
        for key, source in stage.inputs.items():
            with suppress(ConfigError, CheckpointError):
                before = self.by_name[source]
                files[key] = str(checkpoint_of(before, self.folder(before, seed)))
        return files

    def choose(self, chosen: Sequence[Stage], known: Mapping[int, Collection[str]] | None) -> None:
        """Fill ``waiting`` with the chosen stages that have no result."""
        runs = {self.folder(s, seed): (s, seed) for n, seed in enumerate(self.seeds)
                for s in chosen if not s.seeds or n < s.seeds}
        if known:
            needed = {f for f, (s, seed) in runs.items() if s.name not in known.get(seed, ())}
            needed = needed.union(*(self.inputs_of(*runs[f], missing=True) for f in needed))
            runs = {f: run for f, run in runs.items() if f in needed}
        self.waiting = {f: run for f, run in runs.items() if not _is_done(f)}
        self.left = set(self.waiting)

    def ready(self) -> list[Path]:
        """Folders of waiting stages whose inputs are there."""
        return [f for f, run in self.waiting.items() if not self.left & self.inputs_of(*run)]

    def claim(self, target: Path, locks: Locks) -> tuple[Stage, int] | None:
        """Take a stage out of ``waiting``; None where another process runs it, or has done it."""
        if not locks.claim(target):
            if target not in self.elsewhere:
                print(f'    {target} is being run by another process; waiting for it', flush=True)
            self.elsewhere.add(target)
            return None
        run = self.waiting.pop(target)
        if _is_done(target):
            locks.free(target)
            self.done(target)
            return None
        return run

    def command(self, target: Path, stage: Stage, seed: int) -> tuple[list[str], str]:
        """Command that runs a stage, which is printed and remembered, and the stage's label."""
        given = {k: str(checkpoint_of(self.by_name[source],
                                      self.folder(self.by_name[source], seed)))
                 for k, source in stage.inputs.items()}
        command = _command(stage, target, seed, {**self.options, **given}, self.amp)
        remember(stage, target, self.options, given, self.amp, seed)
        label = stage.name if len(self.seeds) == 1 else f'{stage.name} {seed}'
        print(f'[{label}] {shlex.join(command[1:])}', flush=True)
        return command, label

    def done(self, target: Path) -> None:
        """A stage has its result."""
        self.left.discard(target)
        self.compare_done(target)

    def ended(self, target: Path, code: int, last: str) -> None:
        """A stage's process has ended; without a result, stages that depend on it are dropped."""
        if not code and _is_done(target):
            self.done(target)
            return
        last = last if code else "no result.json; give its config switches=['runtime']"
        self.failed[target] = (f"stage '{target.name}' ended with status {code}: {last} "
                               f"(the whole log is {target / 'train.log'})")
        print(f'    {self.failed[target]}', flush=True)
        self.waiting = {f: run for f, run in self.waiting.items()
                        if target not in self.inputs_of(*run)}

    def patience(self) -> float | None:
        """Seconds until the next check of other processes; None where nothing waits for them."""
        return _POLL if self.elsewhere & self.waiting.keys() else None


def _is_done(folder: Path) -> bool:
    return (folder / 'result.json').is_file()


def run_recipe(stages: Sequence[Stage],
               work_dir: str | Path,
               seeds: Sequence[int] = (0, ),
               options: dict[str, object] | None = None,
               only: Sequence[str] | None = None,
               amp: bool = False,
               jobs: int = 1,
               known: Mapping[int, Collection[str]] | None = None) -> dict[int, dict[str, dict]]:
    """Run the stages that have no result yet, each as soon as its inputs are there.

    A stage is done when its folder holds ``result.json``; a stage that was interrupted goes
    on from its newest checkpoint. What a stage was run with is written beside it (``stage.json``:
    its config, its options, the files it was given; not where the data lies or how it is read);
    a folder whose record differs is refused: every finished stage of the recipe before anything
    starts, and those that depend on a stage that had to run as soon as it has. Processes may share
    a work directory: what one runs, the others wait for.

    Args:
        stages: From :func:`mmvitlin.experiments.recipe.load_recipe`.
        work_dir: Holds ``seed<N>/<stage>``, and ``shared/<stage>`` for shared stages.
        seeds: Every stage is run once for each; shared stages once, with 0.
        options: ``--cfg-options`` for every stage, such as data_root.
        only: Names of the stages to run; all if None.
        amp: Train every stage in mixed precision.
        jobs: Stages that may run side by side, also of different seeds. Where there are several
            GPUs, each runs on the one that has the fewest of them; on a CPU they share its cores
            evenly, and a stage that runs alone has them all.
        known: Seed → stages whose results are known: run only where another stage needs their
            checkpoints.

    Returns:
        Seed → stage → its ``result.json``.

    Raises:
        StagesFailed: names their logs, after everything that does not depend on them was run.
        ConfigError: a stage lies there that was run with other settings, or an option sets the
            seed, or one that a stage sets itself.
    """
    for stage in stages:
        if 'randomness.seed' in {**(options or {}), **stage.options, **stage.by_seed}:
            raise ConfigError(f"stage '{stage.name}' has the option randomness.seed, which --seeds "
                              'overwrites; give the seeds there')
    run = _Run(stages, Path(work_dir), seeds, options or {}, amp)
    run.compare_done()
    chosen = [s for s in stages if only is None or s.name in only]
    for stage in chosen:
        own = {**stage.options, **stage.by_seed}
        for key in options or {}:
            if key in own or (key == 'iterations' and 'train_cfg.max_iters' in own):
                raise ConfigError(f"--cfg-options {key}: stage '{stage.name}' of the recipe sets "
                                  'it itself; change it there, in a copy of the recipe')
    run.choose(chosen, known)
    threads = max((os.cpu_count() or 1) // jobs, 1) if jobs > 1 else None
    with ThreadPoolExecutor(jobs) as pool, Children() as children, Locks() as locks:
        running: dict[Future, Path] = {}
        gpus = Gpus()
        while run.waiting or running:
            ready = run.ready()
            alone = len(ready) == 1 and not running  # it may have the whole machine
            for target in ready:
                if len(running) == jobs:
                    break
                if (claimed := run.claim(target, locks)) is None:
                    continue
                command, label = run.command(target, *claimed)
                running[pool.submit(run_logged, command, target / 'train.log', label,
                                    None if alone else threads, children,
                                    gpus.take(target))] = target
            if not running:
                time.sleep(run.patience() or 0)
                continue
            for future in wait(running, run.patience(), FIRST_COMPLETED).done:
                target = running.pop(future)
                locks.free(target)
                gpus.leave(target)
                run.ended(target, *future.result())
    if run.failed:
        raise StagesFailed('; '.join(run.failed.values()) + '. All else that could be run is done; '
                           'the same command continues from here.')
    return finished(chosen, work_dir, seeds)


def _command(stage: Stage, folder: Path, seed: int, settings: dict[str, object],
             amp: bool) -> list[str]:
    settings = {**settings, **stage.options_of(seed)}
    command = [sys.executable, os.path.relpath(_TRAIN), stage.config, '--work-dir', str(folder),
               '--seed', str(0 if stage.shared else seed)]
    if settings:
        command += ['--cfg-options', *(format_option(k, v) for k, v in settings.items())]
    if amp:
        command.append('--amp')
    if any(folder.glob('*.pth')):
        command.append('--resume')
    return command
