"""A loss that is no number is caught at its step."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import torch
import torch.distributed as dist
import torch.nn as nn
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from mmvitlin.engine.hooks.step_seed import StepSeedHook
from mmvitlin.errors import NonFiniteLossError
from mmvitlin.registry import HOOKS

_SHOWN = 8
_HALVINGS = 30  # from 65,536 to 6e-5


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stop a run, or skip the step, where the loss or the gradient is NaN or infinite.

    Before the optimiser sees it: weights are never touched by such a step, and running statistics
    are put back. The batch's files are named, and the module whose output first went non-finite
    when the step is computed again with the same randomness; of several processes, those that
    met it. A loss scaler of float16 training skips such steps itself and halves its scale; the run
    ends where it did nothing else for 30 steps.

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
        self._statistics: list[tuple[Tensor, Tensor]] = []

    def before_train(self, runner: Runner) -> None:
        """Stand before the optimiser."""
        wrapper = runner.optim_wrapper
        update, step = wrapper.update_params, wrapper.step

        def guarded_update(loss: Tensor, *args, **kwargs) -> None:
            if self._finite(loss):
                update(loss, *args, **kwargs)
            else:
                self._refuse(runner, f'the loss is {float(loss.detach()):g}', loss)

        def guarded_step(*args, **kwargs) -> None:
            norm = _total_norm(_gradients(wrapper), next(runner.model.parameters()).device)
            if self._finite(norm):
                self.skipped = 0
                step(*args, **kwargs)
            else:
                self._refuse(runner, f'the norm of the gradient is {float(norm):g}', norm)

        def watched_step(*args, **kwargs) -> None:
            before = scaler.get_scale()
            step(*args, **kwargs)
            self.skipped = self.skipped + 1 if scaler.get_scale() < before else 0
            if self.skipped > _HALVINGS:
                raise NonFiniteLossError(self._describe(
                    runner, f'no gradient was finite for {self.skipped} steps, the loss scale fell '
                    f'to {scaler.get_scale():g}', torch.tensor(float('nan'))))

        scaler = getattr(wrapper, 'loss_scaler', None)
        wrapper.update_params = guarded_update
        wrapper.step = watched_step if scaler is not None and scaler.is_enabled() else guarded_step

    def _refuse(self, runner: Runner, what: str, value: Tensor) -> None:
        """Leave the step out, or end the run."""
        self._restore()
        for group in _of_deepspeed(runner.optim_wrapper):  # else the next step adds to them
            runner.optim_wrapper.optimizer.averaged_gradients[group] = None
        message = self._describe(runner, what, value)
        self._restore()  # telling the culprit ran the network again
        if self.action == 'stop' or self.skipped >= self.limit:
            raise NonFiniteLossError(message)
        self.skipped += 1
        runner.logger.warning(f'step skipped ({self.skipped} in a row): {message}')

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        """Keep the batch, to name its files, and what normalisation layers will change."""
        self._batch = data_batch
        self._statistics = [(buffer, buffer.clone()) for module in runner.model.modules()
                            if getattr(module, 'track_running_stats', False)
                            for buffer in module.buffers(recurse=False)]

    def _restore(self) -> None:
        with torch.no_grad():
            for buffer, before in self._statistics:
                buffer.copy_(before)

    @staticmethod
    def _finite(loss: Tensor) -> bool:
        """On every process, so that none waits for another."""
        fine = torch.isfinite(loss.detach()).all().float()
        if get_world_size() > 1:
            dist.all_reduce(fine, dist.ReduceOp.MIN)
        return bool(fine)

    def _describe(self, runner: Runner, what: str, value: Tensor) -> str:
        files = list(_files(self._batch))
        more = f' and {len(files) - _SHOWN} more' if len(files) > _SHOWN else ''
        told = f"of the files {', '.join(files[:_SHOWN])}{more}" if files else \
            'of a batch without file names'
        culprit = self._culprit(runner)
        mine = f'{what} at iteration {runner.iter + 1}, {told}; {culprit}'
        if get_world_size() > 1:
            fine = bool(torch.isfinite(value.detach()).all())
            everyone: list = [None] * get_world_size()
            dist.all_gather_object(everyone, None if fine else f'process {runner.rank}: {mine}')
            mine = '. '.join(text for text in everyone if text) or mine
        return (f'{mine}. The weights are those of the step before. '
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
            for name, module in _named_modules(model) if name]
        weights = [n for n, p in model.named_parameters() if not torch.isfinite(p).all()]
        try:
            StepSeedHook().before_train_iter(runner, 0)
            context = getattr(runner.optim_wrapper, 'optim_context', lambda model: nullcontext())
            halved = getattr(runner.model, '_cast_inputs_half', lambda data: data)  # by DeepSpeed
            with torch.no_grad(), context(runner.model):
                model(**halved(model.data_preprocessor(self._batch, True)), mode='loss')
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


def _of_deepspeed(wrapper) -> dict[int, list[Tensor] | None]:
    """Where DeepSpeed keeps this process's part of the gradients, by group."""
    return getattr(wrapper.optimizer, 'averaged_gradients', {})


def _gradients(wrapper) -> list[Tensor]:
    """This process's part of them, where they are sharded."""
    if held := _of_deepspeed(wrapper):
        return [g for group in held.values() for g in group or ()]
    found = [p.grad for group in wrapper.param_groups for p in group['params']
             if p.grad is not None]
    return [g.to_local() if hasattr(g, 'to_local') else g for g in found]


def _total_norm(gradients: list[Tensor], device: torch.device) -> Tensor:
    if not gradients:
        return torch.zeros((), device=device)
    norms = torch._foreach_norm(gradients)
    return torch.stack([n.float() for n in norms]).norm()


def _named_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """All modules, those of a frozen teacher too, which is none of the model's."""
    yield from model.named_modules()
    network = getattr(getattr(model, 'teacher', None), 'network', None)
    if network is not None:
        yield from ((f'teacher.{name}', module) for name, module in network.named_modules())


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


