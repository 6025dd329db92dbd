# ViT-Linearizer on ImageNet-1K's images: CLIP ViT-B/16 -> Adventurer-B at 224x224
#   tools/dist_train.sh configs/distill/linearizer_adventurer-base_in1k-224.py 8 --amp
# The student lands in work_dirs/linearizer_adventurer-base_in1k-224/student.pth.
# Published: ViT-Linearizer (arXiv 2504.00037), method section: CLIP ViT-B/16 into Adventurer-B,
#   both losses with a weight of 1, four stages, visible tokens, three quarters masked.
# Ours: the ends of stages at blocks 3, 6, 9 and 12, layer-normed targets and beta 1, which the
#   paper leaves open; optimiser, 100 epochs, batch 1024, crops and colours, which we do not have
#   from it.
_base_ = [
    '../_base_/models/linearizer_adventurer-base.py', '../_base_/datasets/imagenet_images_224.py',
    '../_base_/schedules/distill_100e.py', '../_base_/runtime_distill_cls.py'
]
