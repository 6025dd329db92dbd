"""A loss that is no number is caught at its step."""
from __future__ import annotations

import torch
import torch.distributed as dist
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from mmvitlin.engine.hooks.step_seed import StepSeedHook
from mmvitlin.errors import NonFiniteLossError
from mmvitlin.registry import HOOKS

_SHOWN = 8


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stop a run, or skip the step, where the loss is NaN or infinite.

    Before the optimiser sees it: weights are never touched by such a step. The batch's files are
    named, and the module whose output first went non-finite when the step is computed again with
    the same randomness.

    Args:
        action: 'stop' or 'skip'.
        limit: With 'skip', steps that may be skipped in a row; one more stops the run.

    Raises:
        ValueError: an unknown action.
    """
    priority = 'LOWEST'

    def __init__(self, action: str = 'stop', limit: int = 10):
        if action not in ('stop', 'skip'):
            raise ValueError(f"action must be 'stop' or 'skip', got '{action}'")
        self.action, self.limit, self.skipped = action, limit, 0
        self._batch: object = None

    def before_train(self, runner: Runner) -> None:
        """Stand before the optimiser."""
        update = runner.optim_wrapper.update_params

        def guarded(loss: Tensor, *args, **kwargs) -> None:
            if self._finite(loss):
                self.skipped = 0
                update(loss, *args, **kwargs)
                return
            message = self._describe(runner, loss)
            if self.action == 'stop' or self.skipped >= self.limit:
                raise NonFiniteLossError(message)
            self.skipped += 1
            runner.logger.warning(f'step skipped ({self.skipped} in a row): {message}')
            runner.optim_wrapper.zero_grad()

        runner.optim_wrapper.update_params = guarded

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        """Keep the batch, to name its files."""
        self._batch = data_batch

    @staticmethod
    def _finite(loss: Tensor) -> bool:
        """On every process, so that none waits for another."""
        fine = torch.isfinite(loss.detach()).all().float()
        if get_world_size() > 1:
            dist.all_reduce(fine, dist.ReduceOp.MIN)
        return bool(fine)

    def _describe(self, runner: Runner, loss: Tensor) -> str:
        files = list(_files(self._batch))
        more = f' and {len(files) - _SHOWN} more' if len(files) > _SHOWN else ''
        told = f"of the files {', '.join(files[:_SHOWN])}{more}" if files else \
            'of a batch without file names'
        return (f'the loss is {float(loss.detach()):g} at iteration {runner.iter + 1}, '
                f'{told}; {self._culprit(runner)}. The weights are those of the step before. '
                'Lower the learning rate or clip gradients, train in float32, or look at the '
                "files; custom_hooks=[dict(type='mmvitlin.FiniteLossHook', action='skip')] goes "
                'on without such steps.')

    def _culprit(self, runner: Runner) -> str:
        """Compute the step once more and listen to every module."""
        model = getattr(runner.model, 'module', runner.model)
        first: list[str] = []
        handles = [module.register_forward_hook(
            lambda m, args, output, name=name: first.append(name)
            if not first and not _all_finite(output) else None)
            for name, module in model.named_modules() if name]
        weights = [n for n, p in model.named_parameters() if not torch.isfinite(p).all()]
        try:
            StepSeedHook().before_train_iter(runner, 0)
            with torch.no_grad(), runner.optim_wrapper.optim_context(runner.model):
                data = model.data_preprocessor(self._batch, True)
                model(**data, mode='loss')
        except Exception as error:
            return f'computing it again failed ({type(error).__name__}: {error})'
        finally:
            for handle in handles:
                handle.remove()
        if weights:
            return f'weights are not finite already: {weights[:3]}'
        if first:
            return f"the first output that is not finite is that of '{first[0]}'"
        return 'every module gave finite outputs, so it is in the loss itself'


def _all_finite(output) -> bool:
    if isinstance(output, Tensor):
        return not output.is_floating_point() or bool(torch.isfinite(output).all())
    if isinstance(output, dict):
        output = list(output.values())
    if isinstance(output, (list, tuple)):
        return all(_all_finite(o) for o in output)
    return True


def _files(batch) -> list[str]:
    samples = batch.get('data_samples', []) if isinstance(batch, dict) else []
    return [str(s.get('img_path')) for s in samples if hasattr(s, 'get') and s.get('img_path')]


