"""Hooks."""
from mmvitlin.engine.hooks.average_buffers import AverageBuffersHook
from mmvitlin.engine.hooks.clean_exit import CleanExitHook
from mmvitlin.engine.hooks.finite_loss import FiniteLossHook
from mmvitlin.engine.hooks.first_times import FirstTimesHook
from mmvitlin.engine.hooks.result import ResultHook
from mmvitlin.engine.hooks.step_seed import StepSeedHook
from mmvitlin.engine.hooks.student_checkpoint import StudentCheckpointHook

__all__ = [
    'AverageBuffersHook', 'CleanExitHook', 'FiniteLossHook', 'FirstTimesHook', 'ResultHook',
    'StepSeedHook', 'StudentCheckpointHook'
]
