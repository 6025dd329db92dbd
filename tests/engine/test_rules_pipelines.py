"""Labels are of the image that they lie beside, whatever steps users write and in what order."""
import numpy as np
import pytest
import torch
from mmcv.transforms import BaseTransform
from mmengine.config import Config
from mmengine.registry import TRANSFORMS

from mmvitlin.engine.rules import Context, normalisation, pipelines
from mmvitlin.engine.runner.config import load_config
from mmvitlin.engine.runner.launch import train
from mmvitlin.utils.errors import ConfigError
from tests.engine.nano import nano

READ, LABELS, PACK = (dict(type=f'mmvitlin.{t}') if t.startswith('Load') else dict(type=t)
                      for t in ('LoadImage', 'LoadSegLabels', 'PackSegInputs'))
RESIZE, FLIP = dict(type='Resize', scale=(128, 64)), dict(type='RandomFlip', prob=0.5)
ROTATE = dict(type='RandomRotate', prob=0.5, degree=10)
COLOURS = dict(type='PhotoMetricDistortion')
BOXES = dict(type='mmdet.LoadAnnotations', with_bbox=True)


def config(loader: str, steps: list, **more) -> Config:
    """A config of one loader."""
    return Config(dict(
        default_scope='mmseg', model=dict(type='EncoderDecoder', decode_head=dict(num_classes=19)),
        val_evaluator=dict(type='IoUMetric'),
        **{loader: dict(dataset=dict(type='BaseSegDataset', pipeline=steps))}, **more))


def order(cfg: Config, purpose: str = 'data') -> None:
    pipelines.order(Context(cfg, purpose, ('train_dataloader', 'val_dataloader')))


@pytest.mark.parametrize(('steps', 'words'), [
    ([READ, ROTATE, LABELS, PACK], r'pipeline.2 \(LoadSegLabels\) reads labels after .*pipeline.1 '
                                   r'\(RandomRotate\)'),
    ([READ, dict(type='RandomApply', transforms=[FLIP]), dict(type='LoadAnnotations'), PACK],
     r'pipeline.2 \(LoadAnnotations\) .*pipeline.1.transforms.0 \(RandomFlip\)'),
    ([READ, dict(type='RandomChoice', transforms=[[COLOURS], [dict(type='RandomRotFlip')]]),
      LABELS, PACK], r'pipeline.1.transforms.1.0 \(RandomRotFlip\) has moved'),
    ([READ, dict(type='TransformBroadcaster', transforms=[
        dict(type='RandomResizedCrop', scale=64)]), LABELS], 'RandomResizedCrop'),
    ([READ, dict(type='mmvitlin.PadCanvas', size=(64, 64)), LABELS], 'PadCanvas'),
    ([READ, dict(type='RandomCrop', crop_size=(8, 8)), BOXES], r'LoadAnnotations\).*RandomCrop'),
])
def test_a_step_that_moves_pixels_stands_before_the_labels_in_training(steps, words):
    with pytest.raises(ConfigError, match=words):
        order(config('train_dataloader', steps))


@pytest.mark.parametrize('steps', [
    [READ, LABELS, RESIZE, FLIP, PACK],
    [READ, COLOURS, LABELS, FLIP, PACK],
    [READ, dict(type='AUsersOwnStep'), LABELS, RESIZE, PACK],
    [READ, dict(type='RandomFlip', prob=0.), LABELS, PACK],
    [READ, dict(type='Pad', size_divisor=32), BOXES, PACK],  # boxes keep their places
    [READ, dict(type='RandomChoice', transforms=[[COLOURS], []]), LABELS, PACK],
])
def test_pipelines_that_are_right_in_training(steps):
    order(config('train_dataloader', steps))


