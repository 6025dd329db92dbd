"""Hooks, optimiser wrappers and constructors; scope ``mmvitlin``."""
from mmvitlin.engine.hooks import ResultHook, StudentCheckpointHook
from mmvitlin.engine.optim import CPUAmpOptimWrapper, LayerDecayOptimWrapperConstructor

__all__ = [
    'CPUAmpOptimWrapper', 'LayerDecayOptimWrapperConstructor', 'ResultHook',
    'StudentCheckpointHook'
]
