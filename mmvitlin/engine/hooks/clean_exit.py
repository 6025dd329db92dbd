"""SIGTERM and Ctrl-C end a run after the step in hand, with a checkpoint."""
from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.distributed as dist
from mmengine.dataset import worker_init_fn
from mmengine.hooks import EMAHook, Hook
from mmengine.runner import Runner, _flexible_runner, runner

from mmvitlin.engine import distributed
from mmvitlin.engine.checkpoints import write_whole
from mmvitlin.registry import HOOKS

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def patient_worker(worker_id: int, **kwargs) -> None:
    """mmengine's start of a loader's worker, which then obeys its parent alone.

    Launchers and terminals signal the whole group of processes; a worker that died of it would take
    the batch along that the last step is made of.
    """
    worker_init_fn(worker_id, **kwargs)
    if hasattr(signal, 'sigwaitinfo'):  # not on every system
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        threading.Thread(target=_obey, args=(os.getppid(), ), daemon=True).start()


def _obey(parent: int) -> None:
    """End when the parent says so, whoever else may."""
    while True:
        told = signal.sigwaitinfo(_SIGNALS)
        if told.si_signo == signal.SIGTERM and told.si_pid == parent:
            os._exit(0)


def install() -> None:
    """Let the loaders of mmengine's runners start their workers so."""
    runner.default_worker_init_fn = _flexible_runner.default_worker_init_fn = patient_worker


class _Listening:
    """A loader, or its iterator, that ends the run where a signal broke it."""

    def __init__(self, loader, hook: CleanExitHook, of: Runner):
        self.__dict__.update(_loader=loader, _hook=hook, _of=of)

    def __getattr__(self, name: str):
        return getattr(self._loader, name)

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator:
        batches = iter(self._loader)
        while True:
            try:
                batch = self._next(batches)
            except StopIteration:
                return
            yield batch

    def __next__(self):
        return self._next(self._loader)

    def _next(self, batches):
        try:
            return next(batches)
        except RuntimeError:  # a worker died
            if self._hook.caught is None:
                raise
            self._hook.end(self._of, self._hook.caught, self._of.iter)


@HOOKS.register_module()
class CleanExitHook(Hook):
    """Finish the step, save, and exit with 128 plus the signal's number.

    A cluster that wants the machine back sends SIGTERM; ``--resume`` goes on from where it was, in
    the middle of an epoch too: the first epoch after it leaves out the batches that were seen,
    where the sampler is ours. A second signal ends the process at once.
    """
    priority = 'LOWEST'

    def __init__(self):
        self.caught: int | None = None
        self._before: dict[int, object] = {}

    def before_train(self, runner: Runner) -> None:
        """Listen, and leave out what a cut epoch has seen."""
        loop = runner.train_loop
        if _by_epoch(runner):
            seen = runner.iter - runner.epoch * len(loop.dataloader)
            if seen > 0:
                skip = getattr(loop.dataloader.sampler, 'skip_once', None)
                if skip is None:
                    runner.logger.warning('the sampler cannot leave out what the cut epoch has '
                                          'seen: it starts from its first batch')
                else:
                    skip(seen * loop.dataloader.batch_size)
            loop.dataloader = _Listening(loop.dataloader, self, runner)
        elif hasattr(loop, 'dataloader_iterator'):
            loop.dataloader_iterator = _Listening(loop.dataloader_iterator, self, runner)
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._before[number] = signal.signal(number, self._hear)

    def _hear(self, number: int, frame) -> None:
        if self.caught is not None:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.caught = number
        # torch raises from this handler, in the middle of anything, when a worker dies
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        print(f'{signal.Signals(number).name}: ending after this step; once more ends at once',
              file=sys.stderr, flush=True)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None,
                         outputs=None) -> None:
        """End here if any process was asked to."""
        if caught := self._agreed(runner):
            self.end(runner, caught, runner.iter + 1)

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch=None,
                       outputs=None) -> None:
        """Validation during training is not waited for."""
        if self._before and (caught := self._agreed(runner)):
            for hook in runner.hooks:  # validation runs the averaged weights in the model's place
                if isinstance(hook, EMAHook):
                    hook.after_val_epoch(runner)
            self.end(runner, caught, runner.iter)

    def end(self, runner: Runner, caught: int, done: int) -> None:
        """Save after ``done`` iterations, and exit."""
        name = f'epoch_{runner.epoch}_iter_{done}.pth' if _by_epoch(runner) else f'iter_{done}.pth'
        runner.save_checkpoint(runner.work_dir, name, by_epoch=False,
                               meta=dict(epoch=runner.epoch, iter=done))
        if runner.rank == 0:
            write_whole(name.encode(), Path(runner.work_dir) / 'last_checkpoint')
        runner.logger.info(f'ended by {signal.Signals(caught).name} after iteration {done}, saved '
                           f'as {name}')
        self._restore()
        distributed.leave()
        sys.exit(128 + caught)

    def _agreed(self, runner: Runner) -> int:
        """The signal that any process caught: all end after the same step, or one would wait."""
        if runner.world_size == 1:
            return self.caught or 0
        device = next(runner.model.parameters()).device
        caught = torch.tensor(self.caught or 0, device=device)
        dist.all_reduce(caught, dist.ReduceOp.MAX)
        return int(caught)

    def after_train(self, runner: Runner) -> None:
        """Stop listening."""
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()


def _by_epoch(runner: Runner) -> bool:
    return type(runner.train_loop).__name__ != 'IterBasedTrainLoop'
