"""What would fail late, never end, or train nothing, is refused at the start."""
import copy

import pytest
import torch
from mmengine.config import Config
from PIL import Image

from mmvitlin.apis import SegInferencer
from mmvitlin.apis.export import load_trained
from mmvitlin.engine.rules import Context, check, check_start, files, loops, metrics, weights
from mmvitlin.engine.runner.config import load_config
from mmvitlin.engine.runner.launch import evaluate, train
from mmvitlin.utils.errors import CheckpointError, ConfigError
from tests.conftest import ROOT
from tests.engine.nano import nano

ITERATIONS = dict(type='IterBasedTrainLoop', max_iters=10)
EPOCHS = dict(type='EpochBasedTrainLoop', max_epochs=2)


def config(**more) -> Config:
    """A segmentor and its loaders, in parts."""
    return Config(dict(dict(
        default_scope='mmseg', model=dict(type='EncoderDecoder', decode_head=dict(num_classes=3)),
        train_dataloader=dict(batch_size=2, sampler=dict(type='InfiniteSampler'), dataset={}),
        train_cfg=ITERATIONS), **more))


def apply(rule, cfg, purpose='train'):
    rule(Context(cfg, purpose, ('train_dataloader', 'val_dataloader')))


@pytest.mark.parametrize(('loader', 'words'), [
    (dict(persistent_workers=True), 'val_dataloader.num_workers is 0, and val_dataloader.persist'),
    (dict(num_workers=0, prefetch_factor=4), 'prefetch_factor=4 is of worker processes'),
])
def test_options_of_worker_processes_where_there_are_none(loader, words):
    with pytest.raises(ConfigError, match=words):
        apply(loops.workers, config(val_dataloader=loader))
    apply(loops.workers, config(val_dataloader=dict(loader, num_workers=1)))


@pytest.mark.parametrize(('more', 'words'), [
    (dict(train_cfg=EPOCHS), 'train_dataloader.sampler is InfiniteSampler, with which an epoch'),
    (dict(train_cfg=dict(by_epoch=True, max_epochs=2), train_dataloader=dict(sampler=dict(
        type='mmvitlin.SeededInfiniteSampler'))), 'SeededInfiniteSampler.*never ends'),
    (dict(val_dataloader=dict(sampler=dict(type='InfiniteSampler'))), 'an evaluation never ends'),
])
def test_samplers_that_never_end(more, words):
    with pytest.raises(ConfigError, match=words):
        apply(loops.samplers, config(**more))


@pytest.mark.parametrize(('loop', 'sampler', 'message'), [
    (ITERATIONS, 'DefaultSampler', 1), (ITERATIONS, 'InfiniteSampler', 0),
    (EPOCHS, 'DefaultSampler', 0)])
def test_iterations_with_a_sampler_of_epochs_are_reported(loop, sampler, message, monkeypatch):
    messages = []
    monkeypatch.setattr(loops, 'warn', messages.append)
    apply(loops.samplers, config(train_cfg=loop, train_dataloader=dict(
        sampler=dict(type=sampler))))
    assert len(messages) == message
    assert not message or 'mmvitlin.SeededInfiniteSampler' in messages[0]


def test_an_evaluation_that_leaves_samples_out():
    with pytest.raises(ConfigError, match='val_dataloader.drop_last=True leaves samples out'):
        apply(loops.whole_evaluations, config(val_dataloader=dict(drop_last=True)))
    apply(loops.whole_evaluations, config(train_dataloader=dict(drop_last=True)))


@pytest.mark.parametrize('schedule', [
    [dict(type='LinearLR', by_epoch=False), dict(type='CosineAnnealingLR', T_max=100)],
    dict(type='MultiStepLR', milestones=[1, 2], by_epoch=True)])
