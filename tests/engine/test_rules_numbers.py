"""Numbers that train nothing, and files in the wrong place."""
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from PIL import Image

from mmvitlin.datasets.transforms.loading import LoadImage
from mmvitlin.datasets.transforms.seg_loading import LoadSegLabels
from mmvitlin.engine.rules import Context, check, files, loops, numbers
from mmvitlin.engine.runner.launch import train
from mmvitlin.utils.errors import ConfigError, UnreadableFileError
from tests.engine.nano import nano


def config(**more) -> Config:
    """What the rules look at."""
    return Config(dict(dict(
        default_scope='mmseg', model=dict(), train_cfg=dict(max_iters=2, val_interval=1),
        optim_wrapper=dict(optimizer=dict(lr=1e-3), clip_grad=dict(max_norm=1.)),
        train_dataloader=dict(batch_size=2, num_workers=0, dataset=dict(pipeline=[
            dict(type='RandomCrop', crop_size=(4, 4))]))), **more))


@pytest.mark.parametrize(('key', 'value', 'words'), [
    ('train_cfg.max_iters', 0, 'train_cfg.max_iters is 0; it must be a whole number of at least 1'),
    ('train_cfg.max_iters', -5, 'max_iters is -5'),
    ('train_cfg.max_epochs', 2.5, 'max_epochs is 2.5'),
    ('train_cfg.val_interval', 0, 'val_interval is 0; .*without validation: set val_dataloader'),
    ('train_dataloader.batch_size', 0, 'train_dataloader.batch_size is 0'),
    ('train_dataloader.num_workers', -1, 'num_workers is -1; it must be .* at least 0'),
    ('optim_wrapper.accumulative_counts', 0, 'accumulative_counts is 0'),
    ('train_dataloader.dataset.pipeline.0.crop_size', (0, 4), 'pipeline.0.crop_size is 0'),
    ('optim_wrapper.optimizer.lr', -1, 'optimizer.lr is -1, so nothing would be learned'),
    ('optim_wrapper.optimizer.lr', float('nan'), 'optimizer.lr is nan'),
    ('optim_wrapper.clip_grad.max_norm', 0, 'max_norm is 0, so nothing .*clip_grad=None does not'),
    ('optim_wrapper.clip_grad', dict(type='value', clip_value=0.), 'clip_value is 0.0'),
])
def test_numbers_with_which_nothing_is_trained(key, value, words):
    cfg = config()
    context = Context(cfg, 'train', ('train_dataloader', ))
    numbers.whole(context), numbers.learning(context)
    cfg.merge_from_dict({key: value})
    with pytest.raises(ConfigError, match=words):
        numbers.whole(context), numbers.learning(context)


@pytest.mark.parametrize(('key', 'value', 'words'), [
    ('model.decode_head.num_classes', ('road', 'car'), r"model.decode_head.num_classes is "
     r"\('road', 'car'\); it must be the number of classes, a whole number of at least 1: 2 for"),
    ('model.decode_head.num_classes', '19', "num_classes is '19'; it must be the number"),
    ('model.decode_head.num_classes', 2., 'num_classes is 2.0'),
    ('model.decode_head.num_classes', True, 'num_classes is True'),
    ('model.decode_head.num_classes', 0, 'num_classes is 0; .* at least 1'),
    ('model.auxiliary_head', [dict(num_classes='a')], 'model.auxiliary_head.0.num_classes is'),
    ('model.bbox_head.num_classes', ['car'], r"model.bbox_head.num_classes is \['car'\]"),
    ('model.roi_head.bbox_head.num_classes', ('car', ), 'model.roi_head.bbox_head.num_classes'),
    ('model.roi_head.mask_head.num_classes', 'car', 'model.roi_head.mask_head.num_classes'),
    ('model.student.decode_head.num_classes', 'a', 'model.student.decode_head.num_classes'),
    ('model.panoptic_head.num_things_classes', ('car', ), 'panoptic_head.num_things_classes is'),
    ('model.decode_head.loss_decode.num_classes', ('a', ), 'loss_decode.num_classes'),
    ('model.data_preprocessor.num_classes', 'a', 'model.data_preprocessor.num_classes'),
    ('train_dataloader.dataset.pipeline.0.num_classes', ('a', ), 'pipeline.0.num_classes is'),
])
def test_class_counts_of_another_type_name_their_key(key, value, words):
    cfg = config()
    cfg.merge_from_dict({key: value})
    for purpose in ('train', 'data'):
        with pytest.raises(ConfigError, match=words):
            check(cfg, purpose, loaders=('train_dataloader', ))


