# add to a config's _base_ to shard parameters, gradients and optimiser over all GPUs (FSDP); the
# frozen teacher of a distillation stays whole on each, unless model.teacher.shard=True
runner_type = 'FlexibleRunner'
strategy = dict(
    type='FSDPStrategy',
    model_wrapper=dict(type='MMFullyShardedDataParallel', use_orig_params=True),
    state_dict_cfg='full')
