"""The result of a run, in one JSON file."""
from __future__ import annotations

import functools
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

import mmengine
import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.runner import Runner

import mmvitlin
from mmvitlin.engine.optim import CPUAmpOptimWrapper
from mmvitlin.engine.optim import OptimWrapper as OurOptimWrapper
from mmvitlin.registry import HOOKS
from mmvitlin.utils.files import write_whole
from mmvitlin.utils.normalisation import Normalisation
from mmvitlin.utils.paths import folder

_LAST = 50  # iterations whose mean loss is kept


def versions() -> dict[str, str]:
    """Versions that a measured number depends on."""
    return dict(
        mmvitlin=mmvitlin.__version__,
        python=platform.python_version(),
        torch=torch.__version__,
        mmengine=mmengine.__version__)


@functools.cache
def commit() -> str | None:
    """Commit of the checkout that runs, with '+' where files differ from it; None of none."""
    root = Path(mmvitlin.__file__).parents[1]
    git = ['git', '-C', str(root)]
    with suppress(OSError, subprocess.SubprocessError):
        ask = functools.partial(subprocess.run, capture_output=True, text=True, check=True,
                                timeout=20)
        if Path(ask([*git, 'rev-parse', '--show-toplevel']).stdout.strip()) != root:
            return None  # installed somewhere inside another project
        changed = ask([*git, 'status', '--porcelain', '-uno']).stdout
        return ask([*git, 'rev-parse', '--short', 'HEAD']).stdout.strip() + '+' * bool(changed)
    return None


def command_line() -> str:
    """What was called: a tool as ``python -m mmvitlin TOOL …``, which runs it in a checkout and in
    an installation, or a script by its place relative to the working folder."""
    if not sys.argv[0] or not Path(sys.argv[0]).is_file():
        return 'python'
    script = Path(sys.argv[0]).resolve()
    with suppress(FileNotFoundError):  # an installation without tools
        if script.parent == folder('tools').resolve():
            return shlex.join(['python', '-m', 'mmvitlin', script.stem, *sys.argv[1:]])
    return shlex.join(['python', os.path.relpath(sys.argv[0]), *sys.argv[1:]])


def _scalars(metrics: dict | None) -> dict[str, float]:
    return {k: round(float(v), 4) for k, v in (metrics or {}).items()
            if isinstance(v, (int, float)) or getattr(v, 'ndim', None) == 0}


def precision_of(wrapper: object) -> str | None:
    """What an optimiser wrapper computes losses in; None for what is no wrapper of its own."""
    if isinstance(wrapper, CPUAmpOptimWrapper):
        return 'bfloat16'
    if isinstance(wrapper, AmpOptimWrapper):
        return str(wrapper.cast_dtype or torch.float16).removeprefix('torch.')
    return 'float32' if type(wrapper) in (OptimWrapper, OurOptimWrapper) else None


@HOOKS.register_module()
class ResultHook(Hook):
    """Write ``result.json``: last metrics, iterations, seconds, seed, versions, commit, command.

    Losses are means of the last 50 iterations, seconds those of the process that ended the run.
    A test writes ``test_result.json``.

    Args:
        filename: Name of the file in the work directory.
    """
    priority = 'LOWEST'

    def __init__(self, filename: str = 'result.json'):
        self.filename = self._named = filename
        self.metrics: dict[str, float] = {}
        self._start = time.perf_counter()
        self._trains = False

    def before_run(self, runner: Runner) -> None:
        """Start the clock, and note the code before it changes."""
        commit()
        self._start = time.perf_counter()

    def before_train(self, runner: Runner) -> None:
        """Only a run that trains has iterations; a test may have no training data."""
        self._trains, self.filename = True, self._named

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Keep the newest metrics."""
        self.metrics = _scalars(metrics)

    def after_train(self, runner: Runner) -> None:
        """Validate a run that was resumed after its last iteration, before its validation."""
        if not self.metrics and runner._val_loop is not None:
            self.metrics = _scalars(runner.val_loop.run())

    def before_test(self, runner: Runner) -> None:
        """A test writes beside the result of the training, not over it."""
        self.filename = f'test_{self._named}'

    def after_test_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Keep the newest metrics."""
        self.metrics = _scalars(metrics)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Describe the backbone and the images in every checkpoint's meta."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        describe = getattr(getattr(model, 'backbone', None), 'describe', None)
        if describe is not None:
            checkpoint.setdefault('meta', {})['backbone'] = describe()
        if getattr(model, 'teacher', None) is not None and hasattr(model, 'dataset_meta'):
            # classes are the teacher's, not those of the images' data set
            checkpoint.setdefault('meta', {})['dataset_meta'] = model.dataset_meta
        normalisation = Normalisation.of_preprocessor(getattr(model, 'data_preprocessor', None))
        if normalisation is not None:
            checkpoint.setdefault('meta', {})['normalisation'] = normalisation.to_meta()

    def after_run(self, runner: Runner) -> None:
        """Write the file."""
        if runner.rank != 0:
            return
        scalars = {
            k.removeprefix('train/'): v.mean(_LAST)  # one batch is noisy
            for k, v in runner.message_hub.log_scalars.items()
            if 'loss' in k and len(v.data[0])
        }
        result = dict(
            metrics=self.metrics,
            train=scalars,
            iterations=runner.iter if self._trains else 0,
            seconds=round(time.perf_counter() - self._start, 1),
            seed=runner.seed,
            parameters=sum(p.numel() for p in runner.model.parameters()),
            threads=torch.get_num_threads(),
            device=str(next(runner.model.parameters()).device),
            versions=versions(),
            date=datetime.now(timezone.utc).isoformat(timespec='seconds'),
            command=command_line())
        if precision := precision_of(getattr(runner, 'optim_wrapper', None)):
            result['precision'] = precision
        if revision := commit():
            result['commit'] = revision
        path = Path(runner.work_dir) / self.filename
        write_whole((json.dumps(result, indent=2, default=float) + '\n').encode(), path)
