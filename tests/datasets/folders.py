"""Small data sets of users, on disk."""
import numpy as np
from mmengine.config import Config
from PIL import Image

from mmvitlin.datasets.checks.checking import check, open_splits
from mmvitlin.datasets.checks.survey import Survey


def seg_folder(root, labels, split='train', suffix='.png', images=None):
    """Images of noise and the given label maps, {name: array}."""
    for kind in ('images', 'labels'):
        (root / kind / split).mkdir(parents=True, exist_ok=True)
    for n, (name, label) in enumerate(labels.items()):
        label = np.asarray(label)
        image = (images or {}).get(name)
        if image is None:
            image = np.random.default_rng(n + 100 * (split != 'train')).integers(
                0, 256, (*label.shape, 3), np.uint8)
        Image.fromarray(image).save(root / 'images' / split / f'{name}{suffix}')
        Image.fromarray(label.astype(np.uint8)).save(root / 'labels' / split / f'{name}.png')


def seg_config(root, classes, splits=('train', ), reader=None, steps=None, **settings):
    """A config with mmseg's plain data set over such folders."""
    reader = reader or dict(type='mmvitlin.LoadSegLabels', num_classes=len(classes))
    steps = steps or [dict(type='mmvitlin.LoadImage'), reader]
    loaders = {f'{split}_dataloader': dict(dataset=dict(
        type='BaseSegDataset', data_root=str(root), metainfo=dict(classes=classes),
        img_suffix='.png', pipeline=steps, serialize_data=False, **dict(settings, data_prefix=dict(
            img_path=f'images/{split}', seg_map_path=f'labels/{split}')))) for split in splits}
    return Config(dict(default_scope='mmseg', model=dict(
        decode_head=dict(num_classes=len(classes))), **loaders))


def survey_of(cfg):
    """Reads all samples of a config."""
    survey = Survey(open_splits(cfg))
    for sample in check(survey.parts, workers=1):
        survey.add(sample)
    return survey


def problems_of(cfg):
    """{kind: [(level, detail)]} of what is wrong."""
    problems = {}
    for problem in survey_of(cfg).all_problems():
        problems.setdefault(problem.kind, []).append((problem.level, problem.detail))
    return problems
