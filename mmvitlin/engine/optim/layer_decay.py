"""Layer-wise learning-rate decay for any model with a ``backbone``."""
from __future__ import annotations

from mmpretrain.engine.optimizers import LearningRateDecayOptimWrapperConstructor
from torch import nn

from mmvitlin.registry import OPTIM_WRAPPER_CONSTRUCTORS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(LearningRateDecayOptimWrapperConstructor):
    """mmpretrain's layer decay, also for segmentors, detectors and distillers.

    The rate of block i of ``model.backbone`` is ``layer_decay_rate`` to the power of its
    distance from the head; necks and heads keep the full rate. mmpretrain's constructor asks the
    model for ``get_layer_depth``, which only its classifiers have; mmseg's own guesses from
    parameter names and gives every parameter the same group for unknown names.

    ``paramwise_cfg`` takes ``backbone_lr_mult`` besides, a factor on every rate of the backbone.
    mmengine's own constructor has it as ``custom_keys=dict(backbone=dict(lr_mult=…))`` alone,
    which puts ``norm_decay_mult`` and ``flat_decay_mult`` out of force for the whole backbone.

    Raises:
        TypeError: the rates decay, and the model's backbone has no ``get_layer_depth``.
        ValueError: ``custom_keys`` hold an ``lr_mult``, which mmpretrain's constructor passes over.
    """

    def add_params(self, params, module: nn.Module, prefix: str = '', get_layer_depth=None,
                   **kwargs) -> None:
        """See mmpretrain."""
        passed_over = [key for key, told in self.paramwise_cfg.get('custom_keys', {}).items()
                       if 'lr_mult' in told]
        if passed_over:
            raise ValueError(f'paramwise_cfg.custom_keys: the lr_mult of {passed_over} has no '
                             'effect with layer decay; give backbone_lr_mult, or take '
                             "constructor='DefaultOptimWrapperConstructor'")
        if get_layer_depth is None:
            backbone = getattr(module, 'backbone', None)
            decays = self.paramwise_cfg.get('layer_decay_rate', 1.) != 1
            if decays and not hasattr(backbone, 'get_layer_depth'):
                raise TypeError(f'layer decay needs a backbone with get_layer_depth; '
                                f'{type(module).__name__} has {type(backbone).__name__}')

            def get_layer_depth(name: str) -> tuple[int, int]:
                return backbone.get_layer_depth(name, 'backbone.') if decays else (0, 1)

        super().add_params(params, module, prefix, get_layer_depth, **kwargs)
        if not prefix:
            for group in params:
                if group['param_name'].startswith('backbone.'):
                    factor = self.paramwise_cfg.get('backbone_lr_mult', 1.)
                    group.update(lr=group['lr'] * factor, lr_scale=group['lr_scale'] * factor)