def test_rates_by_epochs_in_a_run_by_iterations(schedule):
    with pytest.raises(ConfigError, match=r'param_scheduler.\d \(\w+LR\) counts epochs'):
        apply(loops.schedule, config(param_scheduler=schedule))
    apply(loops.schedule, config(param_scheduler=schedule, train_cfg=EPOCHS))


@pytest.mark.parametrize(('test_cfg', 'words'), [
    (dict(mode='slide', crop_size=(64, 64), stride=42), r'stride is 42.*\(42, 42\)'),
    (dict(mode='slide', crop_size=(64, ), stride=(42, 42)), r'crop_size is \(64,\)'),
    (dict(mode='slide', crop_size=(64, 64)), 'stride is None'),
    (dict(mode='slide', crop_size=(64, 64), stride=(64, 65)), 'larger than crop_size'),
    (dict(mode='slide', crop_size=(64, 64), stride=(0, 64)), r'stride is \(0, 64\)'),
    (dict(mode='sliding'), "mode is 'sliding'; take 'whole' or 'slide'"),
])
def test_windows_that_cannot_be(test_cfg, words):
    cfg = config()
    cfg.model.test_cfg = test_cfg
    for purpose in ('train', 'test', 'infer'):
        with pytest.raises(ConfigError, match=words):
            apply(loops.windows, cfg, purpose)
    cfg.model.test_cfg = dict(mode='slide', crop_size=(64, 64), stride=(64, 42))
    apply(loops.windows, cfg)
    cfg.model.type = 'mmvitlin.HighResSegmentor'
    apply(loops.windows, cfg, 'test')


@pytest.mark.parametrize(('model', 'words'), [
    (dict(decode_head=dict(type='PSPHead', norm_cfg=dict(type='BN'))), r'decode_head \(PSPHead\)'),
    (dict(auxiliary_head=[dict(type='FCNHead'), dict(type='mmseg.ASPPHead', norm_cfg=dict(
        type='SyncBN'))]), r'auxiliary_head.1 \(ASPPHead\).*SyncBN cannot'),
])
def test_one_image_a_batch_below_a_pooling_head(model, words, monkeypatch):
    cfg = config(model=model, train_dataloader=dict(batch_size=1))
    with pytest.raises(ConfigError, match=words):
        apply(loops.lone_samples, cfg)
    norm = next(loops._pooled(model))[2]
    cfg.launcher = 'pytorch'
    monkeypatch.setenv('WORLD_SIZE', '8')  # statistics of eight images, where they are shared
    if norm == 'SyncBN':
        apply(loops.lone_samples, cfg)
    else:
        with pytest.raises(ConfigError, match=words):
            apply(loops.lone_samples, cfg)


@pytest.mark.parametrize('head', [
    dict(type='PSPHead', pool_scales=(2, 3, 6), norm_cfg=dict(type='BN')),
    dict(type='UPerHead', norm_cfg=dict(type='GN', num_groups=32)),
    dict(type='UPerHead'), dict(type='FCNHead', norm_cfg=dict(type='BN'))])
def test_heads_that_take_one_image(head):
    apply(loops.lone_samples, config(model=dict(decode_head=head),
                                     train_dataloader=dict(batch_size=1)))


@pytest.mark.parametrize(('more', 'words'), [
    (dict(val_evaluator=dict(type='IoUMetric', iou_metrics=['mDice']), default_hooks=dict(
        checkpoint=dict(save_best='mIoU'))), "save_best is 'mIoU', but .*computes aAcc, .*mDice"),
    (dict(val_evaluator=dict(type='CocoMetric', metric='segm'), default_hooks=dict(
        checkpoint=dict(save_best=['coco/bbox_mAP']))), "do you mean 'coco/segm_mAP'"),
    (dict(val_evaluator=dict(type='Accuracy', topk=(1, 5)), custom_hooks=[dict(
        type='EarlyStoppingHook', monitor='top1')]), "monitor is 'top1'.*'accuracy/top1'"),
    (dict(val_evaluator=dict(type='IoUMetric', prefix='city'), param_scheduler=[dict(
        type='ReduceOnPlateauLR', monitor='mIoU')]), "param_scheduler.0.monitor.*'city/mIoU'"),
])
def test_a_followed_metric_that_is_not_computed(more, words):
    with pytest.raises(ConfigError, match=words):
        apply(metrics.awaited, config(val_dataloader=dict(dataset={}), **more))


