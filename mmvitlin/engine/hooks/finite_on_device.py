"""The finite check without a wait in most steps: the device itself leaves bad updates out."""
from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.distributed as dist
from mmengine.dist import get_world_size
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import Tensor

INTERVAL = 10


class Step(NamedTuple):
    """What is kept of a step until it is checked: its number, batch, loss and gradient."""
    iteration: int
    batch: object
    loss: Tensor
    norm: Tensor
    bad: Tensor


def fits(wrapper: OptimWrapper) -> bool:
    """Whether an optimiser can skip an update by a flag on the device (``found_inf`` of fused
    optimisers), every step is an update, and nothing scales the loss or is sharded."""
    scaler = getattr(wrapper, 'loss_scaler', None)
    return (getattr(wrapper.optimizer, '_step_supports_amp_scaling', False)
            and getattr(wrapper, '_accumulative_counts', 1) == 1
            and not any(hasattr(p, 'to_local') for g in wrapper.param_groups for p in g['params'])
            and not (scaler is not None and scaler.is_enabled()))


def replace_step(wrapper: OptimWrapper, step: Callable[..., None]) -> None:
    """Put a step in the place of an optimiser wrapper's own, which it calls.

    Schedulers count the calls of the step that they have found, and warn where it was replaced, or
    where they come before the first update, as they do where several steps make one.
    """
    wrapper.step = functools.wraps(wrapper.step)(step)  # keeps what mmengine marks it with
    if hasattr(wrapper, '_global_step'):
        wrapper._global_step = max(wrapper._global_step, 0)


class AtStep:
    """A runner at another iteration."""

    def __init__(self, runner: Runner, iteration: int):
        self.__dict__.update(_runner=runner, iter=iteration)

    def __getattr__(self, name: str):
        return getattr(self._runner, name)


class DeviceCheck:
    """Watches the updates of an optimiser wrapper.

    From the first step whose loss or gradient is not finite on, no update changes a weight: a flag
    on the device says so to the optimiser, and stays. The host reads the flags every
    :data:`INTERVAL` steps, and where :meth:`look` is called, and holds the batches of these steps.

    Args:
        wrapper: See :func:`fits`.
        norm_of: Gives the gradient's norm, a tensor.
        batch_of: Gives the batch of the step.
        report: Called with the first bad step, in place of the runner a runner at that step; to
            raise.
    """

    def __init__(self, runner: Runner, norm_of: Callable[[], Tensor],
                 batch_of: Callable[[], object], report: Callable[[AtStep, Step], None]):
        self.runner, self.norm_of, self.batch_of, self.report = runner, norm_of, batch_of, report
        self.steps: list[Step] = []
        self._flag: Tensor | None = None
        wrapper = runner.optim_wrapper
        self._update, self._step = wrapper.update_params, wrapper.step
        wrapper.update_params = self._update_params
        replace_step(wrapper, lambda *args, **kwargs: self._guarded_step(*args, **kwargs))

    def _update_params(self, loss: Tensor, *args, **kwargs) -> None:
        self._loss = loss.detach()
        self._update(loss, *args, **kwargs)

    def _guarded_step(self, *args, **kwargs) -> None:
        norm, loss = self.norm_of(), self._loss
        bad = 1 - (torch.isfinite(loss).all() & torch.isfinite(norm)).float()
        if get_world_size() > 1:
            dist.all_reduce(bad, dist.ReduceOp.MAX)
        self._flag = bad.clone() if self._flag is None else torch.maximum(self._flag, bad)
        optimizer = self.runner.optim_wrapper.optimizer
        optimizer.found_inf = self._flag
        try:
            self._step(*args, **kwargs)
        finally:
            del optimizer.found_inf
        self.steps.append(Step(self.runner.iter, self.batch_of(), loss, norm, bad))
        # between the steps in which losses are logged
        if len(self.steps) >= INTERVAL or self.runner.iter % INTERVAL == INTERVAL // 2:
            self.look()

    def look(self) -> None:
        """Read the flags of the steps since the last time; the host waits once."""
        steps, self.steps = self.steps, []
        if not steps:
            return
        for step, bad in zip(steps, torch.stack([s.bad for s in steps]).tolist(), strict=True):
            if bad:
                self.report(AtStep(self.runner, step.iteration), step)
