# hooks of every run, for all tasks; a schedule has it as its base. One of them is changed or
# left out by its key: default_hooks=dict(finite_loss=dict(action='skip'), tf32=None). For configs
# of other libraries: --cfg-options switches=runtime
default_hooks = dict(
    runtime_info=dict(type='mmvitlin.RuntimeInfoHook'),
    timer=dict(type='IterTimerHook'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    logger=dict(type='LoggerHook'),
    param_scheduler=dict(type='ParamSchedulerHook'),
    step_seed=dict(type='mmvitlin.StepSeedHook'),
    average_buffers=dict(type='mmvitlin.AverageBuffersHook'),
    tf32=dict(type='mmvitlin.TF32Hook'),  # where the config has tf32=True
    accumulation=dict(type='mmvitlin.AccumulationHook'),
    initial_weights=dict(type='mmvitlin.InitialWeightsHook'),
    label_range=dict(type='mmvitlin.LabelRangeHook'),
    checkpoint=dict(type='mmvitlin.CheckpointHook'),
    result=dict(type='mmvitlin.ResultHook'),
    clean_exit=dict(type='mmvitlin.CleanExitHook'),
    finite_loss=dict(type='mmvitlin.FiniteLossHook'),
    first_times=dict(type='mmvitlin.FirstTimesHook'))
