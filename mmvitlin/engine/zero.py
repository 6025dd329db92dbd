"""Gradients and optimiser dealt out to all processes by DeepSpeed (ZeRO)."""
from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn as nn
from mmengine._strategy import DeepSpeedStrategy as MMEngineDeepSpeedStrategy
from mmengine._strategy import deepspeed as mmengine_deepspeed
from mmengine.dist import all_reduce
from torch import Tensor

from mmvitlin.engine.sharding import WholeCheckpoints
from mmvitlin.errors import ConfigError
from mmvitlin.registry import STRATEGIES


@STRATEGIES.register_module()
class DeepSpeedStrategy(WholeCheckpoints, MMEngineDeepSpeedStrategy):
    """mmengine's DeepSpeedStrategy with checkpoints that need no DeepSpeed.

    ZeRO of the first and second stage. What is saved are the weights in float32 and the optimiser's
    state, whole, as a run without DeepSpeed saves them, rather than a folder of pickles for each
    process; either goes on from the other's, with any number of processes.

    Args:
        zero_optimization: DeepSpeed's; ``stage`` 1 or 2.
        **kwargs: As mmengine's.

    Raises:
        ConfigError: another stage.

    Source: Rajbhandari et al., ZeRO (arXiv 1910.02054).
    """

    def __init__(self, *, zero_optimization: dict, **kwargs):
        if zero_optimization.get('stage') not in (1, 2):
            raise ConfigError('strategy.zero_optimization.stage must be 1 or 2, got '
                              f"{zero_optimization.get('stage')}; to shard parameters too take "
                              '_base_/switches/fsdp.py')
        usual = mmengine_deepspeed.register_deepspeed_optimizers
        # it imports what newer DeepSpeeds do not have; of its optimisers none is used here
        mmengine_deepspeed.register_deepspeed_optimizers = list
        try:
            super().__init__(zero_optimization=zero_optimization, **kwargs)
        finally:
            mmengine_deepspeed.register_deepspeed_optimizers = usual

    def _wrap_model(self, model: nn.Module):
        if not hasattr(self, 'optim_wrapper'):
            return super()._wrap_model(model)
        optimizer = self.optim_wrapper.optimizer
        self._usual_groups = [dict(group) for group in optimizer.param_groups]
        optimizer.param_groups[:] = merged = _merge(optimizer.param_groups)
        self._groups = [list(group['params']) for group in merged]  # each becomes one parameter
        exact = [[p.detach().clone() for p in group] for group in self._groups]
        self.model = super()._wrap_model(model)
        for ((part, _), parameters), values in zip(self._parts(), exact, strict=True):
            for parameter, value in zip(parameters, values, strict=True):
                _keep(parameter, value, part)  # DeepSpeed rounds before it copies
        return self.model

    def model_state_dict(self) -> dict[str, Tensor]:
        """The whole model's in float32; every process must ask."""
        state = {k: v.float() if v.is_floating_point() else v
                 for k, v in self.model.module.state_dict().items()}
        names = {id(p): name for name, p in self.model.module.named_parameters()}
        for (part, _), parameters in self._parts():
            for parameter in parameters:
                state[names[id(parameter)]] = _gathered(parameter, part)
        return state

    def load_model_state_dict(self, state_dict: dict[str, Tensor], *, strict: bool = False,
                              revise_keys: list | None = None) -> None:
        """The low-precision weights, and this process's part of the exact ones."""
        state = {k.removeprefix('module.'): v for k, v in state_dict.items()}
        self.model.module.load_state_dict(state, strict=strict)
        names = {id(p): name for name, p in self.model.module.named_parameters()}
        for (part, _), parameters in self._parts():
            for parameter in parameters:
                told = state.get(names[id(parameter)])
                if told is not None and told.shape == parameter.shape:
                    _keep(parameter, told, part)

    def optim_state_dict(self) -> dict:
        """That of an optimiser which is not sharded; every process must ask."""
        place = {id(p): (group, entry) for group, ((_, entry), parameters) in zip(
            self.optim_wrapper.optimizer.param_groups, self._parts(), strict=True)
            for p in parameters}
        state, groups, n = {}, [], 0
        for usual in self._usual_groups:
            group, _ = place[id(usual['params'][0])]
            numbers = range(n, n := n + len(usual['params']))
            groups.append({**usual, **group, 'params': [*numbers]})
            for number, parameter in zip(numbers, usual['params'], strict=True):
                entry = place[id(parameter)][1]
                if entry:  # nothing is there before the first step
                    state[number] = {k: _gathered(parameter, v) if _is_of_parameters(v) else v
                                     for k, v in entry.items()}
        return dict(super().optim_state_dict(), state=state, param_groups=groups)

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Keep this process's part of each tensor."""
        super().load_optim_state_dict(state_dict)
        usual = [p for group in self._usual_groups for p in group['params']]
        number = {id(p): n for n, p in enumerate(usual)}
        told = {n: group for group in state_dict['param_groups'] for n in group['params']}
        for group, ((part, entry), parameters) in zip(self.optim_wrapper.optimizer.param_groups,
                                                      self._parts(), strict=True):
            first = told[number[id(parameters[0])]]
            group.update({k: v for k, v in first.items() if k in group and k != 'params'})
            for parameter in parameters:
                for name, value in state_dict['state'].get(number[id(parameter)], {}).items():
                    if _is_of_parameters(value):
                        _keep(parameter, value, entry.setdefault(name, torch.zeros_like(part)))
                    else:
                        entry[name] = value

    def _parts(self) -> Iterator[tuple[tuple[Tensor, dict], list[Tensor]]]:
        """Of each group this process's part in float32, the optimiser's state of it, and the
        group's parameters."""
        inner = self.model.optimizer.optimizer
        for group, parameters in zip(inner.param_groups, self._groups, strict=True):
            part, = group['params']
            yield (part, inner.state[part]), parameters


def _merge(groups: list[dict]) -> list[dict]:
    """Groups with the same settings as one: mmengine makes a group of each parameter, and a process
    that has no piece of a small one stops DeepSpeed."""
    merged: dict[str, dict] = {}
    for group in groups:
        settings = {k: v for k, v in group.items() if k not in ('params', 'param_name')}
        merged.setdefault(repr(settings), {**settings, 'params': []})['params'] += group['params']
    return list(merged.values())


def _gathered(parameter: Tensor, part: Tensor) -> Tensor:
    """What the processes hold of a parameter, or of its state, put together."""
    found = part.new_zeros(parameter.numel())
    if (place := parameter._hp_mapping) is not None:
        here, there = place.lp_fragment_address, place.hp_fragment_address
        found[here.start:here.start + here.numel] = \
            part.detach()[there.start:there.start + there.numel]
    all_reduce(found)
    return found.view_as(parameter)


def _keep(parameter: Tensor, value: Tensor, part: Tensor) -> None:
    """Put of a value, shaped like its parameter, into a part what belongs there."""
    if (place := parameter._hp_mapping) is not None:
        here, there = place.lp_fragment_address, place.hp_fragment_address
        piece = value.detach().flatten()[here.start:here.start + here.numel]
        with torch.no_grad():
            part[there.start:there.start + there.numel] = piece.to(part)


def _is_of_parameters(value) -> bool:
    """Whether an entry of the state is shaped like its parameters, rather than a count of steps."""
    return isinstance(value, Tensor) and value.ndim > 0
