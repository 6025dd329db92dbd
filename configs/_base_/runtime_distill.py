# what every distillation run shares; the student lands in student.pth of the work directory
_base_ = ['./runtime_seg.py']
custom_hooks = [dict(type='mmvitlin.StudentCheckpointHook')]
