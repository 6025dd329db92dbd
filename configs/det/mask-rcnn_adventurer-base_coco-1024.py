# COCO at 1024x1024: Mask R-CNN on a distilled Adventurer-B, 100 epochs. Needs make setup-full.
#   python tools/train.py configs/det/mask-rcnn_adventurer-base_coco-1024.py --amp
# The backbone starts from the student that configs/distill/linearizer_adventurer-base_in1k-224.py
# wrote. Elsewhere: --cfg-options model.backbone.init_cfg.checkpoint=FILE; from scratch:
# --cfg-options model.backbone.init_cfg=None; other data in the COCO layout: data_root=FOLDER.
# Published: ViTDet (arXiv 2203.16527): Mask R-CNN on a simple feature pyramid, 100 epochs of batch
#   64, large-scale jitter at 1024, AdamW at 1e-4, decay 0.1, layer decay 0.7, drop path 0.1.
# Ours: an Adventurer as backbone, from the distilled student; averaged weights.
_base_ = [
    '../_base_/models/mask-rcnn_adventurer-base.py', '../_base_/datasets/coco_instances_1024.py',
    '../_base_/runtime_det.py', '../_base_/schedules/det_100e.py'
]
