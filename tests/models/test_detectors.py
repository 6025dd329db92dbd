"""Every detector of the configs, made small, on drawn streets: a step, a prediction, bad files."""
import copy
import json
import re

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS, init_default_scope

from mmvitlin import compat
from mmvitlin.engine.config import load_config
from mmvitlin.engine.launch import train
from mmvitlin.engine.preflight import check_libraries, preflight
from mmvitlin.errors import ConfigError, UnreadableFileError, UserError
from tests.conftest import ROOT

needs_mmdet = pytest.mark.skipif(bool(compat.lacking_for_detection()),
                                 reason='needs mmdet and the compiled ops: make setup-full')
ANNOTATIONS = 'annotations/instancesonly_filtered_gtFine_train.json'
STREETS = str(ROOT / 'configs/det/streets_adventurer-nano.py')
SMALL = {
    'model.backbone.arch': dict(embed_dims=32, num_layers=2), 'model.backbone.img_size': (64, 128),
    'model.neck.in_channels': 32,
    'model.data_preprocessor.batch_augments.0.size': (64, 128),
    'train_dataloader.dataset.pipeline.3.scale': (128, 64),
    'train_dataloader.dataset.pipeline.4.crop_size': (128, 64),
    'val_dataloader.dataset.pipeline.1.scale': (128, 64),
    'test_dataloader.dataset.pipeline.1.scale': (128, 64),
    'train_dataloader.batch_size': 2, 'train_dataloader.num_workers': 0,
    'train_dataloader.persistent_workers': False, 'val_dataloader.num_workers': 0,
    'val_dataloader.persistent_workers': False, 'test_dataloader.num_workers': 0,
    'test_dataloader.persistent_workers': False, 'default_hooks.logger.interval': 1,
    'train_cfg.max_iters': 2, 'train_cfg.val_interval': 2,
    'default_hooks.checkpoint.interval': 2,
}


def small(streets, work_dir, **options):
    return load_config(STREETS, {**SMALL, 'data_root': str(streets), **options}, str(work_dir))


@pytest.fixture(scope='module')
def trained(streets, tmp_path_factory):
    """A two-iteration run of the small Mask R-CNN."""
    if compat.lacking_for_detection():
        pytest.skip('needs mmdet and the compiled ops: make setup-full')
    work = tmp_path_factory.mktemp('det')
    train(small(streets, work))
    return work


@pytest.mark.parametrize('missing', [['mmdet'], ["mmcv's compiled ops"]])
def test_what_is_missing_is_told_in_one_line(monkeypatch, streets, missing):
    monkeypatch.setattr(compat, 'lacking_for_detection', lambda: missing)
    for path in (STREETS, str(ROOT / 'configs/seg/cityscapes_1024_mask2former.py')):
        with pytest.raises(ConfigError, match=r'py needs mmdet .*missing: run `make setup-full`'):
            preflight(load_config(path, {'data_root': str(streets)}))


def test_one_option_moves_the_evaluator_too():
    cfg = load_config(STREETS, {'data_root': 'elsewhere/streets/'})
    assert cfg.val_dataloader.dataset.data_root == 'elsewhere/streets/'
    assert cfg.val_evaluator.ann_file == \
        'elsewhere/streets/annotations/instancesonly_filtered_gtFine_val.json'
    assert cfg.test_evaluator.ann_file == cfg.val_evaluator.ann_file
    panoptic = load_config(str(ROOT / 'configs/det/coco_1024_mask2former-panoptic.py'),
                           {'data_root': 'x'})
    assert panoptic.val_evaluator[1].ann_file == 'x/annotations/instances_val2017.json'


@pytest.mark.slow
def test_a_run_leaves_what_every_run_leaves(trained):
    result = json.loads((trained / 'result.json').read_text())
    assert result['iterations'] == 2
    assert {'coco/bbox_mAP', 'coco/segm_mAP'} <= set(result['metrics'])
    assert {'loss_rpn_cls', 'loss_cls', 'loss_mask'} <= set(result['train'])


