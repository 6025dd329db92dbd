"""Every detector of the configs, made small, on drawn streets: a step, a prediction."""
import copy
import json

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS, init_default_scope

from mmvitlin.compat import detection
from mmvitlin.engine.rules import check
from mmvitlin.engine.runner.config import load_config
from mmvitlin.engine.runner.launch import train
from mmvitlin.utils.errors import ConfigError, UserError
from tests.conftest import ROOT
from tests.detecting import ANNOTATIONS, SMALL, STREETS, needs_mmdet, small, tiny


@pytest.fixture(scope='module')
def trained(streets, tmp_path_factory):
    """A two-iteration run of the small Mask R-CNN."""
    if detection.lacking():
        pytest.skip('needs mmdet and the compiled ops: make setup-full')
    work = tmp_path_factory.mktemp('det')
    train(small(streets, work))
    return work


def test_one_option_moves_the_evaluator_too():
    cfg = load_config(STREETS, {'data_root': 'elsewhere/streets/'})
    assert cfg.val_dataloader.dataset.data_root == 'elsewhere/streets/'
    assert cfg.val_evaluator.ann_file == \
        'elsewhere/streets/annotations/instancesonly_filtered_gtFine_val.json'
    assert cfg.test_evaluator.ann_file == cfg.val_evaluator.ann_file
    path = ROOT / 'configs/det/mask2former-panoptic_adventurer-base_coco-1024.py'
    panoptic = load_config(str(path),
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


@needs_mmdet
@pytest.mark.slow
def test_two_scenes_are_learnt_by_heart(streets, tmp_path):
    """What boxes and masks are cut from must be the features of their place."""
    cfg = small(streets, tmp_path, **{'model.backbone.drop_path_rate': 0.,
                                      'model.backbone.arch': dict(embed_dims=64, num_layers=2),
                                      'model.neck.in_channels': 64})
    check(cfg, 'build')
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


@needs_mmdet
@pytest.mark.slow
@pytest.mark.parametrize('name', ['mask-rcnn', 'cascade', 'fcos', 'mask2former-instance',
                                  'mask2former-panoptic'])
def test_each_head_trains_and_predicts(name):
    detection.prepare('this test')
    init_default_scope('mmdet')
    cascade = {'switches': 'cascade'} if name == 'cascade' else {}
    model = tiny(f"configs/det/{'mask-rcnn' if cascade else name}_adventurer-base_coco-1024.py",
                 cascade)
    if 'rcnn' in (model.get('test_cfg') or {}):  # nobody has trained it: no score is high
        model.test_cfg.rcnn.update(score_thr=0., max_per_img=5)
        model.test_cfg.rpn.max_per_img = model.train_cfg.rpn_proposal.max_per_img = 20
        stages = model.train_cfg.rcnn
        for stage in stages if isinstance(stages, list) else [stages]:
            stage.sampler.num = 32
    net = MODELS.build(model)
    from mmvitlin.benchmark.samples import detection_sample
    images = torch.randn(2, 3, 64, 128)
    samples = [detection_sample(image) for image in images]
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
        result = net(torch.randn(1, 3, 70, 100), [detection_sample(torch.zeros(3, 70, 100))],
                     mode='predict')[0]
    assert 'pred_instances' in result
    if 'fcos' not in name:
        assert len(result.pred_instances) > 0
    if 'panoptic' in name:
        assert result.pred_panoptic_seg.sem_seg.shape == (1, 70, 100)
    elif 'fcos' not in name:
        assert result.pred_instances.masks.shape[1:] == (70, 100)


COCO = sorted(p.name for p in (ROOT / 'configs/det').glob('*_coco-1024.py'))


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
    cfg = load_config(str(ROOT / 'configs/det/mask-rcnn_adventurer-base_coco-1024.py'))
    check(cfg, 'build')
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
@pytest.mark.parametrize('name', ['mask-rcnn', 'fcos', 'mask2former-panoptic'])
def test_nothing_is_found_in_the_padding(name):
    from mmengine.dataset import Compose
    detection.prepare('this test')
    init_default_scope('mmdet')
    model = tiny(f'configs/det/{name}_adventurer-base_coco-1024.py')
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
        detected, = net.test_step(pseudo_collate([data]))
    boxes = detected.pred_instances.bboxes
    assert len(boxes) > 0
    assert (boxes >= 0).all()
    assert boxes[:, 2].max() <= 64
    assert boxes[:, 3].max() <= 20
    if 'fcos' not in name:
        assert detected.pred_instances.masks.shape[1:] == (20, 64)
    if 'panoptic' in name:
        assert detected.pred_panoptic_seg.sem_seg.shape == (1, 20, 64)
        assert detected.pred_panoptic_seg.sem_seg.dtype == torch.int32  # mmdet's


@pytest.mark.slow
def test_the_inferencer_continues_after_an_error_and_writes(trained, streets, tmp_path):
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
    for result, shape in ((a, (50, 90)), (c, (80, 40))):
        assert result.error is None
        assert len(result.boxes) == len(result.scores) == len(result.labels) > 0
        assert result.masks.shape == (len(result.boxes), *shape)
        assert (np.diff(result.scores) <= 0).all()
        assert result.overlay().shape == (*shape, 3)
        overlay, listed = result.save(tmp_path / 'out')
        entries = json.loads(listed.read_text())
        assert len(entries) == len(result.boxes)
        assert entries[0]['category'] in infer.classes
        assert entries[0]['segmentation']['size'] == list(shape)
    with pytest.raises(ConfigError, match="cannot save 'labels'; choose from"):
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
    strict = DetInferencer(config, str(trained / 'iter_2.pth'), score=1., scale='original')
    nothing, = strict(np.zeros((64, 64, 3), np.uint8))
    assert nothing.error is None
    assert nothing.boxes.shape == (0, 4)
    assert nothing.as_list() == []
    assert nothing.overlay().shape == (64, 64, 3)


@needs_mmdet
def test_instances_are_browsed(streets):
    from mmvitlin.visualization.browsing import browse
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
    from mmvitlin.benchmark.subjects import Built, parse_subject
    subject = parse_subject(STREETS, {k: v for k, v in SMALL.items() if k.startswith('model.')})
    built = Built(subject, (64, 128))
    assert built.parts() == ('backbone', 'features', 'whole')
    images = torch.randn(1, 3, 64, 128)
    for part, mode in (('features', 'inference'), ('whole', 'inference'), ('whole', 'train')):
        built.call(part, images, mode, 'fp32')()
