"""Configs, checkpoints and images with something wrong somewhere.

Each must load, or say what is wrong.
"""
import copy
import io
import json
import os
import random
import struct
import zlib

import numpy as np
import torch
from mmengine.registry import DATASETS, init_default_scope
from mmengine.runner.checkpoint import CheckpointLoader
from PIL import Image
from safetensors.torch import save

from mmvitlin.datasets.checks.checking import check, open_splits
from mmvitlin.datasets.checks.survey import Survey
from mmvitlin.engine.runner.launch import train
from mmvitlin.models import Adventurer
from mmvitlin.models.utils import load_backbone
from mmvitlin.models.utils.checkpoint import read_meta
from mmvitlin.utils.errors import UserError

SMALL = dict(arch=dict(embed_dims=32, num_layers=2), img_size=64)
ONE_STEP = {'train_cfg.max_iters': 1, 'train_cfg.val_interval': 1,
            'train_dataloader.batch_size': 2}
GARBAGE = (None, -1, 0, 1e30, float('nan'), '', 'nonsense', [], {}, [1, 2, 3], dict(type='Nothing'),
           True, 'mmvitlin.Adventurer', ('a', None), 10**6)
# what a run may legitimately be asked to do, and then does for hours
_ENDLESS = ('max_iters', 'max_epochs', 'num_workers', 'batch_size', 'prefetch_factor', 'num_layers',
            'num_convs', 'embed_dims', 'img_size', 'channels', 'in_channels', 'num_classes')


def places(node, path=()):
    """Every key of a config, depth first."""
    children = node.items() if isinstance(node, dict) else \
        enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        yield (*path, key)
        yield from places(child, (*path, key))


def mutate_config(cfg, seed):
    """One key of a config removed, or its value replaced; what was done, as text."""
    draw = random.Random(seed)
    cfg = copy.deepcopy(cfg)
    roots = ('model', 'train_dataloader', 'val_dataloader', 'optim_wrapper', 'param_scheduler',
             'train_cfg', 'default_hooks', 'val_evaluator')
    path = draw.choice([p for p in places(cfg._cfg_dict.to_dict()) if p[0] in roots
                        and p[-1] not in _ENDLESS])
    node = cfg._cfg_dict
    for key in path[:-1]:
        node = node[key]
    value = draw.choice(GARBAGE)
    name = '.'.join(map(str, path))
    if draw.random() < 0.3 and isinstance(node, dict):
        del node[path[-1]]
        return cfg, f'{name} removed'
    node[path[-1]] = value
    return cfg, f'{name} = {value!r}'


def outcome_of_config(cfg):
    """'trained' for as many steps as it says, or 'refused'; all but a clear error propagates."""
    try:
        train(cfg)
    except (UserError, FileNotFoundError) as error:
        assert str(error).strip(), 'an error without words'
        return 'refused'
    return 'trained'


def checkpoint_bytes():
    torch.manual_seed(0)
    content = io.BytesIO()
    net = Adventurer(**SMALL)
    torch.save(dict(meta=dict(backbone=net.describe()), state_dict={
        f'backbone.{k}': v for k, v in net.state_dict().items()}), content)
    return content.getvalue()


def safetensors_bytes():
    torch.manual_seed(0)
    net = Adventurer(**SMALL)
    return save({f'backbone.{k}': v.contiguous() for k, v in net.state_dict().items()},
                dict(format='pt', mmvitlin=json.dumps(dict(backbone=net.describe()))))


def mutate_bytes(content, seed):
    """Cut short, or with some bytes changed, mostly in what is not numbers."""
    draw = random.Random(seed)
    content = bytearray(content)
    if draw.random() < 0.3:
        return bytes(content[:draw.randrange(len(content))])
    marks = [m for m in range(len(content) - 8) if content[m:m + 2] == b'PK'] or [0]
    for _ in range(draw.choice((1, 4, 64))):
        at = draw.choice(marks) + draw.randrange(200) if draw.random() < 0.7 else \
            draw.randrange(len(content))
        content[min(at, len(content) - 1)] = draw.randrange(256)
    return bytes(content)


