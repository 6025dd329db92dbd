# Cityscapes: UPerNet on the DINOv2-L that ViT-AdaLA gave linear attention but in two blocks, which
# keep softmax
# Published: a few softmax blocks kept: JetViT (CVPR 2026); the rest as in
#   upernet_linear-vit-large_cityscapes-1024.py.
# Ours: the two together.
_base_ = ['./upernet_linear-vit-large_cityscapes-1024.py']
model = dict(
    backbone=dict(
        softmax_layers=(11, 23),
        init_cfg=dict(
            checkpoint='work_dirs/adala-feature_hybrid-dinov2-large_in1k-448/student.pth')))
