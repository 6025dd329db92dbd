"""SIGTERM and Ctrl-C end a run after the current step, with a checkpoint."""
from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import torch
import torch.distributed as dist
from mmengine.hooks import EMAHook, Hook
from mmengine.runner import Runner

from mmvitlin.datasets.workers import SIGNALS
from mmvitlin.engine.checkpoints import LOCAL
from mmvitlin.engine.hooks.accumulation import AccumulationHook, steps_of_update
from mmvitlin.engine.hooks.finite_loss import FiniteLossHook
from mmvitlin.engine.strategies import distributed
from mmvitlin.registry import HOOKS
from mmvitlin.utils.files import write_whole


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

    Cluster schedulers send SIGTERM; ``--resume`` continues from there, in the middle of an epoch
    too: the first epoch after it leaves out the batches that were seen, where the sampler is
    mmvitlin's. A second signal ends the process at once.
    """
    priority = 'LOWEST'

    def __init__(self):
        self.caught: int | None = None
        self._before: dict[int, object] = {}
        self._group: dist.ProcessGroup | None = None  # None: the usual one
        self._resumed: dict = {}  # meta of the resumed run
        self._batches: dict[str, int] = {}

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Say how many images make a step, and steps an epoch."""
        checkpoint.setdefault('meta', {}).update(self._batches)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Hear it."""
        self._resumed = checkpoint.get('meta') or {}

    def before_train(self, runner: Runner) -> None:
        """Install the handlers, and leave out the batches that an interrupted epoch has seen."""
        if runner.world_size > 1 and dist.get_backend() != 'gloo':
            self._group = dist.new_group(backend='gloo')
        finite_loss = self._finite_loss(runner)
        if finite_loss is not None:  # its reduction shares the signals
            finite_loss.shares['signals'] = self._flags
        loop = runner.train_loop
        self._batches = _batches(runner)
        if _by_epoch(runner):
            seen = runner.iter - runner.epoch * len(loop.dataloader)
            if not self._goes_on(runner):
                pass
            elif seen > 0:
                skip = getattr(loop.dataloader.sampler, 'skip_once', None)
                if skip is None:
                    runner.logger.warning('the sampler cannot leave out what the interrupted '
                                          'epoch has seen: it starts from its first batch')
                else:
                    skip(seen * loop.dataloader.batch_size)
            loop.dataloader = _Listening(loop.dataloader, self, runner)
        elif hasattr(loop, 'dataloader_iterator'):
            self._goes_on(runner)
            loop.dataloader_iterator = _Listening(loop.dataloader_iterator, self, runner)
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._before[number] = signal.signal(number, self._hear)

    def _goes_on(self, runner: Runner) -> bool:
        """Whether a resumed run has the steps of the one before; says so if not."""
        changed = [f'{name} is {value} and was {self._resumed[name]}'
                   for name, value in self._batches.items()
                   if self._resumed.get(name, value) != value]
        if not runner._resume or not changed:
            return True
        runner.logger.warning(
            f"the resumed run has other steps: {', '.join(changed)}; the counts of iterations, and "
            'rates that follow them, are of the steps before'
            + (', and the current epoch starts from its first batch' if _by_epoch(runner) else ''))
        return False

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
        """End here if any process was asked to; DeepSpeed's runs end at the next update."""
        finite_loss = self._finite_loss(runner)
        shared = None if finite_loss is None else finite_loss.shared.get('signals')
        caught = self._agreed(runner) if shared is None else self._first(shared)
        if caught and (runner.iter + 1) % steps_of_update(runner) == 0:
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
        for hook in runner.hooks:
            if isinstance(hook, AccumulationHook):
                hook.gather(runner)
        if done % steps_of_update(runner):
            self._leave(runner, caught, f'after iteration {done}, in the middle of an accumulation '
                        "of DeepSpeed's: go on from the checkpoint before")
        name = f'epoch_{runner.epoch}_iter_{done}.pth' if _by_epoch(runner) else f'iter_{done}.pth'
        runner.save_checkpoint(runner.work_dir, name, by_epoch=False,
                               meta=dict(epoch=runner.epoch, iter=done),
                               backend_args=dict(backend=LOCAL))
        if runner.rank == 0:
            write_whole(name.encode(), Path(runner.work_dir) / 'last_checkpoint')
        self._leave(runner, caught, f'after iteration {done}, saved as {name}')

    def _leave(self, runner: Runner, caught: int, where: str) -> NoReturn:
        runner.logger.info(f'ended by {signal.Signals(caught).name} {where}')
        self.restore()
        distributed.leave()
        sys.exit(128 + caught)

    @staticmethod
    def _finite_loss(runner: Runner) -> FiniteLossHook | None:
        return next((h for h in runner.hooks if isinstance(h, FiniteLossHook)), None)

    def _flags(self) -> torch.Tensor:
        return torch.tensor([float(self.caught == number) for number in SIGNALS])

    @staticmethod
    def _first(counts: torch.Tensor) -> int:
        """The first of the signals that any process caught; 0 for none."""
        return next((int(number) for number, count in zip(SIGNALS, counts.tolist(), strict=True)
                     if count), 0)

    def _agreed(self, runner: Runner) -> int:
        """The signal that any process caught: all end after the same step, or one would wait."""
        if runner.world_size == 1:
            return self.caught or 0
        caught = torch.tensor(self.caught or 0)  # on the CPU: none waits for its device
        dist.all_reduce(caught, dist.ReduceOp.MAX, group=self._group)
        return int(caught)

    def after_train(self, runner: Runner) -> None:
        """Stop listening."""
        self.restore()

    def restore(self) -> None:
        """Give signals back to those who heard them before the run."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()


def _batches(runner: Runner) -> dict[str, int]:
    loader = runner.train_loop.dataloader
    batches = dict(images_per_step=(getattr(loader, 'batch_size', None) or 1) * runner.world_size)
    return batches | (dict(steps_per_epoch=len(loader)) if _by_epoch(runner) else {})


def _by_epoch(runner: Runner) -> bool:
    return type(runner.train_loop).__name__ != 'IterBasedTrainLoop'
