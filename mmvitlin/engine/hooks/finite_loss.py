"""A NaN or infinite loss is caught at its step."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext

import torch
import torch.distributed as dist
import torch.nn as nn
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapperDict
from mmengine.runner import Runner
from torch import Tensor

from mmvitlin.engine.hooks.finite_on_device import AtStep, DeviceCheck, Step, fits, replace_step
from mmvitlin.engine.hooks.step_seed import StepSeedHook
from mmvitlin.models.utils.exact_buffers import ExactBuffers
from mmvitlin.models.utils.watching import Watcher
from mmvitlin.registry import HOOKS
from mmvitlin.utils.errors import NonFiniteLossError

_SHOWN = 8
_HALVINGS = 30  # from 65,536 to 6e-5


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stop a run, or skip the step, where the loss or the gradient is NaN or infinite.

    It acts before the optimiser: such an update never changes weights, and running statistics are
    restored. Losses and the gradient's norm are checked together, once a step, because the host
    must wait for the device to read them; where gradients of several steps add up, each loss is
    checked before it enters the sum. The error names the batch's files and the module whose output
    first became non-finite when the step is computed again with the same random numbers; of several
    processes, those where it happened. A loss scaler of float16 training skips such steps itself
    and halves its scale; the run ends where it did nothing else for 30 steps.

    With a fused optimiser, which is what runs on GPUs have, the host does not wait: the device
    leaves the update out, and all that follow, and the run ends up to ten steps later, before
    anything is saved or validated (:mod:`mmvitlin.engine.hooks.finite_on_device`).
    Several processes agree by one reduction a step, for which the host waits where the optimiser is
    not fused. Other hooks can then add their own values to that reduction: ``shares`` maps names
    to functions that return 1-D tensors, called at that reduction; ``shared`` holds the sums until
    the next step, None of a step that was left out.

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
        self.shares: dict[str, Callable[[], Tensor]] = {}
        self.shared: dict[str, Tensor | None] = {}
        self._batch: object = None
        self._losses: list[Tensor] = []  # of the steps that the next update comes from
        self._statistics: list[tuple[nn.Module, str, Tensor]] = []
        self._on_device: DeviceCheck | None = None

    def before_train(self, runner: Runner) -> None:
        """Stand before the optimiser."""
        wrapper = runner.optim_wrapper
        if isinstance(wrapper, OptimWrapperDict):
            runner.logger.warning('losses are not looked at for NaN: the run has several '
                                  'optimisers')
            return
        if self.action == 'stop' and fits(wrapper):
            device = next(runner.model.parameters()).device
            self._on_device = DeviceCheck(
                runner, lambda: _total_norm(_gradients(wrapper), device), lambda: self._batch,
                self._end)
            return
        update, step = wrapper.update_params, wrapper.step
        scaler = getattr(wrapper, 'loss_scaler', None)
        scales = scaler is not None and scaler.is_enabled()
        accumulates = getattr(wrapper, '_accumulative_counts', 1) > 1

        def kept_update(loss: Tensor, *args, **kwargs) -> None:
            if accumulates and not self._finite([loss.detach()]):
                self._refuse(runner, f'the loss is {float(loss.detach()):g}', loss)
                finish()
                return
            self._losses += [] if accumulates else [loss.detach()]
            update(loss, *args, **kwargs)
            finish()

        def finish() -> None:
            """After the last step, of what steps that were skipped have left to an update."""
            if accumulates and runner.iter + 1 == runner.max_iters and (
                    wrapper._inner_count % wrapper._accumulative_counts):
                wrapper.step()
                wrapper.zero_grad()

        def guarded_step(*args, **kwargs) -> None:
            losses, self._losses = self._losses, []
            norm = torch.zeros((), device=next(runner.model.parameters()).device) if scales else \
                _total_norm(_gradients(wrapper), next(runner.model.parameters()).device)
            gathers = not accumulates or _is_sharded(wrapper)  # else all have the same gradients
            if self._finite([*losses, norm], gathers):
                (watched_step if scales else counted_step)(*args, **kwargs)
                return
            if not losses or self._finite(losses, gathers):
                self._refuse(runner, f'the norm of the gradient is {float(norm):g}', norm)
            else:  # on this process or another, whose gradients all share
                value = next((x for x in losses if not torch.isfinite(x).all()), losses[-1])
                self._refuse(runner, f'the loss is {float(value):g}', value)

        def counted_step(*args, **kwargs) -> None:
            self.skipped = 0
            step(*args, **kwargs)

        def watched_step(*args, **kwargs) -> None:
            before = scaler.get_scale()
            step(*args, **kwargs)
            self.skipped = self.skipped + 1 if scaler.get_scale() < before else 0
            if self.skipped > _HALVINGS:
                raise NonFiniteLossError(self._describe(
                    runner, f'no gradient was finite for {self.skipped} steps, the loss scale fell '
                    f'to {scaler.get_scale():g}', torch.tensor(float('nan'))))

        wrapper.update_params = kept_update
        replace_step(wrapper, guarded_step)

    def _end(self, runner: AtStep, step: Step) -> None:
        """End the run for a step that the device left out."""
        self._batch = step.batch
        fine = self._finite([step.loss])
        what, value = ('the norm of the gradient', step.norm) if fine else ('the loss', step.loss)
        raise NonFiniteLossError(self._describe(runner, f'{what} is {float(value):g}', value))

    def _look(self) -> None:
        if self._on_device is not None:
            self._on_device.look()

    def before_val(self, runner: Runner) -> None:
        """No weights are scored before all steps were checked."""
        self._look()

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Nor saved."""
        self._look()

    def after_train(self, runner: Runner) -> None:
        """Nor given out."""
        self._look()

    def _refuse(self, runner: Runner, what: str, value: Tensor) -> None:
        """Leave the step out, or end the run."""
        self._restore()
        self.shared = dict.fromkeys(self.shared)
        for group in _of_deepspeed(runner.optim_wrapper):  # else the next step adds to them
            runner.optim_wrapper.optimizer.averaged_gradients[group] = None
        message = self._describe(runner, what, value)
        self._restore()  # naming the module ran the network again
        if self.action == 'stop' or self.skipped >= self.limit:
            raise NonFiniteLossError(message)
        self.skipped += 1
        runner.logger.warning(f'step skipped ({self.skipped} in a row): {message}')

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        """Keep the batch, to name its files, and the statistics that the step will change."""
        self._batch, self.shared = data_batch, {}
        if self._on_device is not None:
            return  # the run ends with the step
        self._statistics = [(module, name, buffer.clone()) for module in runner.model.modules()
                            if getattr(module, 'track_running_stats', False)
                            or isinstance(module, ExactBuffers)
                            for name, buffer in module.named_buffers(recurse=False)]

    def _restore(self) -> None:
        with torch.no_grad():
            for module, name, before in self._statistics:
                getattr(module, name).copy_(before)
        for module in {module for module, *_ in self._statistics}:
            if isinstance(module, ExactBuffers):
                module.buffers_restored()

    def _finite(self, values: list[Tensor], gathers: bool = True) -> bool:
        """Whether all are, on every process where they are gathered; the host waits once."""
        fine = torch.stack([torch.isfinite(value).all() for value in values]).all()
        if get_world_size() == 1 or not gathers:
            return bool(fine)
        parts = {'bad': (~fine).float()[None]}
        if not self.shared:  # of a step that adds up gradients, the first reduction
            parts |= {name: give().float().to(fine.device) for name, give in self.shares.items()}
        together = torch.cat(list(parts.values()))
        dist.all_reduce(together)
        sums = dict(zip(parts, together.split([p.numel() for p in parts.values()]), strict=True))
        bad = sums.pop('bad')
        self.shared |= sums
        return float(bad) == 0.

    def _describe(self, runner: Runner, what: str, value: Tensor) -> str:
        files = list(_files(self._batch))
        more = f' and {len(files) - _SHOWN} more' if len(files) > _SHOWN else ''
        source = f"of the files {', '.join(files[:_SHOWN])}{more}" if files else \
            'of a batch without file names'
        culprit = self._culprit(runner)
        message = f'{what} at iteration {runner.iter + 1}, {source}; {culprit}'
        if get_world_size() > 1:
            fine = bool(torch.isfinite(value.detach()).all())
            messages: list = [None] * get_world_size()
            dist.all_gather_object(messages, None if fine else f'process {runner.rank}: {message}')
            message = '. '.join(text for text in messages if text) or message
        return (f'{message}. The weights are those of the step before. '
                'Lower the learning rate or clip gradients, train in float32, or look at the '
                'files; --cfg-options default_hooks.finite_loss.action=skip goes on without such '
                'steps.')

    def _culprit(self, runner: Runner) -> str:
        """Compute the step once more, by the code it ran, and look at every output."""
        model = getattr(runner.model, 'module', runner.model)
        weights = [n for n, p in model.named_parameters() if not torch.isfinite(p).all()]
        try:
            first, called, finite = self._again(runner, model, Watcher)
            if first is not None and not any(name.startswith(f'{first}.') for name in called) \
                    and any(name.startswith(f'{first}.') for name, _ in _named_modules(model)):
                inner, *_ = self._again(runner, model, _called)
                first = f'{inner}\' (its block ran tile by tile)' if f'{inner}.'.startswith(
                    f'{first}.') else f'{first}\', which ran tile by tile; run module by module ' \
                    'it is finite'
            elif first is not None:
                first += '\''
        except Exception as error:
            return f'computing it again failed ({type(error).__name__}: {error})'
        if weights:
            return f'weights are not finite already: {weights[:3]}'
        if first is not None:
            return f"the first output that is not finite is that of '{first}"
        if finite:
            return 'computed again with the same randomness, all outputs and losses were finite'
        return 'every module gave finite outputs, so it is in the loss itself'

    def _again(self, runner: Runner, model: nn.Module, hook: Callable
               ) -> tuple[str | None, set[str], bool]:
        """The module with the first output that is not finite, all that were seen, and whether the
        losses are finite."""
        called: set[str] = set()
        first: list[str] = []

        def look(name: str) -> Callable:
            def see(module: nn.Module, output) -> None:
                called.add(name)
                if not first and not _all_finite(output):
                    first.append(name)
            return see

        handles = [module.register_forward_hook(hook(look(name)))
                   for name, module in _named_modules(model) if name]
        try:
            StepSeedHook().before_train_iter(runner, 0)
            context = getattr(runner.optim_wrapper, 'optim_context', lambda model: nullcontext())
            halved = getattr(runner.model, '_cast_inputs_half', lambda data: data)  # by DeepSpeed
            with torch.enable_grad(), context(runner.model):  # else other code runs
                losses = model(**halved(model.data_preprocessor(self._batch, True)), mode='loss')
        finally:
            for handle in handles:
                handle.remove()
        return (first or [None])[0], called, _all_finite(losses)


def _called(see: Callable) -> Callable:
    """A forward hook; it makes blocks run module by module."""
    return lambda module, args, output: see(module, output)


def _of_deepspeed(wrapper) -> dict[int, list[Tensor] | None]:
    """Where DeepSpeed keeps this process's part of the gradients, by group."""
    return getattr(wrapper.optimizer, 'averaged_gradients', {})


def _is_sharded(wrapper) -> bool:
    """Whether each process has only a part of the gradients."""
    return bool(_of_deepspeed(wrapper)) or any(
        hasattr(p, 'to_local') for group in wrapper.param_groups for p in group['params'])


def _gradients(wrapper) -> list[Tensor]:
    """This process's part of them, where they are sharded."""
    if sharded := _of_deepspeed(wrapper):
        return [g for group in sharded.values() for g in group or ()]
    gradients = [p.grad for group in wrapper.param_groups for p in group['params']
                 if p.grad is not None]
    return [g.to_local() if hasattr(g, 'to_local') else g for g in gradients]


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


