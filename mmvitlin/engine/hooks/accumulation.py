"""A run that stops in the middle of a gradient accumulation resumes with the partial gradient."""
from __future__ import annotations

import torch
import torch.distributed as dist
from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import CheckpointHook, Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import Runner
from torch import Tensor, nn

from mmvitlin.registry import HOOKS
from mmvitlin.utils.errors import ConfigError

_KEY = 'gradient_accumulation'


@HOOKS.register_module()
class AccumulationHook(Hook):
    """Save the gradients of an unfinished accumulation in the checkpoint.

    With ``accumulative_counts=N`` mmengine drops the gradient of the steps since the last update
    when a run resumes. Here a checkpoint that is written between two updates also holds these
    gradients, one set per process (each as large as the trained parameters), and the count of
    steps, which skipped steps leave smaller than the iteration. A run resumed from it by as many
    processes resumes bit-exactly. Checkpoints written at an update hold nothing more than usual:
    choose an interval that N divides.

    DeepSpeed keeps these gradients to itself, and drops those of an accumulation that the end of
    the run leaves unfinished: with it, checkpoints and the end must be at updates.

    Raises:
        ConfigError: they are not, with DeepSpeed; names the key.
    """
    priority = 'BELOW_NORMAL'  # before CheckpointHook

    def __init__(self):
        self._gathered: list[dict[str, Tensor]] | None = None
        self._loaded: tuple[int, dict] | None = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Take the record; whether the run goes on from there is known in ``before_train``."""
        record = checkpoint.get(_KEY)
        self._loaded = None if record is None else (checkpoint['meta']['iter'], record)

    def before_train(self, runner: Runner) -> None:
        """Put gradients and counts back, after mmengine has set its own count."""
        if (steps := steps_of_update(runner)) > 1:
            _refuse_cuts(runner, steps)
        if self._loaded is None or runner.iter != self._loaded[0]:
            return  # weights were loaded, no run is resumed
        record, self._loaded = self._loaded[1], None
        for wrapper, count in zip(_wrappers(runner), record['counts'], strict=True):
            if wrapper.inner_count != count:
                wrapper.initialize_count_status(runner.model, count, runner.train_loop.max_iters)
        gradients = record['gradients']
        if gradients and len(gradients) != get_world_size():
            runner.logger.warning(
                f'the checkpoint holds unfinished gradients of {len(gradients)} processes, and '
                f'{get_world_size()} resume: the current accumulation starts without them')
        elif gradients and not _fit(_network(runner), gradients[get_rank()]):
            runner.logger.warning(
                'the checkpoint holds unfinished gradients of a run that sharded its parameters '
                'differently: the current accumulation starts without them')
        elif gradients:
            _put_back(_network(runner), gradients[get_rank()])
            runner.logger.info('the gradient of the current accumulation was restored from the '
                               'checkpoint')

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        """Another step changes the gradient."""
        self._gathered = None

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None,
                         outputs=None) -> None:
        """Gather where a checkpoint is written after this step."""
        if any(not hook.by_epoch and (
                hook.every_n_train_iters(runner, hook.interval, hook.save_begin)
                or hook.save_last and hook.is_last_train_iter(runner)) for hook in _savers(runner)):
            self.gather(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Gather where a checkpoint is written after this epoch."""
        if any(hook.by_epoch and (
                hook.every_n_epochs(runner, hook.interval, hook.save_begin)
                or hook.save_last and hook.is_last_train_epoch(runner))
               for hook in _savers(runner)):
            self.gather(runner)

    def before_val_epoch(self, runner: Runner) -> None:
        """A better score writes the last checkpoint again."""
        if any(hook.save_best for hook in _savers(runner)):
            self.gather(runner)

    def gather(self, runner: Runner) -> None:
        """Bring the gradients of all processes to the first one; every process must call it.

        ``Runner.save_checkpoint`` runs only on the first process.
        """
        if self._gathered is None and get_world_size() > 1 and _unfinished(runner):
            self._gathered = _gather(_gradients(_network(runner)))

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the record to a checkpoint that can be resumed."""
        wrappers = _wrappers(runner)
        if 'optimizer' not in checkpoint or not wrappers:
            return
        unfinished, gradients = _unfinished(runner), []
        if unfinished and get_world_size() == 1:
            gradients = [{k: v.cpu() for k, v in _gradients(_network(runner)).items()}]
        elif unfinished and self._gathered is None:
            runner.logger.warning('this checkpoint is written in the middle of a gradient '
                                  'accumulation and not by a CheckpointHook: a run resumed from it '
                                  'loses the gradient since the last update')
        elif unfinished:
            gradients = self._gathered
        counts = [wrapper.inner_count for wrapper in wrappers]
        if gradients or any(count != checkpoint['meta'].get('iter') for count in counts):
            checkpoint[_KEY] = dict(counts=counts, gradients=gradients)


def _savers(runner: Runner) -> list[CheckpointHook]:
    return [hook for hook in runner.hooks if isinstance(hook, CheckpointHook)]


def _wrappers(runner: Runner) -> list[OptimWrapper]:
    """Those that count steps; DeepSpeed accumulates by itself."""
    wrapper = getattr(runner, 'optim_wrapper', None)
    if isinstance(wrapper, OptimWrapperDict):
        return list(wrapper.optim_wrappers.values())
    return [wrapper] if isinstance(wrapper, OptimWrapper) else []


def steps_of_update(runner: Runner) -> int:
    """Steps that DeepSpeed gathers for an update, whose gradients no checkpoint holds; 1 of other
    runs."""
    count = getattr(getattr(runner.model, 'model', None), 'gradient_accumulation_steps', None)
    return count() if callable(count) and not _wrappers(runner) else 1


def _refuse_cuts(runner: Runner, steps: int) -> None:
    """See the class."""
    def refuse(key: str, value: int, remedy: str = '') -> None:
        raise ConfigError(
            f'{key} is {value}{remedy}, and DeepSpeed makes an update of {steps} steps '
            '(optim_wrapper.accumulative_counts): what it has gathered in between would be lost; '
            f'take a multiple of {steps}')

    loop = runner.train_loop
    by_epoch = not hasattr(loop, 'dataloader_iterator')
    length = len(loop.dataloader) if by_epoch else 1
    batches = f' epochs of {length} steps'
    if runner.iter % steps:
        refuse('--resume: the iteration of the checkpoint', runner.iter)
    if runner.max_iters % steps:
        refuse('train_cfg.max_iters', runner.max_iters)
    for hook in _savers(runner):
        if hook.interval > 0 and hook.interval * (length if hook.by_epoch else 1) % steps:
            refuse('default_hooks.checkpoint.interval', hook.interval,
                   batches if hook.by_epoch else '')
        if hook.save_best and runner.val_interval * length % steps:
            refuse('train_cfg.val_interval, with save_best,', runner.val_interval,
                   batches if by_epoch else '')


def _unfinished(runner: Runner) -> bool:
    return any(not wrapper.should_update() for wrapper in _wrappers(runner))


def _network(runner: Runner) -> nn.Module:
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def _local(tensor: Tensor) -> Tensor:
    """This process's part of a sharded tensor."""
    return tensor.to_local() if hasattr(tensor, 'to_local') else tensor


