# ViT-Linearizer on ImageNet-1K's images: CLIP ViT-B/16 -> Adventurer-B at 224x224
#   tools/dist_train.sh configs/distill/linearizer_adventurer-base_in1k-224.py 8 --amp
# The student lands in work_dirs/linearizer_adventurer-base_in1k-224/student.pth.
_base_ = [
    '../_base_/models/linearizer_adventurer-base.py', '../_base_/datasets/imagenet_images_224.py',
    '../_base_/schedules/distill_100e.py', '../_base_/runtime_distill_cls.py'
]
