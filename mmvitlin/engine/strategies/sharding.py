"""Parameters, gradients and optimiser sharded across ranks (torch's ``fully_shard``)."""
from __future__ import annotations

import io
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping

import mmengine
import torch
import torch.nn as nn
from mmengine._strategy import DDPStrategy, SingleDeviceStrategy
from mmengine.device import get_device
from mmengine.dist import get_rank, get_world_size
from mmengine.runner import FlexibleRunner as MMEngineFlexibleRunner
from mmengine.runner.checkpoint import _load_checkpoint
from torch import Tensor

from mmvitlin.engine.checkpoints import write_whole
from mmvitlin.engine.rules.fit import misfits_of_backbone
from mmvitlin.models.utils.checkpoint import as_loaded
from mmvitlin.registry import RUNNERS, STRATEGIES
from mmvitlin.utils.errors import CheckpointError, ConfigError


def whole(tensor: Tensor) -> Tensor:
    """The whole tensor; where it is sharded every process must call this."""
    return tensor.full_tensor() if hasattr(tensor, 'full_tensor') else tensor


@RUNNERS.register_module()
class FlexibleRunner(MMEngineFlexibleRunner):
    """mmengine's ``FlexibleRunner`` that keeps the ``epoch`` and ``iter`` its hooks give a
    checkpoint.

    mmengine's overwrites them with its own count of steps, which differs after a validation: a
    resumed run would leave out a step, or an epoch.
    """

    def save_checkpoint(self, *args, meta: dict | None = None, **kwargs) -> None:
        """See mmengine; ``epoch`` and ``iter`` of ``meta`` are kept."""
        given = {k: v for k, v in (meta or {}).items() if k in ('epoch', 'iter')}
        write = self.strategy.save_checkpoint

        def corrected(*args, extra_ckpt: dict, **kwargs) -> None:
            extra_ckpt['meta'].update(given)
            write(*args, extra_ckpt=extra_ckpt, **kwargs)

        self.strategy.save_checkpoint = corrected
        try:
            super().save_checkpoint(*args, meta=dict(meta or {}), **kwargs)
        finally:
            del self.strategy.save_checkpoint


class WholeCheckpoints:
    """Mixin of a sharding strategy: checkpoints as those of an unsharded run.

    Every process gathers one tensor after another, the first one keeps them, on the CPU.
    Subclasses implement :meth:`model_state_dict`, :meth:`optim_state_dict`, :meth:`keep_weights`
    and ``load_optim_state_dict``.
    """

    def save_checkpoint(self, filename: str, *, save_optimizer: bool = True,
                        save_param_scheduler: bool = True, extra_ckpt: dict | None = None,
                        callback: Callable | None = None) -> None:
        """Every process gives its part, the first one writes."""
        checkpoint: dict = dict(state_dict=self.model_state_dict())
        if save_optimizer and hasattr(self, 'optim_wrapper'):
            checkpoint['optimizer'] = self.optim_state_dict()
        if save_param_scheduler and hasattr(self, 'param_schedulers'):
            checkpoint['param_schedulers'] = self.scheduler_state_dict()
        checkpoint.update(extra_ckpt or {})
        checkpoint.setdefault('meta', {}).update(seed=self.seed, mmengine=mmengine.__version__)
        if callback is not None:
            callback(checkpoint)
        if get_rank() == 0:
            buffer = io.BytesIO()
            torch.save(checkpoint, buffer)
            write_whole(buffer.getvalue(), filename)

    def load_checkpoint(self, filename: str, *, map_location='cpu', strict: bool = False,
                        revise_keys: list | None = None, callback: Callable | None = None) -> dict:
        """Load a checkpoint's weights, on the CPU, whatever ``map_location`` is.

        Returns:
            The rest of it.
        """
        self.logger.info(f'Load checkpoint from {filename}')
        checkpoint = _load_checkpoint(filename, map_location='cpu')
        if callback is not None:
            callback(checkpoint)
        rest = checkpoint if 'state_dict' in checkpoint else {}
        state = rest.pop('state_dict', checkpoint)
        self.load_model_state_dict(state, strict=strict)
        return rest

    def resume(self, filename: str, **kwargs) -> dict:
        """As mmengine's strategy for one device."""
        return SingleDeviceStrategy.resume(self, filename, **kwargs)

    def load_model_state_dict(self, state_dict: Mapping[str, Tensor], *, strict: bool = False,
                              revise_keys: list | None = None) -> None:
        """Load what fits, and log what does not; of each tensor this process keeps its part."""
        plain = OrderedDict((k.removeprefix('module.'), v) for k, v in state_dict.items())
        plain._metadata = getattr(state_dict, '_metadata', None)
        state = as_loaded(self._module(), plain)  # while tensors are whole
        own = self._module().state_dict()
        if misfits := misfits_of_backbone({k: v.shape for k, v in state.items()},
                                          {k: v.shape for k, v in own.items()}):
            raise CheckpointError(f'the checkpoint is of another backbone: {misfits}')
        wrong = {'not in the model': state.keys() - own.keys(),
                 'not in the file': own.keys() - state.keys(),
                 'of another shape': {k for k in state.keys() & own.keys()
                                      if state[k].shape != own[k].shape}}
        for what, keys in wrong.items():
            if keys:
                more = f' and {len(keys) - 8} more' if len(keys) > 8 else ''
                words = f"{what}: {', '.join(sorted(keys)[:8])}{more}"
                if strict:
                    raise ConfigError(f'the checkpoint does not fit: {words}')
                self.logger.log(logging.WARNING, words)
        self.keep_weights({k: v for k, v in state.items()
                           if k in own and v.shape == own[k].shape})

    def _module(self) -> nn.Module:
        return self.model

    @staticmethod
    def kept(tensor: Tensor) -> Tensor | None:
        """On the first process a copy on the CPU, None on the others."""
        return tensor.detach().to('cpu', copy=True) if get_rank() == 0 else None