@pytest.mark.parametrize(('metric', 'name'), [
    (dict(type='IoUMetric', iou_metrics='mIoU'), 'aAcc'), (dict(type='IoUMetric'), 'auto'),
    (dict(type='AMetricOfTheUser'), 'whatever'), (dict(type='Accuracy', topk=5), 'accuracy/top5'),
    (dict(type='CocoMetric', classwise=True), 'coco/car_precision'),
    ([dict(type='IoUMetric'), dict(type='CocoMetric')], 'coco/bbox_mAP_50')])
def test_metrics_that_are_computed(metric, name):
    hooks = dict(checkpoint=dict(save_best=name))
    cfg = config(val_dataloader=dict(dataset={}), val_evaluator=metric, default_hooks=hooks)
    apply(metrics.awaited, cfg)
    cfg.pop('val_dataloader')
    with pytest.raises(ConfigError, match=f"save_best is '{name}', and the config has no val"):
        apply(metrics.awaited, cfg)


VIT = dict(type='mmvitlin.TimmViT', model_name='vit_tiny_patch16_224')


@pytest.mark.parametrize('model', [
    dict(type='mmvitlin.ViTLinearizer', teacher=dict(backbone=VIT)),
    dict(type='mmvitlin.FeatureAlignment', teacher=dict(backbone=dict(
        VIT, pretrained=False, init_cfg=dict(type='TruncNormal'))), inherit=True),
    dict(type='mmvitlin.LogitDistillation', teacher=dict(model=dict(backbone=VIT),
                                                         checkpoint=None)),
])
def test_a_teacher_without_weights(model):
    cfg = config(model=model)
    with pytest.raises(ConfigError, match=r'model.teacher.checkpoint.* is not given, so the '
                                          'student would learn from random weights'):
        apply(weights.random_teacher, cfg)
    cfg.allow_random_weights = True
    apply(weights.random_teacher, cfg)


@pytest.mark.parametrize('teacher', [
    dict(backbone=VIT, checkpoint='a.pth'), dict(backbone=dict(VIT, pretrained=True)),
    dict(backbone=dict(VIT, checkpoint='a.safetensors')),
    dict(backbone=dict(type='VisionTransformer', init_cfg=[dict(type='Pretrained',
                                                                checkpoint='a.pth')]))])
def test_teachers_with_weights(teacher):
    apply(weights.random_teacher, config(model=dict(teacher=teacher)))


@pytest.mark.parametrize(('more', 'words'), [
    (dict(model=dict(backbone=dict(VIT, frozen_stages=12))), 'backbone.frozen_stages=12 freezes'),
    (dict(model=dict(backbone=VIT), optim_wrapper=dict(paramwise_cfg=dict(custom_keys={
        'backbone': dict(lr_mult=0.)}))), r"custom_keys\['backbone'\].lr_mult=0 freezes"),
    (dict(model=dict(backbone=dict(VIT, frozen=True, init_cfg=dict(type='TruncNormal')))),
     'backbone.frozen=True freezes'),
    (dict(model=dict(type='mmvitlin.AttentionAlignment', backbone=VIT, inherit=False)),
     'AttentionAlignment only aligns; give model.inherit=True'),
    (dict(model=dict(type='mmvitlin.FeatureAlignment', backbone=VIT)),
     'random weights, which FeatureAlignment only aligns; give .*student.pth of the first stage'),
])
def test_parts_that_stay_random(more, words):
    cfg = config(**more)
    with pytest.raises(ConfigError, match=words):
        apply(weights.random_parts, cfg)
    for change in (dict(allow_random_weights=True), dict(load_from='a.pth'),
                   {'model.backbone.pretrained': True}):
        other = copy.deepcopy(cfg)
        other.merge_from_dict(change)
        apply(weights.random_parts, other)


