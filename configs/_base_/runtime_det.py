# what every detection run shares; needs make setup-full
default_scope = 'mmdet'
env_cfg = dict(
    cudnn_benchmark=False,  # sizes change from batch to batch
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'))
tf32 = True  # products of float32 on GPUs, in training
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='DetLocalVisualizer', vis_backends=vis_backends, name='visualizer')
log_level = 'INFO'
load_from = None
resume = False
randomness = dict(seed=0)
