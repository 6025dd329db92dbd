# distillation through MMPretrain's data pipeline; the student lands in student.pth
_base_ = ['./runtime_cls.py']
custom_hooks = [dict(type='mmvitlin.StudentCheckpointHook')]
