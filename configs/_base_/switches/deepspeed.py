# a switch: shard gradients and optimiser over all processes with DeepSpeed
# (ZeRO-2), in bfloat16; pip install 'mmvitlin[deepspeed]'
runner_type = 'mmvitlin.FlexibleRunner'
strategy = dict(
    type='mmvitlin.DeepSpeedStrategy',
    bf16=dict(enabled=True),
    inputs_to_half=['inputs'],
    zero_optimization=dict(
        stage=2, overlap_comm=True, contiguous_gradients=True, cpu_offload=False))
