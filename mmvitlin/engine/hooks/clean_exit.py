"""SIGTERM and Ctrl-C end a run after the step in hand, with a checkpoint."""
from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

import torch
import torch.distributed as dist
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmvitlin.engine import distributed
from mmvitlin.registry import HOOKS


@HOOKS.register_module()
class CleanExitHook(Hook):
    """Finish the step, save, and exit with 128 plus the signal's number.

    A cluster that wants the machine back sends SIGTERM; ``--resume`` goes on from where it was. A
    second signal ends the process at once. Iteration-based runs only: an epoch cut in two cannot
    be resumed in its middle, so epoch-based runs end without a new checkpoint.
    """
    priority = 'LOWEST'

    def __init__(self):
        self.caught: int | None = None
        self._before: dict[int, object] = {}

    def before_train(self, runner: Runner) -> None:
        """Listen."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._hear)

    def _hear(self, number: int, frame) -> None:
        if self.caught is not None:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.caught = number
        print(f'{signal.Signals(number).name}: ending after this step; once more ends at once',
              file=sys.stderr, flush=True)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None,
                         outputs=None) -> None:
        """End here if any process was asked to."""
        caught = self._agreed(runner)
        if not caught:
            return
        where = f'after iteration {runner.iter + 1}'
        if type(runner.train_loop).__name__ == 'IterBasedTrainLoop':
            name = f'iter_{runner.iter + 1}.pth'
            runner.save_checkpoint(runner.work_dir, name, by_epoch=False)
            (Path(runner.work_dir) / 'last_checkpoint').write_text(name)
            where += f', saved as {name}'
        runner.logger.info(f'ended by {signal.Signals(caught).name} {where}')
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