@pytest.mark.parametrize(('steps', 'words'), [
    ([READ, LABELS, dict(type='ResizeShortestEdge', scale=64, max_size=128), PACK],
     r'pipeline.2 \(ResizeShortestEdge\) moves the labels that .*pipeline.1 \(LoadSegLabels\)'),
    ([READ, LABELS, dict(type='CenterCrop', crop_size=64), PACK], r'\(CenterCrop\) moves'),
    ([READ, LABELS, dict(type='TestTimeAug', transforms=[[RESIZE], [FLIP], [PACK]])],
     r'pipeline.2.transforms.0.0.0 \(Resize\) moves'),
])
def test_a_step_that_moves_pixels_stands_behind_the_labels_in_validation(steps, words):
    with pytest.raises(ConfigError, match=words):
        order(config('val_dataloader', steps))


@pytest.mark.parametrize(('steps', 'more'), [
    ([READ, RESIZE, LABELS, PACK], {}),
    ([READ, dict(type='TestTimeAug', transforms=[[RESIZE], [FLIP], [LABELS], [PACK]])], {}),
    ([READ, BOXES, RESIZE, PACK], dict(val_evaluator=dict(type='CocoMetric', ann_file='a.json'))),
    ([READ, LABELS, RESIZE, PACK], dict(val_evaluator=dict(type='IoUMetric', format_only=True))),
])
def test_pipelines_that_are_right_in_validation(steps, more):
    cfg = config('val_dataloader', steps)
    cfg.merge_from_dict(more)
    order(cfg)


def test_steps_of_data_sets_that_are_wrapped_and_mixed():
    inner = dict(type='BaseSegDataset', pipeline=[READ, FLIP, LABELS])
    cfg = config('train_dataloader', [])
    for wrapper in (dict(type='RepeatDataset', times=2, dataset=inner),
                    dict(type='ConcatDataset', datasets=[dict(inner, pipeline=[READ, LABELS]),
                                                         inner])):
        cfg.train_dataloader.dataset = wrapper
        with pytest.raises(ConfigError, match=r'dataset(s.1)?.pipeline.2 \(LoadSegLabels\)'):
            order(cfg)
    cfg.train_dataloader.dataset = dict(
        type='MultiImageMixDataset', dataset=dict(inner, pipeline=[READ, LABELS]),
        pipeline=[dict(type='RandomMosaic', prob=1), FLIP, PACK])
    order(cfg)


@TRANSFORMS.register_module()
class UpsideDown(BaseTransform):
    """A user's step, which tells that it flips."""

    def transform(self, results):
        results['img'], results['flip'] = results['img'][::-1], True
        return results


@TRANSFORMS.register_module()
class HalfTheImage(BaseTransform):
    """A user's step that forgets the labels."""

    def transform(self, results):
        results['img'] = np.ascontiguousarray(results['img'][:32])
        return results


@pytest.mark.slow
@pytest.mark.parametrize(('place', 'kind', 'words'), [
    (1, 'UpsideDown', r'pipeline.2 \(LoadSegLabels\) reads labels of an image that .* flipped'),
    (2, 'HalfTheImage', r'pipeline.2 \(HalfTheImage\) leaves an image of 32x128 beside labels of '
                        r'64x128 pixels \(.*leftImg8bit'),
])
def test_a_users_step_moves_only_the_image(streets, tmp_path, place, kind, words):
    cfg = nano(streets, tmp_path)
    cfg.train_dataloader.dataset.pipeline.insert(place, dict(type=f'mmengine.{kind}'))
    with pytest.raises(ConfigError, match=words):
        train(cfg)


@pytest.mark.parametrize(('settings', 'step', 'words'), [
    (dict(mean=[1, 2, 3], std=[1, 2, 3]), dict(mean=[0] * 3, std=[1] * 3),
     r'pipeline.1 \(Normalize\) and model.data_preprocessor.mean both normalise'),
    (dict(bgr_to_rgb=True), dict(mean=[0] * 3, std=[1] * 3), 'both turn BGR to RGB'),
])
def test_images_are_normalised_once(settings, step, words):
    cfg = config('train_dataloader', [READ, dict(type='Normalize', **step), LABELS])
    cfg.model.data_preprocessor = dict(type='SegDataPreProcessor', **settings)
    with pytest.raises(ConfigError, match=words):
        pipelines.normalised_twice(Context(cfg, 'train', ('train_dataloader', )))


