"""Optimiser wrappers and constructors."""
from mmvitlin.engine.optim.cpu_amp import CPUAmpOptimWrapper
from mmvitlin.engine.optim.layer_decay import LayerDecayOptimWrapperConstructor

__all__ = ['CPUAmpOptimWrapper', 'LayerDecayOptimWrapperConstructor']
