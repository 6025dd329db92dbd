# Cityscapes at full resolution: UPerNet on a distilled Adventurer-B, 1024x1024 crops.
#   python tools/train.py configs/seg/cityscapes_1024.py --amp
# The backbone starts from the student that configs/distill/linearizer_adventurer-base_in1k-224.py
# wrote. Elsewhere: --cfg-options model.backbone.init_cfg.checkpoint=FILE; from scratch:
# --cfg-options model.backbone.init_cfg=None; other data in the Cityscapes layout: data_root=FOLDER.
# Tests see windows of the size of the crops: where these were compared with whole images
# (docs/results/highres_camvid.json), the Adventurer did better in windows, ViTs with whole images.
# Whole images: --cfg-options model.test_cfg.mode=whole; the start from 448: switches=student_448.
# Published: ViT-Linearizer (arXiv 2504.00037) reports a distilled student on Cityscapes; rate and
#   decay are those of Adventurer (arXiv 2410.07599) on ADE20K, there for 16 images a step.
# Ours: UPerNet and SimpleFPN, 128 channels wide, 80k steps of 8 crops of 1024x1024, layer decay
#   0.9, drop path 0.1: the paper's recipe is not known to us; windows in the test, as measured.
_base_ = [
    '../_base_/models/upernet_adventurer-base.py', '../_base_/datasets/cityscapes_1024x1024.py',
    '../_base_/runtime_seg.py', '../_base_/schedules/adamw_80k.py'
]
model = dict(test_cfg=dict(mode='slide', crop_size=(1024, 1024), stride=(768, 768)))