def outcome_of_checkpoint(path):
    """'loaded', or 'refused' with nothing changed."""
    net = Adventurer(**SMALL)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    for read in (read_meta, CheckpointLoader.load_checkpoint):  # before training, and mmengine's
        try:
            read(str(path))
        except (UserError, FileNotFoundError) as error:
            assert str(path) in str(error), 'the file is not named'
    try:
        load_backbone(net, path, 'backbone.')
    except (UserError, FileNotFoundError) as error:
        assert str(path) in str(error), 'the file is not named'
        assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
        return 'refused'
    return 'loaded'


def _png(array):
    content = io.BytesIO()
    Image.fromarray(array).save(content, 'PNG')
    return content.getvalue()


def _claims_to_be_huge(content):
    """A PNG whose header says 60,000 × 60,000."""
    header = content[12:16] + struct.pack('>II', 60_000, 60_000) + content[24:29]
    return content[:12] + header + struct.pack('>I', zlib.crc32(header)) + content[33:]


def _flipped(content, draw):
    content = bytearray(content)
    for _ in range(draw.choice((1, 4, 64))):
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return bytes(content)


def _label_of_none(content, draw):
    labels = np.array(Image.open(io.BytesIO(content)))
    row, column = (draw.randrange(n) for n in labels.shape)
    labels[row, column] = draw.randrange(19, 255)
    return _png(labels)


def _any_size(content, draw):
    labels = Image.open(io.BytesIO(content))
    size = draw.randrange(1, labels.width), draw.randrange(1, 2 * labels.height)
    return _png(np.array(labels.resize(size, Image.Resampling.NEAREST)))


# what may happen to a file of a data set: kind → (whether to a label, content → content or None)
DAMAGE = {
    'image cut short': (False, lambda c, draw: c[:draw.randrange(1, len(c))]),
    'image emptied': (False, lambda c, draw: b''),
    'image is something else': (False, lambda c, draw: draw.randbytes(len(c))),
    'image with flipped bits': (False, _flipped),
    'image that claims to be huge': (False, lambda c, draw: _claims_to_be_huge(c)),
    'image gone after it was listed': (False, lambda c, draw: None),
    'label cut short': (True, lambda c, draw: c[:draw.randrange(1, len(c))]),
    'label emptied': (True, lambda c, draw: b''),
    'label with flipped bits': (True, _flipped),
    'label gone': (True, lambda c, draw: None),
    'label above the classes': (True, _label_of_none),
    'label of another size': (True, _any_size),
    'label that ignores everything': (True, lambda c, draw: _png(np.full_like(np.array(
        Image.open(io.BytesIO(c))), 255))),
}


def outcome_of_damage(cfg, seed):
    """What becomes of a data set with one damaged file, which is restored afterwards.

    Returns:
        (kind, outcome): 'named' by the check and by the data set that meets it; 'met only', named
        by the data set, after the check could not list it; 'checked only', where a run can go on;
        'harmless', where the file still holds what it held; 'unnoticed'.
    """
    draw = random.Random(seed)
    kind = list(DAMAGE)[seed % len(DAMAGE)]
    of_label, damaged = DAMAGE[kind]
    init_default_scope('mmseg')
    settings = cfg.train_dataloader.dataset
    dataset = DATASETS.build(settings)  # has listed its files
    number = draw.randrange(len(dataset))
    info = dataset.get_data_info(number)
    path = info['seg_map_path' if of_label else 'img_path']
    with open(path, 'rb') as file:
        whole = file.read()
    before = np.array(Image.open(io.BytesIO(whole)))
    content = damaged(whole, draw)
    try:
        if content is None:
            os.unlink(path)
        else:
            with open(path, 'wb') as file:
                file.write(content)
        listed = of_label or 'gone' not in kind
        named = listed and _is_named(cfg, path)
        try:
            dataset.prepare_data(number)
        except (UserError, FileNotFoundError) as error:
            assert path in str(error), f'{kind}: {error}'
            return kind, 'named' if named else 'unnoticed by the check' if listed else 'met only'
        if named:
            return kind, 'checked only'
        with Image.open(path) as image:
            return kind, 'harmless' if np.array_equal(np.array(image), before) else 'unnoticed'
    finally:
        with open(path, 'wb') as file:
            file.write(whole)


def _is_named(cfg, path):
    """Whether the walk over all samples names a file."""
    survey = Survey(open_splits(cfg))
    for sample in check(survey.parts, workers=1):
        survey.add(sample)
    problems = survey.all_problems()
    return any(path in (p.file, *p.detail.split()) or path in p.detail for p in problems)