def test_a_network_that_is_run_without_a_checkpoint(segmentor, tmp_path, streets):
    torch.save(dict(meta={}, state_dict={}), tmp_path / 'empty.pth')
    for run in (lambda path: SegInferencer(segmentor[0], path, 'cpu'),
                lambda path: load_trained(segmentor[0], path)):
        with pytest.raises(ConfigError, match='checkpoint is (None|.*), so the network would have'):
            run(None)
        with pytest.raises(CheckpointError, match='empty.pth holds no tensors'):
            run(str(tmp_path / 'empty.pth'))
    with pytest.raises(CheckpointError, match='empty.pth holds no tensors'):
        evaluate(nano(streets, tmp_path), str(tmp_path / 'empty.pth'))


def few(streets, tmp_path, **options):
    """Epochs over a handful of scenes."""
    cfg = nano(streets, tmp_path)
    cfg.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1)
    cfg.train_dataloader.sampler = dict(type='DefaultSampler', shuffle=True)
    cfg.param_scheduler = []
    cfg.merge_from_dict(options)
    return cfg


@pytest.mark.slow
@pytest.mark.parametrize(('options', 'words'), [
    ({'train_dataloader.batch_size': 64, 'train_dataloader.drop_last': True},
     r'train_dataloader: \d+ samples make no whole batch of 64, and drop_last=True'),
    ({'train_dataloader.dataset.indices': 0}, r'train_dataloader.dataset has no samples: .*indices'
                                              r'=0 chooses none of \d+'),
    ({'val_dataloader.dataset.indices': []}, r'val_dataloader.dataset has no samples: .*indices='),
    ({'train_dataloader.dataset.serialize_data': False, 'train_dataloader.dataset.indices': []},
     'train_dataloader.dataset has no samples'),
])
def test_nothing_to_train_on(streets, tmp_path, options, words):
    with pytest.raises(ConfigError, match=words):
        train(few(streets, tmp_path, **options))


@pytest.mark.slow
def test_a_last_batch_of_one_image_below_a_pooling_head(streets, tmp_path):
    cfg = few(streets, tmp_path, **{'train_dataloader.batch_size': 5,
                                    'train_dataloader.dataset.indices': 6})
    head = cfg.model.decode_head
    cfg.model.decode_head = dict(
        type='PSPHead', in_channels=head.in_channels, channels=8, num_classes=19,
        in_index=head.get('in_index', -1), norm_cfg=dict(type='BN'))
    with pytest.raises(ConfigError, match='6 samples in batches of 5 end with a batch of one image'
                                          '.*PSPHead with BN.*drop_last=True'):
        train(cfg)


@pytest.fixture
def folder(tmp_path):
    """Images and labels in two folders, with a list."""
    for name in ('a', 'b', 'c'):
        for kind, suffix in (('img', '.JPG'), ('ann', '.png')):
            (tmp_path / kind).mkdir(exist_ok=True)
            Image.new('L', (4, 4)).save(tmp_path / kind / f'{name}{suffix}')
    return tmp_path


def check_files(cfg, purpose):
    apply(files.lists, cfg, purpose)
    apply(files.suffixes, cfg, purpose)


