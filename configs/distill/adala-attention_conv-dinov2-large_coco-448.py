# ViT-AdaLA, stage 1, of DINOv2-L into linear attention with a depthwise convolution on the values
# Published: the convolution on the values of linear attention: JetViT (CVPR 2026); stage 1 as in
#   adala-attention_dinov2-large_coco-448.py.
# Ours: the two together.
_base_ = ['./adala-attention_dinov2-large_coco-448.py']
model = dict(backbone=dict(linear_cfg=dict(conv_kernel=3)))
