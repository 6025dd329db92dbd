"""Hooks."""
from mmvitlin.engine.hooks.result import ResultHook
from mmvitlin.engine.hooks.student_checkpoint import StudentCheckpointHook

__all__ = ['ResultHook', 'StudentCheckpointHook']
