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

    Raises:
        TypeError: the model's backbone has no ``get_layer_depth``.
    """

    def add_params(self, params, module: nn.Module, prefix: str = '', get_layer_depth=None,
                   **kwargs) -> None:
        """See mmpretrain."""
        if get_layer_depth is None:
            backbone = getattr(module, 'backbone', None)
            if not hasattr(backbone, 'get_layer_depth'):
                raise TypeError(f'layer decay needs a backbone with get_layer_depth; '
                                f'{type(module).__name__} has {type(backbone).__name__}')

            def get_layer_depth(name: str) -> tuple[int, int]:
                return backbone.get_layer_depth(name, 'backbone.')

        super().add_params(params, module, prefix, get_layer_depth, **kwargs)
