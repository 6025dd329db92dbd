"""Parameters, gradients and optimiser dealt out to all processes (torch's ``fully_shard``)."""
from __future__ import annotations

from collections.abc import Callable

import mmengine
import torch
import torch.nn as nn
from mmengine._strategy import DDPStrategy, SingleDeviceStrategy
from mmengine.device import get_device
from mmengine.dist import get_rank, get_world_size
from mmengine.runner.checkpoint import save_checkpoint
from torch import Tensor

from mmvitlin.registry import STRATEGIES


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor; where it is sharded every process must ask."""
    return tensor.full_tensor() if hasattr(tensor, 'full_tensor') else tensor


def local(tensor: Tensor) -> Tensor:
    """This process's part of a tensor."""
    return tensor.to_local() if hasattr(tensor, 'to_local') else tensor


class WholeCheckpoints:
    """Of a strategy that shards: checkpoints as those of a run that does not.

    Subclasses give whole states on every process, and take them apart again.
    """

    def save_checkpoint(self, filename: str, *, save_optimizer: bool = True,
                        save_param_scheduler: bool = True, extra_ckpt: dict | None = None,
                        callback: Callable | None = None) -> None:
        """Every process gives its part, the first one writes."""
        told: dict = dict(state_dict=self.model_state_dict())
        if save_optimizer and hasattr(self, 'optim_wrapper'):
            told['optimizer'] = self.optim_state_dict()
        if save_param_scheduler and hasattr(self, 'param_schedulers'):
            told['param_schedulers'] = self.scheduler_state_dict()
        told.update(extra_ckpt or {})
        told.setdefault('meta', {}).update(seed=self.seed, mmengine=mmengine.__version__)
        if callback is not None:
            callback(told)
        if get_rank() == 0:
            save_checkpoint(told, filename)

    def load_checkpoint(self, filename: str, **kwargs) -> dict:
        """As mmengine's strategy for one device."""
        return SingleDeviceStrategy.load_checkpoint(self, filename, **kwargs)

    def resume(self, filename: str, **kwargs) -> dict:
        """As mmengine's strategy for one device."""
        return SingleDeviceStrategy.resume(self, filename, **kwargs)


@STRATEGIES.register_module()
class ShardedStrategy(WholeCheckpoints, DDPStrategy):
    """FSDP for FlexibleRunner: each process keeps a part of every parameter.

    A block of the backbone is whole while it runs, the rest of the model during a step. mmengine's
    own strategy flattens parameters, so that ``flat_decay_mult`` and ``clip_grad`` act on pieces;
    here they keep their names and shapes, and gradients are clipped by the norm of them all.
    Checkpoints are those of a run that shards nothing: either goes on from the other's, with any
    number of processes.

    Args:
        units: 'blocks' shards each block of ``model.backbone`` by itself, 'model' everything
            together, which takes less talking and more memory; 'auto' is 'blocks' where the model
            runs its blocks as they are.
        **kwargs: As mmengine's ``DDPStrategy``.

    Raises:
        ValueError: other units, or blocks of a backbone that has none.

    Source: Zhao et al., PyTorch FSDP (arXiv 2304.11277); here in the form of ``fully_shard``.
    """

    def __init__(self, *, units: str = 'auto', **kwargs):
        super().__init__(**kwargs)
        if units not in ('auto', 'blocks', 'model'):
            raise ValueError(f"units must be 'auto', 'blocks' or 'model', got {units!r}")
        self.units = units

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        from torch.distributed.device_mesh import init_device_mesh  # not in every build of torch
        from torch.distributed.fsdp import fully_shard
        model = self.convert_model(model.to(get_device()))
        mesh = init_device_mesh(get_device(), (get_world_size(), ))
        for block in self._units(model):
            fully_shard(block, mesh=mesh)
        return fully_shard(model, mesh=mesh)

    def _units(self, model: nn.Module) -> list[nn.Module]:
        blocks = getattr(getattr(model, 'backbone', None), 'blocks', None)
        able = callable(blocks) and getattr(model, 'runs_whole_blocks', True)
        if self.units == 'blocks' and not able:
            raise ValueError(f"units='blocks': {type(model).__name__} does not run the blocks of "
                             "its backbone as they are; set units='model'")
        return list(blocks()) if able and self.units != 'model' else []

    def model_state_dict(self) -> dict[str, Tensor]:
        """The whole model's; every process must ask."""
        return {k: whole(v) for k, v in self.model.state_dict().items()}

    def optim_state_dict(self) -> dict:
        """That of an optimiser which is not sharded; every process must ask."""
        told = self.optim_wrapper.state_dict()
        state = {n: {k: whole(v) if isinstance(v, Tensor) else v for k, v in entry.items()}
                 for n, entry in told['state'].items()}
        return dict(told, state=state)

    def load_model_state_dict(self, state_dict: dict[str, Tensor], *, strict: bool = False,
                              revise_keys: list | None = None) -> None:
        """Keep this process's part of each tensor."""
        own = self.model.state_dict()
        shards = {k: _like(v, own[k]) if k in own and v.shape == own[k].shape else v
                  for k, v in ((k.removeprefix('module.'), v) for k, v in state_dict.items())}
        self.model.load_state_dict(shards, strict=strict)

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Keep this process's part of each tensor that is shaped like its parameter."""
        parameters = [p for group in self.optim_wrapper.param_groups for p in group['params']]
        state = {n: {k: _like(v, parameters[n])
                     if isinstance(v, Tensor) and v.shape == parameters[n].shape else v
                     for k, v in entry.items()} for n, entry in state_dict['state'].items()}
        self.optim_wrapper.load_state_dict(dict(state_dict, state=state))


def _like(tensor: Tensor, own: Tensor) -> Tensor:
    """The part of a whole tensor that this process holds of its own."""
    tensor = tensor.to(device=own.device, dtype=own.dtype)
    if not hasattr(own, 'placements'):
        return tensor
    from torch.distributed.tensor import distribute_tensor
    with torch.no_grad():
        return distribute_tensor(tensor, own.device_mesh, own.placements, src_data_rank=None)
