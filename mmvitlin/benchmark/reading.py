"""Cost of reading: CPU seconds per image, and operators per batch between loader and model."""
from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, default_collate, pseudo_collate
from mmengine.registry import DefaultScope
from torch.utils._python_dispatch import TorchDispatchMode

from mmvitlin.engine.runner.config import load_config
from mmvitlin.registry import MODELS, TRANSFORMS

DISTILLATION = 'mmvitlin::distill/linearizer_adventurer-base_in1k-224.py'
_BLOCK = 50
MMPRETRAIN_STEPS = (  # the same augmentation by the libraries' own steps
    dict(type='mmvitlin.LoadImage'),
    dict(type='RandomResizedCrop', scale=224, backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='ColorJitter', brightness=0.3, contrast=0.3, saturation=0.3),
    dict(type='PackInputs'),
)


def build_pipeline(steps: Sequence[dict]) -> Compose:
    """Steps of mmpretrain's scope as one callable."""
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return Compose([TRANSFORMS.build(dict(step)) for step in steps])


def seconds_an_image(pipelines: dict[str, Callable], files: Sequence[Path]) -> dict[str, float]:
    """CPU seconds of an image in this process, one thread; mean over files.

    The pipelines take turns every 50 files, so that a busy machine disturbs all alike, and each
    runs with its own code and data in the caches, as in a process that reads.
    """
    threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1), cv2.setNumThreads(0)
    spent = dict.fromkeys(pipelines, 0.)
    try:
        for call in pipelines.values():  # what only the first call builds
            call(dict(img_path=str(files[0])))
        for first in range(0, len(files), _BLOCK):
            for name, call in pipelines.items():
                np.random.seed(first)
                start = time.process_time()
                for path in files[first:first + _BLOCK]:
                    call(dict(img_path=str(path)))
                spent[name] += time.process_time() - start
    finally:
        torch.set_num_threads(threads[0]), cv2.setNumThreads(threads[1])
    return {name: seconds / len(files) for name, seconds in spent.items()}


class Operators(TorchDispatchMode):
    """Counts operators other than views while it is entered."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += not func.is_view and func.name() not in ('aten::detach', 'aten::lift_fresh')
        return func(*args, **(kwargs or {}))


def batch_operators(cfg: Config, samples: list[dict], collate: Callable = default_collate) -> int:
    """Operators from the samples' batch to what the network takes, without the collating, which
    is done where files are read.

    Args:
        cfg: Of a training run, for its data preprocessor.
        samples: Of the data set.
        collate: As the loader's.
    """
    preprocess = MODELS.build(cfg.model.data_preprocessor)
    batch = collate(samples)
    with Operators() as counter:
        preprocess(batch, True)
    return counter.count


def reading(files: Sequence[Path], batch: int = 128) -> dict:
    """Both counts, for ImageNet's distillation, by the libraries' steps and by mmvitlin's.

    Args:
        files: Images.
        batch: Samples of a batch.
    """
    cfg = load_config(DISTILLATION)
    pipelines = dict(libraries=build_pipeline(MMPRETRAIN_STEPS),
                     ours=build_pipeline(cfg.train_dataloader.dataset.pipeline))
    seconds = seconds_an_image(pipelines, files)
    samples = {name: [call(dict(img_path=str(path))) for path in files[:batch]]
               for name, call in pipelines.items()}
    before = cfg.copy()
    before.model.data_preprocessor.type = 'mmengine.ImgDataPreprocessor'
    return dict(
        images=len(files),
        images_a_second_and_core={name: round(1 / s, 1) for name, s in seconds.items()},
        times=round(seconds['libraries'] / seconds['ours'], 2),
        operators_of_a_batch=dict(
            images=len(samples['ours']),
            libraries=batch_operators(before, samples['libraries'], pseudo_collate),
            ours=batch_operators(cfg, samples['ours'])))
