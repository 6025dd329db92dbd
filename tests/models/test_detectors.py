"""Every detector of the configs, made small, on drawn streets: a step, a prediction, bad files."""
import copy
import json

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
    runner = train(small(streets, tmp_path), amp=True)
    assert all(torch.isfinite(p).all() for p in runner.model.parameters())


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
    init_default_scope('mmdet')
    net = MODELS.build(tiny(f'configs/det/{name}.py'))
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
    if 'panoptic' in name:
        assert found.pred_panoptic_seg.sem_seg.shape == (1, 70, 100)
    elif 'fcos' not in name:
        assert found.pred_instances.masks.shape[1:] == (70, 100)


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
    (_fewer_categories, "has no category truck, bus.* it has .*'person', 'rider', 'car'"),
    (_another_order, r"in the order \['bicycle'.*metainfo=dict\(classes"),
])
def test_a_bad_annotation_file_is_refused_by_name_and_id(annotations, change, words):
    with pytest.raises(ConfigError, match=f'(?s)changed.json.*{words}'):
        annotations(change)


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


def test_an_annotation_that_evaluation_takes_for_none(annotations):
    def from_zero(content):
        content['annotations'][0]['id'] = 0

    assert len(annotations(from_zero)) == 6
    with pytest.raises(ConfigError, match='an annotation with the id 0'):
        annotations(from_zero, test_mode=True)


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
