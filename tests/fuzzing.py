"""Configs and checkpoints with something wrong somewhere: each must load, or say what is wrong."""
import copy
import io
import random

import torch

from mmvitlin.engine.launch import build_runner
from mmvitlin.errors import UserError
from mmvitlin.models import Adventurer
from mmvitlin.models.utils import load_backbone

SMALL = dict(arch=dict(embed_dims=32, num_layers=2), img_size=64)
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
    """One key of a config removed, or its value replaced; what was done in words."""
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
    """'built', or 'refused'; anything but a clear error propagates."""
    try:
        build_runner(cfg)
    except (UserError, FileNotFoundError) as error:
        assert str(error).strip(), 'an error without words'
        return 'refused'
    return 'built'


def checkpoint_bytes():
    torch.manual_seed(0)
    content = io.BytesIO()
    net = Adventurer(**SMALL)
    torch.save(dict(meta=dict(backbone=net.describe()), state_dict={
        f'backbone.{k}': v for k, v in net.state_dict().items()}), content)
    return content.getvalue()


def mutate_bytes(content, seed):
    """Cut short, or with some bytes changed, mostly in what is not numbers."""
    draw = random.Random(seed)
    content = bytearray(content)
    if draw.random() < 0.3:
        return bytes(content[:draw.randrange(len(content))])
    marks = [m for m in range(len(content) - 8) if content[m:m + 2] == b'PK']
    for _ in range(draw.choice((1, 4, 64))):
        at = draw.choice(marks) + draw.randrange(200) if draw.random() < 0.7 else \
            draw.randrange(len(content))
        content[min(at, len(content) - 1)] = draw.randrange(256)
    return bytes(content)


def outcome_of_checkpoint(path):
    """'loaded', or 'refused' with nothing changed."""
    net = Adventurer(**SMALL)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    try:
        load_backbone(net, path, 'backbone.')
    except (UserError, FileNotFoundError) as error:
        assert str(path) in str(error), 'the file is not named'
        assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
        return 'refused'
    return 'loaded'