@needs_mmdet
@pytest.mark.slow
def test_mixed_precision(streets, tmp_path):
    # one step: a processor without bfloat16 imitates it slowly, and --amp would leave it out
    runner = train(small(streets, tmp_path, **{
        'optim_wrapper.type': 'mmvitlin.CPUAmpOptimWrapper', 'train_dataloader.batch_size': 1,
        'model.train_cfg.rcnn.sampler.num': 16, 'model.train_cfg.rpn_proposal.max_per_img': 20,
        'train_cfg.max_iters': 1, 'train_cfg.val_interval': 5}))
    assert type(runner.optim_wrapper).__name__ == 'CPUAmpOptimWrapper'
    assert all(torch.isfinite(p).all() for p in runner.model.parameters())


def crowded_corner() -> tuple[torch.Tensor, torch.Tensor]:
    """(100, 4) boxes: 20 objects far from the corner, five times each; (100, ) scores."""
    generator = torch.Generator().manual_seed(1)
    corner = torch.cartesian_prod(torch.arange(5) * 200., torch.arange(4) * 220.)
    side = 50 + 40 * torch.rand(20, 2, generator=generator)
    boxes = torch.cat([corner, corner + side], dim=1).repeat_interleave(5, 0)
    shake = (2 * torch.randn(100, 4, generator=generator)).clamp(-4, 4)
    return (boxes + shake).clamp(0, 1023), torch.rand(100, generator=generator)


@needs_mmdet
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_keeps_the_boxes_of_the_last_class(dtype):
    """NMS moves class 79 by 79 images, where bfloat16 has one number for 512 pixels."""
    compat.prepare_detection('this test')
    from mmcv.ops import batched_nms as by_package
    from mmdet.models.layers.bbox_nms import batched_nms as by_name
    boxes, scores = crowded_corner()
    labels, how = torch.full((100, ), 79), dict(type='nms', iou_threshold=0.5)
    want = by_name(boxes.to(dtype).float(), scores, labels, how)
    assert len(want[1]) == 20
    for suppress in (by_name, by_package):
        for given in (scores, scores.to(dtype)):
            found, kept = suppress(boxes.to(dtype), given, labels, how)
            assert found.dtype == torch.float32
            if given is scores:
                assert kept.tolist() == want[1].tolist()
            assert len(kept) == 20


