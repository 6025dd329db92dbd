"""Gradients and optimiser state sharded across ranks by DeepSpeed (ZeRO)."""
from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn as nn
from mmengine._strategy import DDPStrategy
from mmengine._strategy import DeepSpeedStrategy as MMEngineDeepSpeedStrategy
from mmengine.dist import all_reduce, get_rank
from torch import Tensor

from mmvitlin.compat.mmengine import without_deepspeed_optimizers
from mmvitlin.engine.strategies.sharding import WholeCheckpoints
from mmvitlin.registry import STRATEGIES
from mmvitlin.utils.errors import ConfigError


@STRATEGIES.register_module()
class DeepSpeedStrategy(WholeCheckpoints, MMEngineDeepSpeedStrategy):
    """mmengine's DeepSpeedStrategy with checkpoints that need no DeepSpeed.

    ZeRO of the first and second stage. Checkpoints hold the weights in float32 and the optimiser's
    state, whole, as a run without DeepSpeed saves them, rather than a folder of pickles for each
    process; either resumes from the other's, with any number of processes. Images are normalised in
    float32; other buffers, such as running statistics, are in the precision of the weights.

    Args:
        zero_optimization: DeepSpeed's; ``stage`` 1 or 2.
        sync_bn: See mmengine's ``DDPStrategy``.
        **kwargs: As mmengine's.

    Raises:
        ConfigError: another stage.

    Source: Rajbhandari et al., ZeRO (arXiv 1910.02054).
    """

    def __init__(self, *, zero_optimization: dict, sync_bn: str | None = None, **kwargs):
        if zero_optimization.get('stage') not in (1, 2):
            raise ConfigError('strategy.zero_optimization.stage must be 1 or 2, got '
                              f"{zero_optimization.get('stage')}; to shard parameters too take "
                              '_base_/switches/fsdp.py')
        with without_deepspeed_optimizers():
            super().__init__(zero_optimization=zero_optimization, **kwargs)
        self.sync_bn = sync_bn

    def build_model(self, model):
        """With batch norm synchronised, if asked for, before an optimiser has its parameters."""
        return DDPStrategy.convert_model(self, super().build_model(model))

    def _wrap_model(self, model: nn.Module):
        if not hasattr(self, 'optim_wrapper'):
            return super()._wrap_model(model)
        self._scale_lr()
        optimizer = self.optim_wrapper.optimizer
        self._usual_groups = [dict(group) for group in optimizer.param_groups]
        optimizer.param_groups[:] = merged = _merge(optimizer.param_groups)
        self._groups = [list(group['params']) for group in merged]  # each becomes one parameter
        # DeepSpeed rounds before it copies
        exact = [[p.detach().clone() for p in group] for group in self._groups]
        trained = {id(p) for group in self._groups for p in group}
        self._frozen = {name: p.detach().to('cpu', copy=True)
                        for name, p in model.named_parameters() if id(p) not in trained}
        normalising = {name: buffer.clone() for name, buffer in model.named_buffers()
                       if name.startswith('data_preprocessor.')}
        self.model = super()._wrap_model(model)
        for (part, _, parameters), values in zip(self._parts(), exact, strict=True):
            for parameter, value in zip(parameters, values, strict=True):
                _keep(parameter, value, part)
        for name, buffer in self._module().named_buffers():
            if name in normalising:
                buffer.data = normalising[name].to(buffer.device)
        return self.model

    def _module(self) -> nn.Module:
        return self.model.module

    def model_state_dict(self) -> dict[str, Tensor]:
        """The whole model's in float32, on the first process; every process must call this."""
        module = self._module()
        names = {id(p): name for name, p in module.named_parameters()}
        gathered = {names[id(parameter)]: self.kept(_gathered(parameter, part))
                    for part, _, parameters in self._parts() for parameter in parameters}
        if get_rank() != 0:
            return {}
        exact = {**self._frozen, **gathered}
        return {k: exact[k] if k in exact else
                self.kept(v.float() if v.is_floating_point() else v)
                for k, v in module.state_dict().items()}

    def keep_weights(self, state: dict[str, Tensor]) -> None:
        """Whole tensors that fit: rounded for the network, of the exact ones this process's
        part."""
        module = self._module()
        module.load_state_dict(state, strict=False)
        names = {id(p): name for name, p in module.named_parameters()}
        for part, _, parameters in self._parts():
            for parameter in parameters:
                if names[id(parameter)] in state:
                    _keep(parameter, state[names[id(parameter)]], part)
        self._frozen.update({k: state[k].float().cpu() for k in self._frozen.keys() & state.keys()})

    def optim_state_dict(self) -> dict:
        """That of an unsharded optimiser; every process must call this."""
        place = {id(p): (group, entry) for group, (_, entry, parameters) in zip(
            self.optim_wrapper.optimizer.param_groups, self._parts(), strict=True)
            for p in parameters}
        state, groups, n = {}, [], 0
        for usual in self._usual_groups:
            group, _ = next((place[id(p)] for p in usual['params'] if id(p) in place), ({}, None))
            numbers = range(n, n := n + len(usual['params']))
            groups.append({**usual, **group, 'params': [*numbers]})
            for number, parameter in zip(numbers, usual['params'], strict=True):
                _, entry = place.get(id(parameter), (None, {}))
                if entry:  # nothing is there before the first step
                    state[number] = {
                        k: self.kept(_gathered(parameter, v) if _is_of_parameters(v) else v)
                        if isinstance(v, Tensor) else v for k, v in entry.items()}
        return dict(super().optim_state_dict(), state=state, param_groups=groups)

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Keep this process's part of each tensor."""
        super().load_optim_state_dict(state_dict)
        usual = [p for group in self._usual_groups for p in group['params']]
        number = {id(p): n for n, p in enumerate(usual)}
        saved = {n: group for group in state_dict['param_groups'] for n in group['params']}
        for group, (part, entry, parameters) in zip(self.optim_wrapper.optimizer.param_groups,
                                                    self._parts(), strict=True):
            first = saved[number[id(parameters[0])]]
            group.update({k: v for k, v in first.items() if k in group and k != 'params'})
            for parameter in parameters:
                for name, value in state_dict['state'].get(number[id(parameter)], {}).items():
                    if _is_of_parameters(value):
                        _keep(parameter, value, entry.setdefault(name, torch.zeros_like(part)))
                    else:
                        entry[name] = value.clone() if isinstance(value, Tensor) else value

    def _parts(self) -> Iterator[tuple[Tensor, dict, list[Tensor]]]:
        """Of each group this process's part in float32, the optimiser's state of it, and the
        group's parameters."""
        inner = self.model.optimizer.optimizer
        for group, parameters in zip(inner.param_groups, self._groups, strict=True):
            part, = group['params']
            yield part, inner.state[part], parameters


