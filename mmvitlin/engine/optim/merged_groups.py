"""Optimiser parameter groups: one for each set of options, not for each parameter."""
from __future__ import annotations

import difflib
import inspect
import logging

from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIMIZERS
from timm.layers import RmsNorm, SimpleNorm
from torch import nn
from torch.optim import Optimizer

from mmvitlin.compat.mmengine import short_console
from mmvitlin.registry import OPTIM_WRAPPER_CONSTRUCTORS
from mmvitlin.utils.errors import CheckpointError, ConfigError
from mmvitlin.utils.numbers import number

RMS_NORMS = (nn.RMSNorm, RmsNorm, SimpleNorm)
# what optimisers do not read: names, and factors that are in the rates already
_NO_OPTIONS = ('params', 'param_name', 'names', 'lr_mult', 'decay_mult')


def merge_groups(groups: list[dict], defaults: dict) -> list[dict]:
    """Groups of equal options joined, in the order of their first parameters.

    Args:
        groups: As ``paramwise_cfg`` makes them, of one parameter each; ``param_name`` may name it.
        defaults: Of the optimiser, for options that a group lacks.

    Returns:
        Groups of the same parameters and options, without frozen ones; ``names`` holds what
        ``param_name`` said.
    """
    merged: dict[tuple, dict] = {}
    for group in groups:
        if not any(p.requires_grad for p in group['params']):
            continue
        options = {k: v for k, v in (defaults | group).items() if k not in _NO_OPTIONS}
        key = tuple(sorted((k, repr(v)) for k, v in options.items()))
        target = merged.setdefault(key, dict(options, params=[]))
        target['params'] += group['params']
        if 'param_name' in group:
            target.setdefault('names', []).append(group['param_name'])
    return list(merged.values())


def takes_fused(optimizer_cfg: dict, model: nn.Module) -> bool:
    """Whether an optimiser has a fused form that its config leaves open and the device has."""
    parameter = next(model.parameters(), None)
    if parameter is None or parameter.device.type != 'cuda':
        return False
    kind = OPTIMIZERS.get(optimizer_cfg['type']) if isinstance(optimizer_cfg['type'], str) \
        else optimizer_cfg['type']
    taken = inspect.signature(kind.__init__).parameters
    return 'fused' in taken and not {'fused', 'foreach'} & set(optimizer_cfg)


def refuse_other_groups(optimizer: Optimizer, state: dict) -> None:
    """A hook before an optimiser's state is loaded: say what to do with one of other groups.

    Raises:
        CheckpointError: the numbers of groups differ.
    """
    saved, current = len(state['param_groups']), len(optimizer.param_groups)
    if saved != current:
        raise CheckpointError(
            f"the checkpoint's optimiser has {saved} parameter groups and this run's {current}: "
            'groups of equal options are merged since. Resume it with --cfg-options '
            'optim_wrapper.paramwise_cfg.merge_groups=False, or start from its weights with '
            'load_from')