@STRATEGIES.register_module()
class ShardedStrategy(WholeCheckpoints, DDPStrategy):
    """FSDP for FlexibleRunner: each process keeps a part of every parameter.

    A block of the backbone is whole while it runs, the rest of the model during a step. mmengine's
    own strategy flattens parameters, so that ``flat_decay_mult`` and ``clip_grad`` act on pieces;
    here they keep their names and shapes, and gradients are clipped by their total norm.
    Checkpoints are those of an unsharded run: either resumes from the other's, with any number of
    processes.

    Args:
        units: 'blocks' shards each block of ``model.backbone`` by itself, 'model' everything
            together, which takes less communication and more memory; 'auto' is 'blocks' where every
            process runs every block as a whole, and equally often: not where only attention is
            trained, nor where tests slide a window over images.
        **kwargs: As mmengine's ``DDPStrategy``.

    Raises:
        ConfigError: other units, or 'blocks' of a model that does not run them so.

    Source: Zhao et al., PyTorch FSDP (arXiv 2304.11277); here in the form of ``fully_shard``.
    """

    def __init__(self, *, units: str = 'auto', **kwargs):
        super().__init__(**kwargs)
        if units not in ('auto', 'blocks', 'model'):
            raise ConfigError(f"strategy.units must be 'auto', 'blocks' or 'model', got {units!r}")
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
        slides = (getattr(model, 'test_cfg', None) or {}).get('mode') == 'slide'
        shardable = callable(blocks) and getattr(model, 'runs_whole_blocks', True) and not slides
        if self.units == 'blocks' and not shardable:
            raise ConfigError(f"strategy.units='blocks': not every process runs the blocks of this "
                              f"{type(model).__name__}'s backbone equally often"
                              + (" (test_cfg.mode='slide')" if slides else '')
                              + "; take units='model'")
        return list(blocks()) if shardable and self.units != 'model' else []

    def model_state_dict(self) -> dict[str, Tensor]:
        """The whole model's, on the first process; every process must call this."""
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
        state = get_model_state_dict(self.model, options=StateDictOptions(
            full_state_dict=True, cpu_offload=True))
        for key, value in state.items():
            if isinstance(value, Tensor):  # of a CPU a view of padded storage, which is saved whole
                state[key] = value.clone()
        return state

    def optim_state_dict(self) -> dict:
        """That of an unsharded optimiser; every process must call this.

        Not by torch's ``get_optimizer_state_dict``: it takes a step where there is no state yet, so
        that a run saved before its first update would resume one step ahead, and it knows
        parameters by name, where checkpoints of runs that do not shard have numbers.
        """
        own = self.optim_wrapper.state_dict()
        state = {n: {k: self.kept(whole(v)) if isinstance(v, Tensor) else v
                     for k, v in entry.items()} for n, entry in own['state'].items()}
        return dict(own, state=state)

    def keep_weights(self, state: dict[str, Tensor]) -> None:
        """Of the first process's whole tensors, which fit, this process's part."""
        from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
        set_model_state_dict(self.model, state, options=StateDictOptions(
            full_state_dict=True, broadcast_from_rank0=True, strict=False))

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