def test_class_counts_that_are_meant():
    cfg = config(model=dict(backbone=dict(num_classes=0), decode_head=dict(num_classes=19),
                            semantic_head=dict(num_things_classes=0, num_stuff_classes=3),
                            head=dict(num_classes=None)))
    numbers.class_counts(Context(cfg, 'train', ('train_dataloader', )))


def test_a_learning_rate_of_0_is_reported(monkeypatch):
    messages = []
    monkeypatch.setattr(numbers, 'warn', messages.append)
    numbers.learning(Context(config(optim_wrapper=dict(optimizer=dict(lr=0.))), 'train', ()))
    assert messages == ['optim_wrapper.optimizer.lr is 0: the run changes no weight']


@pytest.mark.parametrize(('dataset', 'words'), [
    (dict(ann_file='splits'), "dataset.ann_file: '.*splits' is a folder; give a file that lists"),
    (dict(img_suffix=('.png', '.jpg')), r"dataset.img_suffix is \('.png', '.jpg'\), and a data"),
])
def test_a_folder_for_a_list_and_several_suffixes(tmp_path, dataset, words):
    """mmseg reads every image where its list is a folder."""
    (tmp_path / 'splits').mkdir()
    (tmp_path / 'a.png').touch()
    cfg = config(train_dataloader=dict(dataset=dict(dict(
        type='BaseSegDataset', data_root=str(tmp_path), data_prefix=dict(img_path='')), **dataset)))
    rule = files.data_folders if 'ann_file' in dataset else files.suffixes
    with pytest.raises(ConfigError, match=words):
        rule(Context(cfg, 'train', ('train_dataloader', )))


def test_files_that_are_no_images_and_images_of_a_line(tmp_path):
    (tmp_path / 'a.jpg').write_text('<html>404</html>')
    with pytest.raises(UnreadableFileError, match='a.jpg cannot be decoded: it is not an image'):
        LoadImage()(dict(img_path=str(tmp_path / 'a.jpg')))
    from mmcv.transforms import Resize
    for shape in ((1, 500, 3), (500, 1, 3)):
        results = Resize(scale=(64, 64), keep_ratio=True)(dict(
            img=np.zeros(shape, np.uint8), gt_seg_map=np.zeros(shape[:2], np.uint8)))
        assert sorted(results['img'].shape[:2]) == [1, 64]
        assert results['gt_seg_map'].shape == results['img'].shape[:2]


def test_one_void_label_needs_no_list(tmp_path):
    Image.fromarray(np.array([[0, 7]], np.uint8)).save(tmp_path / 'a.png')
    read = LoadSegLabels(num_classes=2, void_labels=7)(dict(
        seg_map_path=str(tmp_path / 'a.png'), seg_fields=[], reduce_zero_label=False))
    assert read['gt_seg_map'].tolist() == [[0, 255]]


@pytest.mark.parametrize('wrong', ['2', ['2'], [[1, 2]], [2.5]])
def test_void_labels_are_whole_numbers(wrong):
    with pytest.raises(ConfigError, match='void_labels=.*whole numbers, such as'):
        LoadSegLabels(num_classes=2, void_labels=wrong)


