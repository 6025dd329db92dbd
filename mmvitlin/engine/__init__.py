"""Hooks, metrics, optimiser wrappers and constructors; scope ``mmvitlin``."""
from mmvitlin.engine.hooks import (
    AverageBuffersHook,
    CleanExitHook,
    FiniteLossHook,
    ResultHook,
    StepSeedHook,
    StudentCheckpointHook,
)
from mmvitlin.engine.metrics import PanopticQuality
from mmvitlin.engine.optim import CPUAmpOptimWrapper, LayerDecayOptimWrapperConstructor

__all__ = [
    'AverageBuffersHook', 'CPUAmpOptimWrapper', 'CleanExitHook', 'FiniteLossHook',
    'LayerDecayOptimWrapperConstructor', 'PanopticQuality', 'ResultHook', 'StepSeedHook',
    'StudentCheckpointHook'
]
