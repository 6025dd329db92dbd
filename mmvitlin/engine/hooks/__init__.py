"""Hooks."""
from mmvitlin.engine.hooks.accumulation import AccumulationHook
from mmvitlin.engine.hooks.average_buffers import AverageBuffersHook
from mmvitlin.engine.hooks.checkpoint import CheckpointHook
from mmvitlin.engine.hooks.clean_exit import CleanExitHook
from mmvitlin.engine.hooks.finite_loss import FiniteLossHook
from mmvitlin.engine.hooks.first_times import FirstTimesHook
from mmvitlin.engine.hooks.initial_weights import InitialWeightsHook
from mmvitlin.engine.hooks.label_range import LabelRangeHook
from mmvitlin.engine.hooks.mask_annealing import MaskAnnealingHook
from mmvitlin.engine.hooks.result import ResultHook
from mmvitlin.engine.hooks.runtime_info import RuntimeInfoHook
from mmvitlin.engine.hooks.step_seed import StepSeedHook
from mmvitlin.engine.hooks.student_checkpoint import StudentCheckpointHook
from mmvitlin.engine.hooks.tf32 import TF32Hook

__all__ = [
    'AccumulationHook', 'AverageBuffersHook', 'CheckpointHook', 'CleanExitHook', 'FiniteLossHook',
    'FirstTimesHook', 'InitialWeightsHook', 'LabelRangeHook', 'MaskAnnealingHook', 'ResultHook',
    'RuntimeInfoHook', 'StepSeedHook', 'StudentCheckpointHook', 'TF32Hook'
]