def test_an_epoch_of_other_batches_is_not_cut_short(streets, tmp_path):
    """Of the steps that the run before counted, none is of this epoch."""
    def run(batch, epochs, **kwargs):
        cfg = nano(streets, tmp_path, **{'train_dataloader.batch_size': batch})
        cfg.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=epochs)
        cfg.train_dataloader.sampler = dict(type='mmvitlin.SeededSampler', shuffle=True)
        cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = cfg.param_scheduler = None
        cfg.default_hooks.checkpoint = dict(type='CheckpointHook', interval=1)
        return train(cfg, **kwargs)

    count = len(run(2, 1).train_dataloader.dataset)
    meta = torch.load(tmp_path / 'epoch_1.pth', weights_only=False)['meta']
    assert (meta['images_per_step'], meta['steps_per_epoch']) == (2, -(-count // 2))
    runner = run(3, 2, resume=True)
    assert runner.iter == -(-count // 2) + -(-count // 3)
    log = ''.join(path.read_text() for path in tmp_path.glob('*/*.log'))
    assert 'images_per_step is 3 and was 2' in log
    assert 'starts from its first batch' in log


@pytest.mark.parametrize(('where', 'options', 'words'), [
    ('auto_scale_lr', dict(enabled=True), "auto_scale_lr has no 'enabled'.*it has 'enable'"),
    ('auto_scale_lr', dict(base_batchsize=16), "it has 'base_batch_size'"),
    ('model.test_cfg', dict(mode='whole', strips_mib=4), "model.test_cfg has no 'strips_mib'.*"
     "'strip_mib'"),
    ('model.test_cfg', dict(crop=(4, 4), probabilites=True), "it has 'probabilities'"),
])
def test_misspelt_options(where, options, words):
    cfg = config(model=dict(decode_head=dict(type='FCNHead')))
    cfg.merge_from_dict({where: options})
    for purpose in ('train', 'test', 'infer'):
        with pytest.raises(ConfigError, match=words):
            loops.misspelt(Context(cfg, purpose, ()))
    fine = config(auto_scale_lr=dict(enable=True, base_batch_size=16), model=dict(
        decode_head=dict(type='FCNHead'), test_cfg=dict(mode='whole', mine=3)))
    loops.misspelt(Context(fine, 'train', ()))


@pytest.mark.parametrize(('metric', 'words'), [
    (dict(type='IoUMetric', iou_metric=['mIoU']), "has no 'iou_metric', .*'iou_metrics'"),
    (dict(type='mmseg.IoUMetric', nan_to_nun=0), "'nan_to_num'"),
    ([dict(type='IoUMetric', output_dirs='x', format_only=True)], "val_evaluator.0 .*'output_dir'"),
])
def test_options_of_metrics_that_are_misspelt(metric, words):
    cfg = config(val_evaluator=metric, val_dataloader=dict(dataset={}))
    with pytest.raises(ConfigError, match=words):
        loops.misspelt(Context(cfg, 'train', ('val_dataloader', )))
    for right in (dict(type='IoUMetric', iou_metrics=['mIoU'], prefix='a', collect_device='cpu'),
                  dict(type='NotKnown', iou_metric=1)):
        cfg.val_evaluator = right
        loops.misspelt(Context(cfg, 'train', ('val_dataloader', )))


def test_a_segmentor_of_mmseg_is_told_how_to_test():
    """Which mmseg asks for more in its first validation."""
    cfg = config(model=dict(type='EncoderDecoder', decode_head={}), val_dataloader=dict(dataset={}))
    for settings in (None, {}):
        cfg.model.test_cfg = settings
        with pytest.raises(ConfigError, match=r"test_cfg.mode is not given.*dict\(mode='whole'\)"):
            loops.windows(Context(cfg, 'train', ()))
    loops.windows(Context(cfg, 'test', ()))  # it has no test_dataloader
    for kind in ('mmvitlin.HighResSegmentor', 'mine.EncoderDecoder'):
        cfg.model.type = kind
        loops.windows(Context(cfg, 'train', ()))
    cfg.model.type, cfg.val_dataloader = 'EncoderDecoder', None
    loops.windows(Context(cfg, 'train', ()))


class Forwarding(BaseMetric):

    def __init__(self, classes, **kwargs):
        super().__init__(**kwargs)

    def process(self, data_batch, data_samples):
        """Nothing."""

    def compute_metrics(self, results):
        """Nothing."""


def test_a_metric_hands_options_on():
    cfg = config(val_evaluator=dict(type=Forwarding, classes=3, collect_dir='x'),
                 val_dataloader=dict(dataset={}))
    loops.misspelt(Context(cfg, 'train', ('val_dataloader', )))
    cfg.val_evaluator['collect_dirs'] = 'x'
    with pytest.raises(ConfigError, match="has no 'collect_dirs'"):
        loops.misspelt(Context(cfg, 'train', ('val_dataloader', )))