class MergesGroups:
    """Mixin of a constructor: merges what it made, and takes ``fused=True`` on CUDA.

    ``paramwise_cfg`` takes ``merge_groups=False``, for runs that began without.

    Attributes:
        options: Of ``paramwise_cfg``; others are refused.

    Raises:
        ConfigError: an option that the constructor does not have, or one of ``custom_keys`` that
            is nearly one.
    """

    options: frozenset[str] = frozenset()

    def __call__(self, model: nn.Module):
        """Build the optimiser and its wrapper."""
        for key in set(self.paramwise_cfg) - self.options - {'merge_groups'}:
            near = difflib.get_close_matches(key, self.options, 1)
            raise ConfigError(f'optim_wrapper.paramwise_cfg.{key}: {type(self).__name__} has no '
                              f"such option{f', but {near[0]}' if near else ''}; it has "
                              f"{', '.join(sorted(self.options))}")
        if takes_fused(self.optimizer_cfg, model):
            self.optimizer_cfg = dict(self.optimizer_cfg, fused=True)
        with short_console():
            wrapper = super().__call__(model)
        self._check_custom(model, wrapper.optimizer)
        hook = getattr(wrapper.optimizer, 'register_load_state_dict_pre_hook', None)
        if hook is not None:
            hook(refuse_other_groups)
        return wrapper

    def _check_custom(self, model: nn.Module, optimizer: Optimizer) -> None:
        """mmengine puts what it does not know into the groups, where an optimiser may read it or
        not: refused is what looks like a mistyped option."""
        names, idle = [name for name, _ in model.named_parameters()], []
        known = {'lr_mult', 'decay_mult', *optimizer.defaults,
                 *inspect.signature(type(optimizer)).parameters}
        custom = self.paramwise_cfg.get('custom_keys') or {}
        for key, settings in custom.items():
            for unknown in sorted(settings.keys() - known):
                if near := difflib.get_close_matches(unknown, known, 1, cutoff=0.75):
                    raise ConfigError(
                        f"optim_wrapper.paramwise_cfg.custom_keys['{key}'].{unknown} would change "
                        f'nothing; do you mean {near[0]}?')
            if 'lr_mult' not in settings:
                continue
            meant = [name for name in names if key in name]
            if not meant:
                idle.append(key)
            if passed := sorted({longest for name in meant if (
                    longest := max((k for k in custom if k in name), key=len)) != key
                    and 'lr_mult' not in custom[longest]}):
                print_log(f"optim_wrapper.paramwise_cfg.custom_keys['{key}'].lr_mult does not "
                          f'reach parameters with {passed} in their names: mmengine takes the '
                          'longest key. Give those an lr_mult too'
                          + (', or take backbone_lr_mult' if key == 'backbone' else ''),
                          logger='current', level=logging.WARNING)
        if idle:
            print_log(f'optim_wrapper.paramwise_cfg.custom_keys: no parameter has {idle} in its '
                      f'name, so their lr_mult changes nothing; names are as {names[0]} and '
                      f'{names[-1]}', logger='current', level=logging.WARNING)

    def add_params(self, params: list[dict], module: nn.Module, prefix: str = '', **kwargs) -> None:
        """See mmengine; the outermost call merges. Modules that are frozen as a whole are passed
        over, for which mmengine would write a line for each parameter."""
        if prefix and not any(p.requires_grad for p in module.parameters()):
            return
        first = len(params)
        super().add_params(params, module, prefix, **kwargs)
        if isinstance(module, RMS_NORMS):
            self._treat_as_norm(params[first:], prefix)
        if not prefix:
            self._scale_backbone(params, module)
        if not prefix and self.paramwise_cfg.get('merge_groups', True):
            defaults = dict(lr=self.base_lr, weight_decay=self.base_wd)
            params[:] = merge_groups(params, {k: v for k, v in defaults.items() if v is not None})


    def _scale_backbone(self, groups: list[dict], model: nn.Module) -> None:
        """A factor on every rate of the backbone, where the constructor does not have it itself."""

    def _treat_as_norm(self, groups: list[dict], name: str) -> None:
        """Give ``norm_decay_mult`` to an RMSNorm, which mmengine takes for no norm."""
        factor = self.paramwise_cfg.get('norm_decay_mult')
        named = any(key in f'{name}.weight' for key in self.paramwise_cfg.get('custom_keys') or {})
        if factor is not None and self.base_wd is not None and not named:
            for group in groups:
                group['weight_decay'] = self.base_wd * factor


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class MergedOptimWrapperConstructor(MergesGroups, DefaultOptimWrapperConstructor):
    """mmengine's constructor with few groups: fused and foreach optimisers work group by group.

    Takes the same ``paramwise_cfg``, ``merge_groups``, and ``backbone_lr_mult``, a factor on every
    rate of the backbone: a ``custom_keys=dict(backbone=dict(lr_mult=…))`` leaves out what longer
    keys name, and takes norms and biases out of ``norm_decay_mult`` and its like.

    Each parameter is updated as without merging; only the norm that gradients are clipped by is
    summed in another order.
    """

    options = frozenset((
        'custom_keys', 'bias_lr_mult', 'bias_decay_mult', 'norm_decay_mult', 'flat_decay_mult',
        'dwconv_decay_mult', 'dcn_offset_lr_mult', 'bypass_duplicate', 'backbone_lr_mult'))

    def _scale_backbone(self, groups: list[dict], model: nn.Module) -> None:
        factor = self.paramwise_cfg.get('backbone_lr_mult', 1.)
        number('optim_wrapper.paramwise_cfg.backbone_lr_mult', factor, least=0)
        if factor == 1:
            return
        backbone = {id(p) for name, p in model.named_parameters() if name.startswith('backbone.')}
        for group in groups:
            if all(id(p) in backbone for p in group['params']):
                group['lr'] = group.get('lr', self.base_lr) * factor