@pytest.mark.parametrize(('dataset', 'names', 'words'), [
    (dict(), None, r"no file of .*img ends with img_suffix='.jpg'; it holds 3 .JPG. Set "
                   'train_dataloader.dataset.img_suffix'),
    (dict(img_suffix='.JPG', seg_map_suffix='_label.png'), None,
     r"no file of .*ann ends with seg_map_suffix='_label.png'; it holds 3 .png"),
    (dict(img_suffix='.JPG', ann_file='list.txt'), 'a.JPG\nb.JPG\n',
     "list.txt: line 1: .*the suffix '.JPG' is added"),
    (dict(ann_file='list.txt'), 'a\nb\n', "list.txt: line 1: .*but 'a.JPG'"),
    (dict(img_suffix='.JPG', ann_file='list.txt'), '\n\n', 'list.txt: the file lists nothing'),
])
def test_a_data_set_that_would_be_empty(folder, dataset, names, words):
    if names is not None:
        (folder / 'list.txt').write_text(names)
    cfg = config(train_dataloader=dict(dataset=dict(
        dict(type='BaseSegDataset', data_root=str(folder), data_prefix=dict(
            img_path='img', seg_map_path='ann'), pipeline=[dict(type='LoadAnnotations')]),
        **dataset)))
    for purpose in ('train', 'data'):
        with pytest.raises(ConfigError, match=words):
            check_files(cfg, purpose)
    cfg.train_dataloader.dataset.update(img_suffix='.JPG', seg_map_suffix='.png', ann_file='')
    apply(files.suffixes, cfg)


def test_a_key_of_its_own_allows_random_weights():
    """It is no option that would change nothing."""
    path = str(ROOT / 'configs/distill/l2_adventurer-nano_camvid.py')
    cfg = load_config(path, {'model.teacher.checkpoint': None})
    with pytest.raises(ConfigError, match='allow_random_weights=True'):
        check(cfg)
    cfg = load_config(path, {'model.teacher.checkpoint': None, 'allow_random_weights': True})
    apply(weights.random_teacher, cfg)


def test_a_metric_compares_with_another_file(tmp_path, monkeypatch):
    messages = []
    monkeypatch.setattr(files, 'warn', messages.append)
    for name in ('val.json', 'train.json'):
        (tmp_path / name).write_text('{}')
    cfg = config(val_dataloader=dict(dataset=dict(
        type='CocoDataset', data_root=str(tmp_path), ann_file='val.json')))
    for file, words in (('val.json', None), ('sub/../val.json', None), ('train.json', 'another')):
        (tmp_path / 'sub').mkdir(exist_ok=True)
        cfg.val_evaluator = dict(type='CocoMetric', ann_file=str(tmp_path / file))
        apply(files.annotations_of_metrics, cfg)
        assert bool(messages) == bool(words)
    cfg.val_evaluator = [dict(type='VOCMetric'), dict(type='CocoMetric', ann_file='gone.json')]
    with pytest.raises(ConfigError, match=r"val_evaluator.1.ann_file: no file 'gone.json'; that of "
                                          'val_dataloader is .*val.json'):
        apply(files.annotations_of_metrics, cfg)


@pytest.mark.parametrize(('size', 'words'), [
    ((64, 32), r'\(height, width\)'), ((64, 64), 'crops are padded'), ((32, 64), None)])
def test_crops_of_another_size_than_the_preprocessor_pads_to(size, words, monkeypatch):
    messages = []
    monkeypatch.setattr(loops, 'warn', messages.append)
    cfg = config(train_dataloader=dict(dataset=dict(pipeline=[
        dict(type='RandomCrop', crop_size=(32, 64))])))
    cfg.model.data_preprocessor = dict(type='SegDataPreProcessor', size=size)
    apply(loops.sizes, cfg)
    assert len(messages) == (words is not None)


def test_an_initial_checkpoint_that_matches_no_parameter(tmp_path):
    class Plain(torch.nn.Module):
        """Without a backbone."""

        def __init__(self):
            super().__init__()
            self.net = torch.nn.Linear(2, 2)

    torch.save(dict(state_dict={'encoder.weight': torch.ones(2, 2)}), tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match='load_from: nothing of .*a.pth fits this Plain'):
        check_start(Plain(), str(tmp_path / 'a.pth'))
    torch.save(dict(state_dict=Plain().state_dict()), tmp_path / 'b.pth')
    check_start(Plain(), str(tmp_path / 'b.pth'))
