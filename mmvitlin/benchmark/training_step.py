"""Cost of training steps on the host: waits for the device, parameter groups."""
from __future__ import annotations

from types import SimpleNamespace

import torch
from mmengine import hooks
from mmengine.logging import MessageHub
from mmengine.optim import build_optim_wrapper
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from mmvitlin.engine.hooks import FiniteLossHook, RuntimeInfoHook
from mmvitlin.engine.runner.config import load_config
from mmvitlin.models import Adventurer

# operators whose result the host needs: numbers of tensors, and sizes that depend on numbers
_WAITS = ('aten::_local_scalar_dense', 'aten::nonzero', 'aten::masked_select', 'aten::equal',
          'aten::_unique2', 'aten::unique_dim', 'aten::unique_consecutive', 'aten::bincount')
_INDEXED = ('aten::index.Tensor', 'aten::index_put', 'aten::index_put_', 'aten::_index_put_impl_')


class HostWaits(TorchDispatchMode):
    """Counts what would make the host wait for a GPU while it is entered.

    Numbers that the host reads, sizes that depend on numbers, copies between host and device
    without ``non_blocking``, and indices that lie elsewhere than what they index.

    Args:
        device: Type of the device whose tensors stand for a GPU's.
    """

    def __init__(self, device: str = 'cpu'):
        super().__init__()
        self.count = 0
        self.device = device
        self._calls = _Lists(self)

    def __enter__(self):
        self._calls.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self._calls.__exit__(*error)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name, kwargs = func.name(), kwargs or {}
        self.count += self._waits(name, args, kwargs)  # before it fails for want of numbers
        result = func(*args, **kwargs)
        if name in ('aten::copy_', 'aten::_to_copy'):
            source = args[1] if name == 'aten::copy_' else args[0]
            at_once = kwargs.get('non_blocking', name == 'aten::copy_' and any(args[2:]))
            self.count += source.device != result.device and not at_once
        return result

    def _waits(self, name: str, args: tuple, kwargs: dict) -> bool:
        if name == 'aten::repeat_interleave.Tensor':
            return kwargs.get('output_size') is None and self._there(args[0])
        if name in _INDEXED:
            if 'put' in name and args[2].numel() == 1:
                return False  # torch fills where the mask is true
            indices = [index for index in args[1] if index is not None]
            return any(index.device != args[0].device for index in indices) or (
                self._there(args[0]) and any(index.dtype is torch.bool for index in indices))
        return name in _WAITS and self._there(args[0])

    def _there(self, tensor) -> bool:
        return tensor.device.type == self.device


class _Lists(TorchFunctionMode):
    """``tolist`` of more than one number, which is no operator of its own."""

    def __init__(self, waits: HostWaits):
        super().__init__()
        self.waits = waits

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.waits.count += (func is torch.Tensor.tolist and args[0].ndim > 0
                             and self.waits._there(args[0]))
        return func(*args, **(kwargs or {}))


def waits_of_steps(clip: bool, steps: int = 100, logged: int = 50, ours: bool = True
                   ) -> list[int]:
    """Host waits of each step of a small network with a fused optimiser.

    Args:
        clip: Gradients are clipped.
        steps: Steps to count.
        logged: Steps between two lines of the log.
        ours: With the hooks and the wrapper of our runs, which look for losses that are not finite;
            else with mmengine's, which do not.
    """
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 1))
    cfg = dict(type='mmvitlin.OptimWrapper' if ours else 'OptimWrapper',
               optimizer=dict(type='AdamW', lr=0.1, fused=True))
    if clip:
        cfg['clip_grad'] = dict(max_norm=1.)
    wrapper = build_optim_wrapper(net, cfg)
    info = RuntimeInfoHook() if ours else hooks.RuntimeInfoHook()
    finite = FiniteLossHook() if ours else hooks.Hook()
    runner = SimpleNamespace(
        optim_wrapper=wrapper, model=net, iter=0, rank=0, world_size=1, max_iters=10**6,
        hooks=[hooks.LoggerHook(interval=logged)], train_dataloader=range(10**6),
        message_hub=MessageHub('waits'))
    finite.before_train(runner)
    counts = []
    for runner.iter in range(steps):
        with HostWaits() as counter:
            finite.before_train_iter(runner, runner.iter)
            info.before_train_iter(runner, runner.iter)
            loss = net(torch.ones(2, 4)).mean()
            wrapper.update_params(loss)
            outputs = dict(loss=loss, loss_one=loss / 2, loss_two=loss / 2)
            info.after_train_iter(runner, runner.iter, outputs=outputs)
        counts.append(counter.count)
    return counts


def parameter_groups(schedule: str, merge: bool) -> int:
    """Groups of Adventurer-B's optimiser with a schedule of ours."""
    with torch.device('meta'):
        net = nn.Module()
        net.backbone = Adventurer('base')
    cfg = load_config(f'mmvitlin::_base_/schedules/{schedule}.py').optim_wrapper
    cfg.paramwise_cfg.merge_groups = merge
    return len(build_optim_wrapper(net, cfg).optimizer.param_groups)


def training_step() -> dict:
    """Counts of a step, and what they were before."""
    waits = {}
    for name, clip in (('', False), ('_with_clipping', True)):
        counts = waits_of_steps(clip)
        waits[f'most_steps{name}'] = sorted(counts)[len(counts) // 2]
        waits[f'worst_step{name}'] = max(counts)
        waits[f'a_hundred_steps{name}'] = sum(counts)
        waits[f'a_hundred_steps_before{name}'] = sum(waits_of_steps(clip, ours=False))
    return dict(
        host_waits=waits,
        parameter_groups={schedule: dict(before=parameter_groups(schedule, False),
                                         now=parameter_groups(schedule, True))
                          for schedule in ('distill_100e', 'adamw_80k')})
