"""Logged values of a step stay on their device until they are read."""
from __future__ import annotations

import torch
from mmengine.hooks import LoggerHook
from mmengine.hooks import RuntimeInfoHook as MMEngineRuntimeInfoHook
from mmengine.runner import Runner
from torch import Tensor

from mmvitlin.registry import HOOKS


@HOOKS.register_module()
class RuntimeInfoHook(MMEngineRuntimeInfoHook):
    """mmengine's, which brings every value of a step to the host one by one, without that wait.

    Losses, what else a model logs, and the gradient norm of wrappers that keep one
    (:class:`mmvitlin.engine.optim.OptimWrapper`) stay on the device, and are copied together when
    they are read: before the logger writes, at the end of an epoch and of training, before a
    validation and into a checkpoint. The message hub then has the same values as with mmengine's
    hook, in the same order.

    Args:
        interval: Copy them every so many steps; None for when the logger writes. A hook of
            your own that reads ``train/loss`` in every step needs 1.
    """

    def __init__(self, interval: int | None = None):
        self.interval, self._held = interval, []

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None,
                         outputs: dict | None = None) -> None:
        """Hold the values of the step."""
        for key, value in (outputs or {}).items():
            self._held.append((f'train/{key}', _kept(value)))
        norm = getattr(runner.optim_wrapper, 'grad_norm', None)
        if norm is not None:
            self._held.append(('train/grad_norm', norm))
            runner.optim_wrapper.grad_norm = None
        if self._is_read(runner, batch_idx):
            self.bring(runner)

    def _is_read(self, runner: Runner, batch_idx: int) -> bool:
        if self.interval is not None:
            due = (runner.iter + 1) % self.interval == 0
        else:
            due = any(self.every_n_inner_iters(batch_idx, hook.interval)
                      or self.every_n_train_iters(runner, hook.interval)
                      for hook in runner.hooks if isinstance(hook, LoggerHook))
        return (due or self.end_of_epoch(runner.train_dataloader, batch_idx)
                or self.is_last_train_iter(runner))

    def bring(self, runner: Runner) -> None:
        """Put what is held into the message hub; the host waits for the device once."""
        held, self._held = self._held, []
        tensors = [value for _, value in held if isinstance(value, Tensor)]
        numbers = iter(torch.stack([t.double().reshape(()) for t in tensors]).tolist()
                       if tensors else ())
        for key, value in held:
            runner.message_hub.update_scalar(
                key, next(numbers) if isinstance(value, Tensor) else value)

    def after_train_epoch(self, runner: Runner) -> None:
        """Bring over what is left."""
        self.bring(runner)

    def before_val(self, runner: Runner) -> None:
        """Bring over what is left, in training."""
        self.bring(runner)
        super().before_val(runner)

    def after_train(self, runner: Runner) -> None:
        """Bring over what is left."""
        self.bring(runner)
        super().after_train(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """A checkpoint has all values up to its step."""
        if self._held and 'message_hub' in checkpoint:
            self.bring(runner)
            checkpoint['message_hub'] = runner.message_hub.state_dict()


def _kept(value):
    """Without its graph, and unchanged by later steps."""
    return value.detach().clone() if isinstance(value, Tensor) else value
