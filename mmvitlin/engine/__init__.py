"""Hooks, optimiser wrappers and constructors; scope ``mmvitlin``."""
from mmvitlin.engine.hooks import (
    CleanExitHook,
    ResultHook,
    StepSeedHook,
    StudentCheckpointHook,
)
from mmvitlin.engine.optim import CPUAmpOptimWrapper, LayerDecayOptimWrapperConstructor

__all__ = [
    'CPUAmpOptimWrapper', 'CleanExitHook', 'LayerDecayOptimWrapperConstructor', 'ResultHook',
    'StepSeedHook', 'StudentCheckpointHook'
]
