"""Hooks, optimiser wrappers and constructors; scope ``mmvitlin``."""
from mmvitlin.engine.hooks import (
    CleanExitHook,
    FiniteLossHook,
    ResultHook,
    StepSeedHook,
    StudentCheckpointHook,
)
from mmvitlin.engine.optim import CPUAmpOptimWrapper, LayerDecayOptimWrapperConstructor

__all__ = [
    'CPUAmpOptimWrapper', 'CleanExitHook', 'FiniteLossHook', 'LayerDecayOptimWrapperConstructor',
    'ResultHook', 'StepSeedHook', 'StudentCheckpointHook'
]
