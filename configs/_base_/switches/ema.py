# a switch: keep, validate and save an averaged copy of the weights
custom_hooks = [dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=2e-4)]
