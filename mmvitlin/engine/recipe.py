"""Several configs as one experiment: each stage feeds checkpoints to later ones."""
from __future__ import annotations

import json
import os
import re
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmengine.config import Config

from mmvitlin.errors import ConfigError

_TRAIN = Path(__file__).parents[2] / 'tools' / 'train.py'


@dataclass
class Stage:
    """One run of ``tools/train.py``.

    Attributes:
        name: Folder of the stage, and its row in the results.
        config: Config file.
        inputs: Config key → earlier stage whose checkpoint it gets.
        options: More ``--cfg-options``.
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


def load_recipe(path: str | Path) -> list[Stage]:
    """Stages of a recipe file, a config with a list ``stages``.

    Raises:
        ConfigError: a key or an input that is not known, or a name used twice.
    """
    if not Path(path).is_file():
        raise ConfigError(f'no recipe at {path}')
    stages: list[Stage] = []
    for entry in Config.fromfile(path).get('stages') or []:
        try:
            stage = Stage(**entry)
        except TypeError as error:
            raise ConfigError(f"{path}: stage {entry.get('name')}: {error}; a stage has "
                              f'{list(Stage.__dataclass_fields__)}') from error
        names = [s.name for s in stages]
        if stage.name in names:
            raise ConfigError(f"{path}: two stages are called '{stage.name}'")
        for key, source in stage.inputs.items():
            if source not in names:
                raise ConfigError(f"{path}: stage '{stage.name}' gives {key} the checkpoint of "
                                  f"'{source}', which is no earlier stage ({names})")
        stages.append(stage)
    if not stages:
        raise ConfigError(f'{path} has no stages')
    return stages


def checkpoint_of(stage: Stage, folder: Path) -> Path:
    """The file that later stages take.

    Raises:
        ConfigError: the stage left none.
    """
    if stage.output:
        found = folder / stage.output
    else:
        last = folder / 'last_checkpoint'
        found = folder / Path(last.read_text().strip()).name if last.is_file() else folder / 'none'
    if not found.is_file():
        raise ConfigError(f"stage '{stage.name}' left no checkpoint in {folder}")
    return found


def run_recipe(stages: Sequence[Stage],
               work_dir: str | Path,
               seed: int = 0,
               options: dict[str, object] | None = None,
               only: Sequence[str] | None = None,
               amp: bool = False) -> dict[str, dict]:
    """Run the stages that have no result yet, in order.

    A stage is done when its folder holds ``result.json``; a stage that was interrupted goes
    on from its newest checkpoint.

    Args:
        stages: From :func:`load_recipe`.
        work_dir: Holds ``seed<N>/<stage>``, and ``shared/<stage>`` for shared stages.
        seed: Seed of every stage; shared stages always take 0.
        options: ``--cfg-options`` for every stage, such as data_root.
        only: Names of the stages to run; all if None.
        amp: Train every stage in mixed precision.

    Returns:
        Stage → its ``result.json``.

    Raises:
        ConfigError: a stage failed; names its log.
    """
    work_dir = Path(work_dir)
    folders, results = {}, {}
    for number, stage in enumerate(stages, 1):
        folder = work_dir / ('shared' if stage.shared else f'seed{seed}') / stage.name
        folders[stage.name] = folder
        if only is not None and stage.name not in only:
            continue
        result = folder / 'result.json'
        if not result.is_file():
            given = {k: str(checkpoint_of(_named(stages, s), folders[s]))
                     for k, s in stage.inputs.items()}
            settings = {**(options or {}), **stage.options, **given}
            command = [sys.executable, str(_TRAIN), stage.config, '--work-dir', str(folder),
                       '--seed', str(0 if stage.shared else seed)]
            if settings:
                command += ['--cfg-options', *(f'{k}={v}' for k, v in settings.items())]
            if amp:
                command.append('--amp')
            if (folder / 'last_checkpoint').is_file():
                command.append('--resume')
            print(f'[{number}/{len(stages)}] {stage.name}: {shlex.join(command[1:])}', flush=True)
            start = time.perf_counter()
            code, last = _run(command, folder / 'train.log')
            if code:
                raise ConfigError(f"stage '{stage.name}' ended with status {code} after "
                                  f"{time.perf_counter() - start:.0f} s: {last} (the whole log is "
                                  f"{folder / 'train.log'}). The same command goes on from here.")
        results[stage.name] = json.loads(result.read_text())
    return results


_PROGRESS = re.compile(r'Iter\(train\) \[ *(\d+)/(\d+)\].*?eta: (\S+).*? loss: (\S+)')


def _run(command: list[str], log: Path) -> tuple[int, str]:
    """Run a stage: everything it says goes to the log, its progress to the terminal.

    Returns:
        Exit status and the last line it said.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    last = ''
    with log.open('a') as file, subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1,
            env=dict(os.environ, PYTHONUNBUFFERED='1', PYTHONWARNINGS='ignore')) as process:
        for line in process.stdout:
            file.write(line)
            last = line.strip() or last
            if found := _PROGRESS.search(line):
                done, total, eta, loss = found.groups()
                print(f'      {done:>6}/{total} iterations, loss {loss}, {eta} left', flush=True)
            elif 'mIoU:' in line or 'accuracy/top1' in line:
                print(f"      {line[line.rfind(']') + 1:].strip()}", flush=True)
    return process.returncode, last


def _named(stages: Sequence[Stage], name: str) -> Stage:
    return next(s for s in stages if s.name == name)


def summarise(runs: dict[int, dict[str, dict]], metric: str = 'mIoU') -> dict[str, dict]:
    """Mean and spread of a metric over seeds.

    Args:
        runs: Seed → stage → result, from :func:`run_recipe`.
        metric: Key in the results' metrics; stages without it are left out.

    Returns:
        Stage → dict(mean, std (sample deviation, 0 for one seed), values, seconds).
    """
    table: dict[str, dict] = {}
    for name in next(iter(runs.values())):
        rows = [run[name] for run in runs.values() if name in run]
        values = [row['metrics'][metric] for row in rows if metric in row.get('metrics', {})]
        entry = dict(iterations=rows[0]['iterations'],
                     seconds=round(statistics.mean(row['seconds'] for row in rows), 1))
        if values:
            entry.update(mean=round(statistics.mean(values), 2),
                         std=round(statistics.stdev(values), 2) if len(values) > 1 else 0.0,
                         values=[round(v, 2) for v in values])
        table[name] = entry
    return table
