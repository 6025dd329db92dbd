"""One set of running statistics for all processes."""
from __future__ import annotations

import torch
import torch.nn as nn
from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch.nn.modules.batchnorm import _BatchNorm

from mmvitlin.engine.hooks.finite_loss import FiniteLossHook
from mmvitlin.registry import HOOKS


@HOOKS.register_module()
class AverageBuffersHook(Hook):
    """Average the running statistics of batch norms over processes after every step.

    mmengine's ``SyncBuffersHook`` does it once an epoch, which runs by iterations never see.

    Where batch norm is not synchronised (on CPUs, or with ``sync_bn=None``) each process has
    statistics of its own samples: each would validate another network than the others, and the
    checkpoint would hold the first one's. They use the reduction of ``FiniteLossHook``, or one of
    their own without it. Nothing is done with one process, without batch norm, or where it is
    synchronised.
    """
    priority = 'VERY_HIGH'  # before averaged weights, validation and checkpoints

    def __init__(self):
        self._statistics: list[torch.Tensor] = []
        self._finite_loss: FiniteLossHook | None = None

    def before_train(self, runner: Runner) -> None:
        """Find them."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if get_world_size() > 1:
            self._statistics = [
                t for m in model.modules()
                if isinstance(m, _BatchNorm) and not isinstance(m, nn.SyncBatchNorm)
                for t in (m.running_mean, m.running_var) if t is not None]
        self._finite_loss = next((h for h in runner.hooks if isinstance(h, FiniteLossHook)), None)
        if self._finite_loss is not None and self._statistics:
            self._finite_loss.shares['buffers'] = self._together

    def _together(self) -> torch.Tensor:
        return torch.cat([t.flatten() for t in self._statistics])

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None,
                         outputs=None) -> None:
        """Average them."""
        if not self._statistics:
            return
        if self._finite_loss is not None and 'buffers' in self._finite_loss.shared:
            together = self._finite_loss.shared['buffers']
            if together is None:  # the step was left out, and they are as before
                return
            together = together / get_world_size()
        else:
            together = self._together()
            all_reduce(together, op='mean')
        sizes = [t.numel() for t in self._statistics]
        for statistic, average in zip(self._statistics, together.split(sizes), strict=True):
            statistic.copy_(average.view_as(statistic))
