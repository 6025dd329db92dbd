"""Hooks, optimiser wrappers and constructors; scope ``mmvitlin``. Metrics are in ``metrics``."""
from mmvitlin.engine.hooks import (
    AverageBuffersHook,
    CleanExitHook,
    FiniteLossHook,
    FirstTimesHook,
    LabelRangeHook,
    ResultHook,
    StepSeedHook,
    StudentCheckpointHook,
)
from mmvitlin.engine.optim import CPUAmpOptimWrapper, LayerDecayOptimWrapperConstructor

__all__ = [
    'AverageBuffersHook', 'CPUAmpOptimWrapper', 'CleanExitHook', 'FiniteLossHook',
    'FirstTimesHook', 'LabelRangeHook', 'LayerDecayOptimWrapperConstructor', 'ResultHook',
    'StepSeedHook', 'StudentCheckpointHook'
]