@needs_mmdet
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_moves_no_box(dtype):
    """Priors, decoded proposals and the regions that features are cut from stay in float32."""
    compat.prepare_detection('this test')
    init_default_scope('mmdet')
    model = tiny('configs/det/coco_1024.py')
    every = model.test_cfg.rpn
    every.update(nms_pre=-1, max_per_img=100_000, nms=dict(type='nms', iou_threshold=1.))
    rpn = MODELS.build(dict(model.rpn_head, train_cfg=None, test_cfg=every)).eval()
    generator = torch.Generator().manual_seed(0)
    scores, deltas = ([torch.randn(1, 3 * n, 1024 // s, 1024 // s, generator=generator).to(dtype)
                       / 4 for s in (32, 64)] for n in (1, 4))
    rpn.prior_generator = type(rpn.prior_generator)(strides=[32, 64], ratios=[0.5, 1., 2.],
                                                    scales=[8])
    meta = dict(img_shape=(1024, 1024), scale_factor=(1., 1.))
    half, full = (rpn.predict_by_feat([x.to(t) for x in scores], [x.to(t) for x in deltas],
                                      batch_img_metas=[meta])[0]
                  for t in (dtype, torch.float32))
    assert half.bboxes.dtype == torch.float32
    assert len(full) == len(half) > 3000  # in another order, as scores become equal
    apart = torch.cdist(half.bboxes, full.bboxes, compute_mode='donot_use_mm_for_euclid_dist')
    assert apart.min(dim=1).values.max() < 1e-3

    extractor = MODELS.build(model.roi_head.bbox_roi_extractor)
    maps = [torch.randn(1, 256, 1024 // s, 1024 // s, generator=generator).to(dtype)
            for s in (4, 8, 16, 32)]
    rois = torch.tensor([[0., 901.3, 843.7, 938.9, 880.1]])
    torch.testing.assert_close(extractor(maps, rois).float(),
                               extractor([m.float() for m in maps], rois), atol=0.02, rtol=0.02)

    points = MODELS.build(dict(tiny('configs/det/coco_1024_fcos.py').bbox_head, strides=[8, ],
                               regress_ranges=((-1, 1e8), ))).prior_generator
    for made in (points, rpn.prior_generator):
        sizes = [(128, 128), (64, 64)][:made.num_levels]
        for level in made.grid_priors(sizes, dtype=dtype, device='cpu'):
            assert level.dtype == torch.float32
        assert made.sparse_priors(torch.arange(3), sizes[0], 0, dtype, 'cpu').dtype == torch.float32


@needs_mmdet
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_layout_and_type_do_not_change_what_roi_align_reads(dtype):
    compat.prepare_detection('this test')
    from mmcv.ops import RoIAlign
    maps = torch.randn(2, 8, 16, 16)
    rois = torch.tensor([[0, 4., 4, 40, 40], [1, 0, 10, 30, 60]])
    align, weight = RoIAlign(7, 0.25, 0), torch.randn(2, 8, 7, 7)
    found = []
    for x in (maps, maps.to(dtype).to(memory_format=torch.channels_last)):
        x = x.clone(memory_format=torch.preserve_format).requires_grad_()
        out = align(x, rois)
        (out.float() * weight).sum().backward()
        found.append((out.float(), x.grad.float()))
    tolerance = dict(rtol=1e-6, atol=1e-6) if dtype == torch.float32 else dict(rtol=0.02, atol=0.05)
    torch.testing.assert_close(found[1], found[0], **tolerance)


@needs_mmdet
@pytest.mark.slow
def test_two_scenes_are_learnt_by_heart(streets, tmp_path):
    """What boxes and masks are cut from must be the features of their place."""
    cfg = small(streets, tmp_path, **{'model.backbone.drop_path_rate': 0.,
                                      'model.backbone.arch': dict(embed_dims=64, num_layers=2),
                                      'model.neck.in_channels': 64})
    check_libraries(cfg)
    init_default_scope('mmdet')
    steps = cfg.train_dataloader.dataset.pipeline
    dataset = DATASETS.build({**cfg.train_dataloader.dataset,
                              'pipeline': [*steps[:2], steps[-1]]})
    torch.manual_seed(0)
    net = MODELS.build(cfg.model).train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3)
    batch = pseudo_collate([dataset[0], dataset[1]])
    history = []
    for _ in range(60):
        losses = net(**net.data_preprocessor(copy.deepcopy(batch), True), mode='loss')
        total, log = net.parse_losses(losses)
        history.append(log['loss_mask'].item())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    assert np.mean(history[-5:]) < 0.33 < 0.6 < history[0]  # noise in their place: 0.4


def tiny(path: str) -> dict:
    """The model of a config with small backbone and neck, and all its heads as they are."""
    cfg = load_config(str(ROOT / path))
    model = cfg.model
    pyramid = model.neck.get('out_channels', 256)
    model.backbone = dict(type='mmvitlin.Adventurer', arch=dict(embed_dims=32, num_layers=2),
                          img_size=(64, 128), patch_size=16,
                          out_indices=(0, 0, 1, 1) if pyramid is None else -1)
    model.neck.in_channels = 32
    model.data_preprocessor.batch_augments = None
    if 'panoptic_head' in model:
        model.panoptic_head.in_channels = [32] * 4
        model.panoptic_head.num_queries = 10
        model.train_cfg.num_points = 64
    return model


@needs_mmdet
@pytest.mark.slow
@pytest.mark.parametrize('name', ['coco_1024', 'coco_1024_cascade', 'coco_1024_fcos',
                                  'coco_1024_mask2former', 'coco_1024_mask2former-panoptic'])
def test_each_head_trains_and_predicts(name):
    compat.prepare_detection('this test')
    init_default_scope('mmdet')
    model = tiny(f'configs/det/{name}.py')
    if 'rcnn' in (model.get('test_cfg') or {}):  # nobody has trained it: no score is high
        model.test_cfg.rcnn.update(score_thr=0., max_per_img=5)
        model.test_cfg.rpn.max_per_img = model.train_cfg.rpn_proposal.max_per_img = 20
        stages = model.train_cfg.rcnn
        for stage in stages if isinstance(stages, list) else [stages]:
            stage.sampler.num = 32
    net = MODELS.build(model)
    from mmvitlin.analysis.subjects import _detected
    images = torch.randn(2, 3, 64, 128)
    samples = [_detected(image) for image in images]
    for sample in samples:
        from mmengine.structures import PixelData
        sample.gt_sem_seg = PixelData(sem_seg=torch.full((1, 64, 128), 81))
    losses = net(images, samples, mode='loss')
    total = sum(v if isinstance(v, torch.Tensor) else sum(v) for v in losses.values())
    assert torch.isfinite(total)
    total.backward()
    assert net.backbone.patch_embed.proj.weight.grad.abs().sum() > 0
    net.eval()
    with torch.inference_mode():
        found = net(torch.randn(1, 3, 70, 100), [_detected(torch.zeros(3, 70, 100))],
                    mode='predict')[0]
    assert 'pred_instances' in found
    if 'fcos' not in name:
        assert len(found.pred_instances) > 0
    if 'panoptic' in name:
        assert found.pred_panoptic_seg.sem_seg.shape == (1, 70, 100)
    elif 'fcos' not in name:
        assert found.pred_instances.masks.shape[1:] == (70, 100)


COCO = sorted(p.name for p in (ROOT / 'configs/det').glob('coco_*.py'))


@pytest.mark.parametrize('name', COCO)
def test_images_of_coco_are_padded_to_one_square_in_training_and_test(name):
    cfg = load_config(str(ROOT / 'configs/det' / name))
    side, = {tuple(a.size) for a in cfg.model.data_preprocessor.batch_augments}
    resize, pad = cfg.test_dataloader.dataset.pipeline[1:3]
    assert (resize.type, pad.type) == ('Resize', 'mmvitlin.PadCanvas')
    assert side == tuple(pad.size) == tuple(resize.scale) == tuple(cfg.model.backbone.img_size)
    mean = cfg.model.data_preprocessor.mean
    assert np.abs(np.array(pad.value[::-1]) - mean).max() < 1.5  # of 255: what training calls 0
    assert cfg.val_dataloader.dataset.pipeline == cfg.test_dataloader.dataset.pipeline


@needs_mmdet
def test_one_grid_in_training_and_test():
    from mmdet.structures.mask import BitmapMasks
    from mmengine.dataset import Compose
    from mmengine.structures import InstanceData
    cfg = load_config(str(ROOT / 'configs/det/coco_1024.py'))
    check_libraries(cfg)
    init_default_scope('mmdet')
    prepare = Compose([s for s in cfg.test_dataloader.dataset.pipeline
                       if s.type.startswith(('Resize', 'mmvitlin.Pad', 'Pack'))])
    image = np.full((40, 64, 3), 200, np.uint8)
    data = prepare(dict(img=image, img_path='a', img_id=1, img_shape=(40, 64), ori_shape=(40, 64)))
    assert data['data_samples'].img_shape == (640, 1024)
    preprocess = MODELS.build(cfg.model.data_preprocessor)
    tested = preprocess(pseudo_collate([copy.deepcopy(data)]), False)
    data['inputs'] = data['inputs'][:, :640]  # as it comes out of the crop in training
    data['data_samples'].gt_instances = InstanceData(
        masks=BitmapMasks(np.zeros((0, 640, 1024), np.uint8), 640, 1024))
    trained = preprocess(pseudo_collate([data]), True)
    assert tested['inputs'].shape == trained['inputs'].shape == (1, 3, 1024, 1024)
    torch.testing.assert_close(tested['inputs'], trained['inputs'], atol=0.02, rtol=0)
    for key in ('img_shape', 'pad_shape', 'batch_input_shape', 'scale_factor'):
        assert tested['data_samples'][0].get(key) == trained['data_samples'][0].get(key), key


@needs_mmdet
@pytest.mark.slow
@pytest.mark.parametrize('name', ['coco_1024', 'coco_1024_fcos', 'coco_1024_mask2former-panoptic'])
def test_nothing_is_found_in_the_padding(name):
    from mmengine.dataset import Compose
    compat.prepare_detection('this test')
    init_default_scope('mmdet')
    model = tiny(f'configs/det/{name}.py')
    model.data_preprocessor.pad_size_divisor = 1
    if 'panoptic' not in name:
        rules = model.test_cfg.get('rcnn', model.test_cfg)
        rules.update(score_thr=0., max_per_img=20)
    if 'rpn' in model.test_cfg:
        model.test_cfg.rpn.max_per_img = 20
    net = MODELS.build(model).eval()
    keys = ('img_id', 'ori_shape', 'img_shape', 'scale_factor')
    prepare = Compose([dict(type='Resize', scale=(128, 128), keep_ratio=True),
                       dict(type='mmvitlin.PadCanvas', size=(128, 128), value=(104, 116, 124)),
                       dict(type='PackDetInputs', meta_keys=keys)])
    image = np.random.default_rng(0).integers(0, 255, (20, 64, 3), np.uint8)
    data = prepare(dict(img=image, img_id=1, img_shape=(20, 64), ori_shape=(20, 64)))
    assert data['inputs'].shape == (3, 128, 128)
    with torch.inference_mode():
        found, = net.test_step(pseudo_collate([data]))
    boxes = found.pred_instances.bboxes
    assert len(boxes) > 0
    assert (boxes >= 0).all()
    assert boxes[:, 2].max() <= 64
    assert boxes[:, 3].max() <= 20
    if 'fcos' not in name:
        assert found.pred_instances.masks.shape[1:] == (20, 64)
    if 'panoptic' in name:
        assert found.pred_panoptic_seg.sem_seg.shape == (1, 20, 64)


@pytest.fixture
def annotations(streets, tmp_path):
    """A function that writes a changed annotation file and builds its data set."""
    if compat.lacking_for_detection():
        pytest.skip('needs mmdet and the compiled ops: make setup-full')
    content = json.loads((streets / ANNOTATIONS).read_text())
    init_default_scope('mmdet')

    def build(change, **kwargs):
        path = tmp_path / 'changed.json'
        path.write_text(change if isinstance(change, str) else json.dumps(change(content)
                                                                          or content))
        cfg = load_config(STREETS, {'data_root': str(streets)}).train_dataloader.dataset
        return DATASETS.build({**cfg, 'ann_file': str(path), 'filter_cfg': None, **kwargs})

    return build


def _lose_an_image(content):
    content['images'][1]['file_name'] = 'streets/gone.png'


def _unknown_category(content):
    content['annotations'][2]['category_id'] = 99


def _unknown_image(content):
    content['annotations'][2]['image_id'] = 99


def _not_a_number(content):
    content['annotations'][2]['bbox'] = [0, 0, float('nan'), 4]


def _no_mask(content):
    content['annotations'][2]['segmentation'] = []


def _mask_of_another_size(content):
    content['annotations'][2]['segmentation']['size'] = [10, 10]


def _no_area(content):
    del content['annotations'][2]['area']


def _image_twice(content):
    content['images'][2]['id'] = 1


def _annotation_twice(content):
    content['annotations'][2]['id'] = content['annotations'][3]['id']


def _id_of_letters(content):
    content['annotations'][2]['id'] = 'a3'


def _area_of_letters(content):
    content['annotations'][2]['area'] = '12'
    content['annotations'][3]['area'] = None


def _image_of_letters(content):
    content['images'][1] = 'streets/0.png'


def _no_file_name(content):
    content['images'][1]['file_name'] = None


def _no_height(content):
    content['images'][1]['height'] = 0


def _list_of_categories(content):
    content['annotations'][2]['category_id'] = [1]


def _mask_of_letters(content):
    content['annotations'][2]['segmentation'] = 'a mask'


def _one_flat_polygon(content):
    content['annotations'][2]['segmentation'] = [1, 1, 9, 1, 9, 9]


def _polygon_of_nothing(content):
    content['annotations'][2]['segmentation'] = [[1, 1, 9, None, 9, 9]]


def _endless_polygon(content):
    content['annotations'][2]['segmentation'] = [[1, 1, 1e9, 1, 9, 9]]


def _broken_mask(content):
    content['annotations'][2]['segmentation']['counts'] = '!!zz'


def _mask_of_half_the_image(content):
    mask = content['annotations'][2]['segmentation']
    mask['counts'] = [mask['size'][0] * mask['size'][1] // 2]


def _fewer_categories(content):
    content['categories'] = content['categories'][:3]


def _another_order(content):
    content['categories'] = content['categories'][::-1]


@pytest.mark.parametrize(('change', 'words'), [
    (_lose_an_image, r'lists 6 images, 1 of which are not in .*: streets/gone.png \(id 1\)'),
    (_unknown_category, r'1 annotations of categories that it does not list \(ids 3\)'),
    (_unknown_image, r'1 annotations of images that it does not list \(ids 3\)'),
    (_not_a_number, r'bbox is not four finite numbers .* \(ids 3\)'),
    (_no_mask, r'without a segmentation, and the pipeline loads masks \(ids 3\)'),
    (_mask_of_another_size, r'run-length mask has another size than its image \(ids 3\)'),
    (_no_area, r"annotations number 2 \(id 3\) has no \['area'\]"),
    (_image_twice, r'1 images whose id others have too \(ids 1\)'),
    (_annotation_twice, r'1 annotations whose id others have too \(ids 4\)'),
    (_id_of_letters, r'1 annotations whose id is no whole number \(ids a3\)'),
    (_area_of_letters, r'2 annotations whose area is no finite number \(ids 3, 4\)'),
    (_image_of_letters, r"images number 1 is no object but 'streets/0.png'"),
    (_no_file_name, r'1 images whose file_name is no name \(ids 1\)'),
    (_no_height, r'1 images whose height and width are no positive .* \(ids 1\)'),
    (_list_of_categories, r'1 annotations of categories that it does not list \(ids 3\)'),
    (_mask_of_letters, r'neither a list of polygons nor a run-length mask \(ids 3\)'),
    (_one_flat_polygon, r'neither a list of polygons nor a run-length mask \(ids 3\)'),
    (_polygon_of_nothing, r'neither a list of polygons nor a run-length mask \(ids 3\)'),
    (_endless_polygon, r'with polygons far outside of their image \(ids 3\)'),
    (_broken_mask, r'cannot be decoded, or does not fill its image \(ids 3\)'),
    (_mask_of_half_the_image, r'cannot be decoded, or does not fill its image \(ids 3\)'),
    (_fewer_categories, "has no category truck, bus.* it has .*'person', 'rider', 'car'"),
    (_another_order, r"in the order \['bicycle'.*metainfo=dict\(classes"),
])
def test_a_bad_annotation_file_is_refused_by_name_and_id(annotations, change, words):
    with pytest.raises(ConfigError, match=f'(?s)changed.json.*{words}'):
        annotations(change)


def test_what_is_left_out_is_counted(annotations, monkeypatch):
    from mmvitlin.datasets import coco_instances
    told = []
    monkeypatch.setattr(coco_instances, 'print_log', lambda text, **_: told.append(text))

    def change(content):
        first, second, third = content['annotations'][:3]
        first['bbox'] = [5000, 5000, 20, 20]
        second['segmentation'] = [[1, 1, 5, 5]]
        third['segmentation'] = [[1, 1, 5, 5], [1, 1, 9, 1, 9, 9]]

    whole, data = annotations(lambda _: None), annotations(change)
    log = ' '.join(told)
    for words in (r'1 annotations have boxes outside of their image and are left out \(ids 1\)',
                  r'1 annotations have no polygon of three points or more .* \(ids 2\)',
                  r'1 annotations have polygons of fewer than three points beside .* \(ids 3\)'):
        assert re.search(words, log), words
    counts = [sum(len(d.get_data_info(n)['instances']) for n in range(6)) for d in (whole, data)]
    assert counts[0] - counts[1] == 1
    with pytest.raises(ConfigError, match=r'2 annotations with polygons of fewer .*\(ids 2, 3\)'):
        annotations(change, test_mode=True)


def test_an_image_of_another_size_than_its_annotations(annotations):
    def change(content):
        content['images'][1]['height'] *= 2
        for one in content['annotations']:
            if one['image_id'] == content['images'][1]['id']:
                one['segmentation'] = [[1, 1, 9, 1, 9, 9]]

    data = annotations(change)
    number = next(n for n in range(6) if data.get_data_info(n)['img_id'] == 1)
    with pytest.raises(UnreadableFileError, match=r'\(id 1\) is 64x128 pixels, and its annotations '
                                                  'are for 128x128'):
        data[number]


def test_what_only_evaluation_asks_for(annotations):
    def without(content):
        for a in content['annotations']:
            a.pop('iscrowd', None)

    def unlabelled(content):
        content.pop('annotations', None)

    assert len(annotations(without)) == 6
    with pytest.raises(ConfigError, match="has no .'iscrowd'."):
        annotations(without, test_mode=True)
    assert len(annotations(unlabelled, test_mode=True)) == 6  # images that nobody may see


def test_annotations_numbered_from_zero_are_read(annotations):
    """As mmdet's converter of Cityscapes writes them; the evaluator is tested with the metrics."""
    def from_zero(content):
        for n, annotation in enumerate(content['annotations']):
            annotation['id'] = n

    for test_mode in (False, True):
        data = annotations(from_zero, test_mode=test_mode)
        assert sum(len(data.get_data_info(n)['instances']) for n in range(6)) == sum(
            len(again.get_data_info(n)['instances']) for again in [annotations(lambda _: None)]
            for n in range(6))


@pytest.mark.parametrize('text', ['{"images": [', '[]', '{"images": [], "annotations": []}'])
def test_a_file_that_is_no_coco_file(annotations, text):
    with pytest.raises(UnreadableFileError, match='changed.json is no'):
        annotations(text)


def test_a_head_of_other_classes(streets):
    if compat.lacking_for_detection():
        pytest.skip('needs mmdet and the compiled ops: make setup-full')
    cfg = load_config(STREETS, {'data_root': str(streets),
                                'model.roi_head.bbox_head.num_classes': 7,
                                'model.roi_head.mask_head.num_classes': 7})
    with pytest.raises(ConfigError, match='roi_head.bbox_head.num_classes is 7, but train.* has 8'):
        preflight(cfg)
    cfg.model.roi_head.mask_head.num_classes = 8
    with pytest.raises(ConfigError, match='the heads count different classes'):
        preflight(cfg)


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['empty', 'flat', 'crowd'])
def test_awkward_images_are_trained_through(streets, tmp_path, annotations, kind, caplog):
    """An image without annotations, boxes without area, nothing but crowds."""
    def change(content):
        if kind == 'empty':
            content['annotations'] = [a for a in content['annotations'] if a['image_id'] > 2]
        for a in content['annotations']:
            if kind == 'flat':
                a['bbox'][2] = 0
            elif kind == 'crowd':
                a['iscrowd'] = 1

    data = annotations(change)
    assert len(data) == 6
    if kind != 'crowd':
        assert data.get_data_info(0)['instances'] == []
    cfg = small(streets, tmp_path / 'run', **{
        'train_dataloader.dataset.ann_file': str(tmp_path / 'changed.json'),
        'train_dataloader.dataset.filter_cfg': None, 'train_dataloader.batch_size': 6,
        'train_cfg.max_iters': 1, 'train_cfg.val_interval': 5})
    runner = train(cfg)
    assert runner.iter == 1
    assert all(torch.isfinite(p).all() for p in runner.model.parameters())


@pytest.mark.slow
def test_the_inferencer_goes_on_and_writes(trained, streets, tmp_path):
    from PIL import Image

    from mmvitlin.apis import DetInferencer, inferencer_for
    config = str(next(trained.glob('*.py')))
    assert inferencer_for(config) is DetInferencer
    infer = DetInferencer(config, str(trained / 'iter_2.pth'), score=0.)
    folder = tmp_path / 'in'
    folder.mkdir()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (50, 90, 3), np.uint8)).save(folder / 'a.png')
    (folder / 'b.png').write_bytes(b'no image')
    Image.fromarray(rng.integers(0, 255, (80, 40), np.uint8)).save(folder / 'c.png')
    a, b, c = infer(folder)
    assert isinstance(b.error, UserError)
    for found, shape in ((a, (50, 90)), (c, (80, 40))):
        assert found.error is None
        assert len(found.boxes) == len(found.scores) == len(found.labels) > 0
        assert found.masks.shape == (len(found.boxes), *shape)
        assert (np.diff(found.scores) <= 0).all()
        assert found.overlay().shape == (*shape, 3)
        overlay, listed = found.save(tmp_path / 'out')
        entries = json.loads(listed.read_text())
        assert len(entries) == len(found.boxes)
        assert entries[0]['category'] in infer.classes
        assert entries[0]['segmentation']['size'] == list(shape)
    with pytest.raises(ConfigError, match="cannot save 'labels' of a detections; choose from"):
        a.save(tmp_path, ['labels'])
    with pytest.raises(ConfigError, match='no panoptic segments'):
        a.save(tmp_path, ['segments'])
    # the same network in bfloat16
    half, = DetInferencer(config, str(trained / 'iter_2.pth'), score=0., precision='bf16')(
        folder / 'a.png')
    assert half.error is None
    assert half.boxes.dtype == half.scores.dtype == np.float32
    assert half.masks.shape == (len(half.boxes), 50, 90)
    assert len(half.boxes) > 0
    # nothing above the score, and another size of the network's image
    strict = DetInferencer(config, str(trained / 'iter_2.pth'), score=1.1, scale='original')
    nothing, = strict(np.zeros((64, 64, 3), np.uint8))
    assert nothing.error is None
    assert nothing.boxes.shape == (0, 4)
    assert nothing.as_list() == []
    assert nothing.overlay().shape == (64, 64, 3)


