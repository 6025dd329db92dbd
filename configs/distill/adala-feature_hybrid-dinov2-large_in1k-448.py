# ViT-AdaLA, stage 2, of DINOv2-L into linear attention but in two blocks, which keep softmax
# Published: a few softmax blocks kept: JetViT (CVPR 2026); stage 2 as in
#   adala-feature_dinov2-large_in1k-448.py.
# Ours: the two together.
_base_ = ['./adala-feature_dinov2-large_in1k-448.py']
model = dict(
    backbone=dict(
        softmax_layers=(11, 23),
        init_cfg=dict(
            checkpoint='work_dirs/adala-attention_hybrid-dinov2-large_coco-448/student.pth')))
