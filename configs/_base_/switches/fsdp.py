# a switch: shard parameters, gradients and optimiser over all processes; the
# frozen teacher of a distillation stays whole on each, unless model.teacher.shard=True
runner_type = 'mmvitlin.FlexibleRunner'
strategy = dict(type='mmvitlin.ShardedStrategy')