IMAGENET = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


@pytest.mark.parametrize(('mean', 'std', 'words'), [
    ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225], 'from 0 to 1.*times 255'),
    ([0.5] * 3, [0.5] * 3, 'from 0 to 1.*times 255'),
    (*IMAGENET[::-1], 'are exchanged'),
    (IMAGENET[0], [58.395, 0, 57.375], 'holds 0'),
])
def test_mean_and_deviation_that_are_not_of_the_images(mean, std, words):
    cfg = config('train_dataloader', [READ, LABELS, PACK])
    cfg.model.data_preprocessor = dict(mean=mean, std=std, bgr_to_rgb=True)
    context = Context(cfg, 'train', ('train_dataloader', ))
    with pytest.raises(ConfigError, match=words):
        normalisation.plausible(context)


def test_a_second_preprocessor_without_a_type():
    """It would be the library's, with its order of channels."""
    cfg = config('train_dataloader', [READ, LABELS, PACK])
    cfg.data_preprocessor = dict(type='SegDataPreProcessor', bgr_to_rgb=True)
    cfg.model.data_preprocessor = dict(mean=IMAGENET[0], std=IMAGENET[1])
    with pytest.raises(ConfigError, match='and no type.*set data_preprocessor instead'):
        normalisation.plausible(Context(cfg, 'train', ('train_dataloader', )))


@pytest.mark.parametrize(('mean', 'std', 'rgb', 'warned'), [
    (*IMAGENET, True, False), (IMAGENET[0][::-1], [1.] * 3, False, False),
    ([0.] * 3, [1.] * 3, True, False), ([0.] * 3, [255.] * 3, True, False),
    ([127.5] * 3, [127.5] * 3, False, False),
    (IMAGENET[0][::-1], IMAGENET[1][::-1], True, True), (*IMAGENET, False, True),
])
def test_means_in_the_order_of_other_channels_are_reported(mean, std, rgb, warned, monkeypatch):
    messages = []
    monkeypatch.setattr(normalisation, 'warn', messages.append)
    cfg = config('train_dataloader', [READ])
    cfg.model.data_preprocessor = dict(mean=mean, std=std, bgr_to_rgb=rgb)
    normalisation.plausible(Context(cfg, 'train', ()))
    assert len(messages) == warned


def test_a_step_of_the_user_s_own_may_scale_the_images():
    cfg = config('train_dataloader', [READ, dict(type='ToUnitRange'), LABELS, PACK])
    cfg.model.data_preprocessor = dict(mean=[0.5] * 3, std=[0.5] * 3)
    normalisation.plausible(Context(cfg, 'train', ('train_dataloader', )))


@pytest.mark.parametrize(('kept', 'words'), [
    (dict(mean=[127.5] * 3, std=IMAGENET[1]),
     'preprocessor.mean is .*123.6.*was trained with .*127.5'),
    (dict(mean=IMAGENET[0], std=[1.] * 3),
     r'preprocessor.std is .*58.* was trained with .1.0, 1.0'),
    (dict(mean=IMAGENET[0][::-1], std=IMAGENET[1][::-1], rgb=False),
     'was trained on BGR images, and .*bgr_to_rgb is True; set it False'),
    (dict(mean=IMAGENET[0], std=IMAGENET[1], rgb=True), None), (dict(mean=IMAGENET[0]), None),
    ({}, None),
])
def test_a_network_sees_images_as_in_its_training(segmentor, tmp_path, kept, words):
    content = torch.load(segmentor[1], weights_only=True)
    torch.save(dict(content, meta=dict(normalisation=kept)), tmp_path / 'kept.pth')
    cfg = load_config(segmentor[0])
    for purpose in ('test', 'infer', 'export'):
        context = Context(cfg, purpose, (), str(tmp_path / 'kept.pth'))
        if words is None:
            normalisation.of_checkpoint(context)
        else:
            with pytest.raises(ConfigError, match=words):
                normalisation.of_checkpoint(context)
