# a switch: keep, validate and save an averaged copy of the weights, over the last 5,000 steps or
# so; shorter runs need a larger momentum (one over the steps that the average should hold)
custom_hooks = [dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=2e-4)]
