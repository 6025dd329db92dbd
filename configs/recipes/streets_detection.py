# Mask R-CNN on drawn street scenes: what distillation without labels is worth to a detector.
# One teacher has learnt to segment the same scenes; the detectors have 2,400 iterations each.
#   python tools/make_streets.py data/streets --train 400 --val 60
#   python tools/run_recipe.py configs/recipes/streets_detection.py --seeds 0 1 2 --amp --jobs 2 \
#       --metric coco/bbox_AP50_ordinary
start = 'model.backbone.init_cfg.checkpoint'
stages = [
    dict(
        name='teacher', config='configs/seg/fcn_vit-nano_streets-512.py', iterations=2000,
        shared=True),
    dict(
        name='distill',
        config='configs/distill/linearizer_adventurer-nano_streets-512.py',
        iterations=1000,
        inputs={'model.teacher.checkpoint': 'teacher'},
        output='student.pth'),
    dict(
        name='distilled',
        config='configs/det/mask-rcnn_adventurer-nano_streets-512_distilled.py',
        iterations=2400,
        inputs={start: 'distill'}),
    dict(
        name='scratch', config='configs/det/mask-rcnn_adventurer-nano_streets-512.py',
        iterations=2400),
    dict(
        name='softmax',
        config='configs/det/mask-rcnn_vit-nano_streets-512.py',
        iterations=2400,
        inputs={start: 'teacher'}),
]
report = dict(
    title='Mask R-CNN on drawn street scenes (512×1024, patch 16, width 128, 8 blocks)',
    teacher='softmax',
    student='distilled',
    unlabelled=['distill'],
    note='The teacher has learnt to segment the same scenes from labels.',
    rows=dict(
        softmax="the teacher's backbone, softmax ViT",
        distilled='Adventurer, distilled from the teacher without labels',
        scratch='Adventurer from scratch'))
