"""No rule refuses what is right: our configs, and the libraries' own for the usual data sets."""
import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmvitlin.compat import detection
from mmvitlin.engine import rules
from mmvitlin.engine.rules import Context, build_loaders, check, loops
from mmvitlin.engine.rules.context import PURPOSES
from mmvitlin.engine.runner.config import load_config
from mmvitlin.utils.errors import ConfigError
from tests.conftest import ROOT

ON_DISK = {'data_folders', 'annotations_of_metrics', 'suffixes', 'of_annotations', 'checkpoints',
           'of_start', 'of_checkpoint', 'given', 'libraries'}


def refused(cfg: Config) -> list[str]:
    """What any rule that looks at the config alone says against it."""
    problems = []
    for purpose in ('train', 'test', 'data', 'export'):
        DefaultScope._instance_dict.clear()
        context = Context(cfg, purpose, PURPOSES[purpose])
        for rule, purposes in rules.RULES:
            if purpose in purposes and rule.__name__ not in ON_DISK:
                try:
                    rule(context)
                except ConfigError as error:
                    problems.append(f'{purpose}, {rule.__name__}: {error}')
    return problems


@pytest.mark.slow
def test_shipped_configs(monkeypatch):
    """And their learning rates end with their runs."""
    messages = []
    monkeypatch.setattr(loops, 'warn', messages.append)
    for path in sorted((ROOT / 'configs').glob('[dsc]*/*.py')):
        assert refused(load_config(str(path))) == [], path.name
        assert messages == [], path.name


def of_library(name: str, *words: str, every: int) -> list[str]:
    """Some of a library's configs that use one of these data sets, from many folders."""
    spec = find_spec(name)
    root = Path(spec.origin).parent / '.mim/configs' if spec else Path('nowhere')
    chosen = {}
    for path in sorted(root.glob('[a-z]*/*.py')):
        word = next((w for w in words if w in path.name), None)
        if word:
            chosen.setdefault((path.parent, word), path)
    return [f'{name}::{path.relative_to(root)}' for path in list(chosen.values())[::every]]


def readable(path: str) -> Config | None:
    """None where the config itself cannot be read (some of the libraries' cannot)."""
    try:
        return load_config(path)
    except (ConfigError, ValueError):  # its bases are named so that mmengine does not find them
        return None


@pytest.mark.slow
def test_configs_of_mmsegmentation(monkeypatch):
    monkeypatch.setenv('WORLD_SIZE', '8')  # some have one image a process
    names = of_library('mmseg', 'cityscapes', 'ade20k', 'coco', every=3)
    assert len(names) > 25
    for name in names:
        if (cfg := readable(name)) is not None:
            cfg.launcher = 'pytorch'
            assert refused(cfg) == [], name


@pytest.mark.slow
def test_configs_of_mmpretrain():
    names = of_library('mmpretrain', '_in1k', every=5)
    assert len(names) > 10
    for name in names:
        if (cfg := readable(name)) is not None and 'train_dataloader' in cfg:
            assert refused(cfg) == [], name


@pytest.mark.slow
def test_configs_of_mmdetection():
    if detection.lacking():
        pytest.skip('needs mmdet and the compiled ops: make setup-full')
    names = of_library('mmdet', 'coco', 'cityscapes', 'panoptic', every=3)
    assert len(names) > 25
    read = 0
    for name in names:
        if (cfg := readable(name)) is not None:
            assert refused(cfg) == [], name
            read += 1
    assert read > 25