def _merge(groups: list[dict]) -> list[dict]:
    """Merge groups with the same settings, without frozen parameters.

    mmengine makes a group of each parameter, and a process that has no piece of a small one stops
    DeepSpeed.
    """
    merged: dict[str, dict] = {}
    for group in groups:
        settings = {k: v for k, v in group.items() if k not in ('params', 'param_name', 'names')}
        trained = [p for p in group['params'] if p.requires_grad]
        if trained:
            merged.setdefault(repr(settings), {**settings, 'params': []})['params'] += trained
    return list(merged.values())


def _gathered(parameter: Tensor, part: Tensor) -> Tensor:
    """A parameter, or its state, from the parts of all processes."""
    whole = part.new_zeros(parameter.numel())
    if (place := parameter._hp_mapping) is not None:
        source, target = place.lp_fragment_address, place.hp_fragment_address
        whole[source.start:source.start + source.numel] = \
            part.detach()[target.start:target.start + target.numel]
    all_reduce(whole)
    return whole.view_as(parameter)


def _keep(parameter: Tensor, value: Tensor, part: Tensor) -> None:
    """Copy the slice of a value, shaped like its parameter, that belongs to a part."""
    if (place := parameter._hp_mapping) is not None:
        source, target = place.lp_fragment_address, place.hp_fragment_address
        piece = value.detach().flatten()[source.start:source.start + source.numel]
        with torch.no_grad():
            part[target.start:target.start + target.numel] = piece.to(part)


def _is_of_parameters(value) -> bool:
    """Whether an entry of the state is shaped like its parameters, rather than a count of steps."""
    return isinstance(value, Tensor) and value.ndim > 0