@needs_mmdet
def test_instances_are_browsed(streets):
    from mmvitlin.analysis.browsing import browse
    cfg = load_config(STREETS, {**SMALL, 'data_root': str(streets)})
    rows = list(browse(cfg, 'train', original=True))
    assert len(rows) > 3
    content = json.loads((streets / ANNOTATIONS).read_text())
    for name, caption, picture in rows:
        image = next(i for i in content['images'] if i['file_name'].endswith(name))
        kept = [a for a in content['annotations'] if a['image_id'] == image['id']
                and min(a['bbox'][2:]) >= 1]
        assert sum(int(word.split()[0]) for word in caption.split(', ')) == len(kept)
        assert picture.shape == (64, 256, 3)
        assert (picture[:, :128] != picture[:, 128:]).any()


@needs_mmdet
@pytest.mark.slow
def test_parts_that_are_timed_apart(streets):
    from mmvitlin.analysis.subjects import Built, parse_subject
    subject = parse_subject(STREETS, {k: v for k, v in SMALL.items() if k.startswith('model.')})
    built = Built(subject, (64, 128))
    assert built.parts() == ('backbone', 'features', 'whole')
    images = torch.randn(1, 3, 64, 128)
    for part, mode in (('features', 'inference'), ('whole', 'inference'), ('whole', 'train')):
        built.call(part, images, mode, 'fp32')()