def peculiar(folder: Path, boxes: bool = True) -> Path:
    """A COCO file with what COCO 2017 has: gaps between the numbers of categories, boxes of no
    size, crowds, and images with no object; and its images."""
    import numpy as np
    from PIL import Image
    images, annotations = [], []
    for n, side in enumerate((48, 64, 80, 40)):
        Image.fromarray(np.full((side, side, 3), 40 * n, np.uint8)).save(folder / f'{n:012}.jpg')
        images.append(dict(id=9 + 100 * n, file_name=f'{n:012}.jpg', height=side, width=side))
    if boxes:
        for number, (image, category, box, crowd) in enumerate((
                (9, 1, [4, 4, 20, 20], 0), (9, 90, [0, 0, 30.5, 12.25], 0),
                (109, 13, [10, 10, 0, 0], 0), (109, 13, [8, 8, 40, 40], 0),
                (209, 1, [0, 0, 64, 64], 1), (209, 90, [2, 2, 1e-3, 30], 0))):
            x, y, w, h = box
            polygon = [[x, y, x + w, y, x + w, y + h, x, y + h]]
            size = images[image // 100]['height']
            annotations.append(dict(
                id=number + 900000, image_id=image, category_id=category, bbox=box, iscrowd=crowd,
                area=w * h, segmentation=dict(size=[size, size], counts=[0, size * size])
                if crowd else polygon))
    file = folder / f'coco{boxes}.json'
    file.write_text(json.dumps(dict(images=images, annotations=annotations, categories=[
        dict(id=1, name='person', supercategory='person'),
        dict(id=13, name='stop sign', supercategory='outdoor'),
        dict(id=90, name='toothbrush', supercategory='indoor')])))
    return file


NAMES = ('person', 'stop sign', 'toothbrush')


def detector(folder: Path, file: Path, kind: str, **dataset) -> Config:
    """Loaders over such a file, and as many classes in the head."""
    loader = dict(
        batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True),
        dataset=dict(dict(
            type=kind, data_root=str(folder), ann_file=file.name, data_prefix=dict(img=''),
            metainfo=dict(classes=NAMES), filter_cfg=dict(filter_empty_gt=True, min_size=32),
            pipeline=[dict(type='LoadImageFromFile'),
                      dict(type='LoadAnnotations', with_bbox=True),
                      dict(type='Resize', scale=(64, 64), keep_ratio=True),
                      dict(type='RandomFlip', prob=0.5), dict(type='PackDetInputs')]), **dataset))
    return Config(dict(
        default_scope='mmdet', model=dict(bbox_head=dict(num_classes=3)), train_dataloader=loader,
        train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=1)))


class FakeRunner:
    """Builds the training loop of a config when it is asked for, as a Runner does."""

    def __init__(self, cfg: Config):
        from mmengine.runner import BaseLoop, Runner
        self.cfg = cfg
        self._build = lambda: type('Loop', (BaseLoop, ), dict(
            run=lambda self: None, __init__=lambda self: setattr(
                self, 'dataloader', Runner.build_dataloader(cfg.train_dataloader))))()

    @property
    def train_loop(self):
        return self._build()


@pytest.fixture
def mmdet():
    if detection.lacking():
        pytest.skip('needs mmdet and the compiled ops: make setup-full')
    detection.prepare('this test')


@pytest.mark.parametrize('kind', ['CocoDataset', 'mmvitlin.CocoInstances'])
def test_what_coco_2017_holds(tmp_path, mmdet, kind):
    cfg = detector(tmp_path, peculiar(tmp_path), kind)
    check(cfg)
    build_loaders(FakeRunner(cfg), ('train_dataloader', ))


@pytest.mark.parametrize(('boxes', 'dataset', 'words'), [
    (False, {}, r'train_dataloader.dataset has no samples: 4 are listed, and .*filter_cfg=.*leaves '
                'none of them; they have no boxes'),
    (True, dict(filter_cfg=dict(filter_empty_gt=True, min_size=500)),
     r'4 are listed, .*min_size.* leaves none of them; they have \d boxes of its classes'),
])
def test_filters_that_leave_no_image(tmp_path, mmdet, boxes, dataset, words):
    cfg = detector(tmp_path, peculiar(tmp_path, boxes), 'CocoDataset', **dataset)
    check(cfg)
    with pytest.raises(ConfigError, match=words):
        build_loaders(FakeRunner(cfg), ('train_dataloader', ))