def _gradients(network: nn.Module) -> dict[str, Tensor]:
    return {name: _local(p.grad) for name, p in network.named_parameters() if p.grad is not None}


def _gather(gradients: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """The gradients of each process, on the first one, one parameter after another."""
    names: list = [None] * get_world_size()
    dist.all_gather_object(names, list(gradients))
    gathered: list[dict[str, Tensor]] = [{} for _ in names]
    for name in dict.fromkeys(name for own in names for name in own):
        parts: list | None = [None] * len(names) if get_rank() == 0 else None
        gradient = gradients.get(name)
        dist.gather_object(None if gradient is None else gradient.cpu(), parts)
        for process, part in enumerate(parts or ()):
            if part is not None:
                gathered[process][name] = part
    return gathered


def _fit(network: nn.Module, gradients: dict[str, Tensor]) -> bool:
    """Whether these are gradients of the parts of parameters that this process holds."""
    own = {name: _local(p).shape for name, p in network.named_parameters()}
    return all(own.get(name) == gradient.shape for name, gradient in gradients.items())


@torch.no_grad()
def _put_back(network: nn.Module, gradients: dict[str, Tensor]) -> None:
    for name, parameter in network.named_parameters():
        if name in gradients:
            parameter.grad = torch.zeros_like(parameter)
            _local(parameter.grad).copy_(gradients[name])
