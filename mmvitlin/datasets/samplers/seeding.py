"""Random numbers of a sample that depend only on its place in the run.

Augmentations usually draw from the random state of whichever worker holds the sample, so a resumed
run, or one with another number of workers, sees other data. Here the sampler gives each sample a
seed, which :class:`mmvitlin.datasets.seeded.SeededDataset` or the reading of its image sets.
"""
from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator

import numpy as np
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler

from mmvitlin.registry import DATA_SAMPLERS


def mix(*numbers: int) -> int:
    """A 63-bit seed from several numbers; neighbours give unrelated seeds."""
    digest = hashlib.blake2b(repr(numbers).encode(), digest_size=8).digest()
    return int.from_bytes(digest, 'little') >> 1


def set_seed(seed: int) -> None:
    """Seed Python, NumPy and torch, this process only."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def seed_sample(index: int | None) -> None:
    """Set the seed that a sampler gave a sample; nothing where it gave none.

    Args:
        index: Of the sample, a :class:`SeededIndex` where it has a seed.
    """
    if isinstance(index, SeededIndex):
        set_seed(index.seed)


class SeededIndex(int):
    """Index of a sample that carries the seed of its augmentations."""
    seed: int

    def __new__(cls, index: int, seed: int):
        self = super().__new__(cls, index)
        self.seed = seed
        return self

    def __reduce__(self):
        return SeededIndex, (int(self), self.seed)

    def __mod__(self, other: int) -> SeededIndex:
        """As ``RepeatDataset`` counts."""
        return SeededIndex(int(self) % other, self.seed)

    def __sub__(self, other: int) -> SeededIndex:
        """As ``ConcatDataset`` counts."""
        return SeededIndex(int(self) - other, self.seed)


def _check_views(views: int | None) -> int | None:
    if views is not None and views < 1:
        raise ValueError(f'views: at least 1, or None for no limit, not {views}')
    return views


def _salted(seed: int, salt: int) -> int:
    return mix(seed, salt) % 2**31 if salt else seed  # NumPy's generators of mmengine take 32 bits


@DATA_SAMPLERS.register_module()
class SeededInfiniteSampler(InfiniteSampler):
    """mmengine's ``InfiniteSampler``, each sample with a seed of its own.

    The seed follows from the run's seed and the sample's place in the endless sequence.

    Args:
        dataset: What is sampled.
        shuffle: In another order every time.
        seed: Of the order; the run's by default.
        salt: Stages of one experiment with different salts see different orders and
            augmentations under one seed; otherwise the second repeats the first one's batches.
        views: Augment each sample in this many ways, taken in turn, instead of a new one every
            time, so that a teacher's features of them can be cached. None: always anew.
    """

    def __init__(self, dataset, shuffle: bool = True, seed: int | None = None, salt: int = 0,
                 views: int | None = None):
        super().__init__(dataset, shuffle, seed)
        self.views = _check_views(views)
        self.seed = _salted(self.seed, salt)

    def _infinite_indices(self) -> Iterator[SeededIndex]:
        for place, index in enumerate(super()._infinite_indices()):
            if self.views is None:
                yield SeededIndex(index, mix(self.seed, place))
            else:
                yield SeededIndex(index, mix(self.seed, index, place // self.size % self.views))


@DATA_SAMPLERS.register_module()
class SeededSampler(DefaultSampler):
    """mmengine's ``DefaultSampler``, each sample with a seed from run, epoch and place.

    Args:
        dataset: What is sampled.
        salt: See :class:`SeededInfiniteSampler`.
        views: Likewise; one view an epoch.
        **kwargs: As mmengine's.
    """
    _left_out: int = 0

    def __init__(self, dataset, *args, salt: int = 0, views: int | None = None, **kwargs):
        super().__init__(dataset, *args, **kwargs)
        self.views = _check_views(views)
        self.seed = _salted(self.seed, salt)

    def skip_once(self, samples: int) -> None:
        """Leave out the first samples of the next epoch: a cut run has seen them."""
        self._left_out = samples

    def __iter__(self) -> Iterator[SeededIndex]:
        left_out, self._left_out = self._left_out, 0
        for place, index in enumerate(super().__iter__()):
            if place < left_out:
                continue
            if self.views is None:
                yield SeededIndex(index, mix(self.seed, self.epoch,
                                             place * self.world_size + self.rank))
            else:
                yield SeededIndex(index, mix(self.seed, index, self.epoch % self.views))
