"""Layer-wise learning-rate decay for any model with a ``backbone``."""
from __future__ import annotations

from collections.abc import Callable

from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from mmvitlin.engine.optim.merged_groups import RMS_NORMS, MergesGroups
from mmvitlin.registry import OPTIM_WRAPPER_CONSTRUCTORS
from mmvitlin.utils.numbers import number

_NORMS = (_BatchNorm, _InstanceNorm, nn.GroupNorm, nn.LayerNorm, *RMS_NORMS)


class _LayerDecay(DefaultOptimWrapperConstructor):
    """One group a parameter; see :class:`LayerDecayOptimWrapperConstructor`."""

    def add_params(self, params: list[dict], module: nn.Module, prefix: str = '', **kwargs) -> None:
        """A group for each parameter that is trained."""
        options = self.paramwise_cfg
        custom = options.get('custom_keys', {})
        rate, of_backbone = (options.get(key, 1.) for key in ('layer_decay_rate',
                                                              'backbone_lr_mult'))
        passed_over = [key for key, value in custom.items() if 'lr_mult' in value]
        if passed_over:
            raise ValueError(f'paramwise_cfg.custom_keys: the lr_mult of {passed_over} has no '
                             'effect with layer decay; give backbone_lr_mult, or take '
                             "constructor='DefaultOptimWrapperConstructor'")
        number('optim_wrapper.paramwise_cfg.layer_decay_rate', rate, above=0, most=1)
        number('optim_wrapper.paramwise_cfg.backbone_lr_mult', of_backbone, least=0)
        depth_of = self._depths(module)
        keys = sorted(sorted(custom), key=len, reverse=True)
        for place, part in module.named_modules(prefix=prefix.rstrip('.')):
            for own, parameter in part.named_parameters(recurse=False):
                if not parameter.requires_grad:
                    continue
                name = f'{place}.{own}' if place else own
                layer, layers = depth_of(name)
                scale = rate**(layers - layer - 1)
                if name.startswith('backbone.'):
                    scale *= of_backbone
                group = dict(params=[parameter], param_name=name, layer_id=layer,
                             lr=self.base_lr * scale, lr_scale=scale)
                key = next((key for key in keys if key in name), None)
                special = {} if key is None else dict(custom[key])
                factor = special.pop('decay_mult', 1.) if key is not None else \
                    self._decay_factor(part, own, parameter)
                if self.base_wd is not None:
                    group['weight_decay'] = self.base_wd * factor
                group.update(special)
                params.append(group)

    def _decay_factor(self, part: nn.Module, name: str, parameter: nn.Parameter) -> float:
        """Of the weight decay of a parameter that no custom key names."""
        options = self.paramwise_cfg
        for applies, option in ((isinstance(part, _NORMS), 'norm_decay_mult'),
                                (name == 'bias', 'bias_decay_mult'),
                                (parameter.ndim == 1, 'flat_decay_mult')):
            if applies and options.get(option) is not None:
                return options[option]
        return 1.

    def _depths(self, model: nn.Module) -> Callable[[str], tuple[int, int]]:
        """Name of a parameter → (its layer, number of layers)."""
        if self.paramwise_cfg.get('layer_decay_rate', 1.) == 1:
            return lambda name: (0, 1)
        backbone = getattr(model, 'backbone', None)
        if not hasattr(backbone, 'get_layer_depth'):
            raise TypeError(f'layer decay needs a backbone with get_layer_depth; '
                            f'{type(model).__name__} has {type(backbone).__name__}')
        return lambda name: backbone.get_layer_depth(name, 'backbone.')


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(MergesGroups, _LayerDecay):
    """Layer decay for segmentors, detectors, classifiers and distillers.

    The rate of block i of ``model.backbone`` is ``layer_decay_rate`` to the power of its
    distance from the head; necks and heads keep the full rate. mmpretrain's constructor asks the
    model for ``get_layer_depth``, which only its classifiers have; mmseg's own guesses from
    parameter names and gives every parameter the same group for unknown names. Options of
    ``paramwise_cfg`` are mmpretrain's: ``layer_decay_rate``, ``norm_decay_mult``,
    ``bias_decay_mult``, ``flat_decay_mult`` (one-dimensional parameters), ``custom_keys``.

    ``paramwise_cfg`` takes ``backbone_lr_mult`` besides, a factor on every rate of the backbone.
    mmengine's own constructor only has ``custom_keys=dict(backbone=dict(lr_mult=…))`` for it, which
    disables ``norm_decay_mult`` and ``flat_decay_mult`` for the whole backbone.

    Groups of equal options are merged: one a layer and weight decay, not one a parameter
    (:class:`~mmvitlin.engine.optim.merged_groups.MergesGroups`).

    Raises:
        TypeError: the rates decay, and the model's backbone has no ``get_layer_depth``.
        ValueError: ``custom_keys`` hold an ``lr_mult``, which would have no effect.
        ConfigError: ``layer_decay_rate`` is not above 0 and at most 1, or a factor is no number.
    """

    options = frozenset(('layer_decay_rate', 'norm_decay_mult', 'bias_decay_mult',
                         'flat_decay_mult', 'custom_keys', 'backbone_lr_mult'))
