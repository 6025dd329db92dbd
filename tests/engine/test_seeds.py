"""Seeds that travel with the sample: order, epochs, views, and any library's pipeline."""
import pickle
from itertools import islice

import numpy as np
import pytest
import torch
from mmengine.dataset import InfiniteSampler

from mmvitlin.datasets.samplers.seeding import SeededIndex, SeededInfiniteSampler, SeededSampler
from mmvitlin.datasets.seeded import SeededDataset
from tests.engine.nano import nano


def test_the_sampler_keeps_the_order_and_adds_seeds():
    data = list(range(7))
    plain, seeded = InfiniteSampler(data, seed=3), SeededInfiniteSampler(data, seed=3)
    expected, actual = list(islice(plain, 20)), list(islice(seeded, 20))
    assert expected == actual
    assert len({i.seed for i in actual}) == 20
    again = SeededInfiniteSampler(data, seed=3)
    again.skip(9)
    assert [i.seed for i in islice(again, 11)] == [i.seed for i in actual[9:]]
    other = list(islice(SeededInfiniteSampler(data, seed=4), 20))
    assert not {i.seed for i in other} & {i.seed for i in actual}
    copied = pickle.loads(pickle.dumps(actual[5]))
    assert (copied, copied.seed) == (actual[5], actual[5].seed)


def test_stages_of_one_seed_see_batches_of_their_own():
    def first(**kwargs):
        picked = list(islice(SeededInfiniteSampler(range(1000), seed=3, **kwargs), 20))
        return [(int(p), p.seed) for p in picked]

    assert first(salt=0) == first() != first(salt=1) != first(salt=2)
    assert first(salt=1) == first(salt=1)
    assert not set(first(salt=1)) & set(first(salt=2))


def test_views_come_again():
    """Each sample has so many seeds, all are used, and two samples share none."""
    endless = list(islice(SeededInfiniteSampler(range(10), seed=3, views=2), 60))
    epochs = SeededSampler(range(10), seed=3, views=2)
    views = []
    for epoch in range(6):
        epochs.set_epoch(epoch)
        views += list(epochs)
    for drawn in (endless, views):
        seeds = {n: [i.seed for i in drawn if i == n] for n in range(10)}
        for of_one in seeds.values():
            assert of_one[:2] * 3 == of_one
            assert len(set(of_one)) == 2
        assert len({seed for of_one in seeds.values() for seed in of_one}) == 20
    with pytest.raises(ValueError, match='views: at least 1'):
        SeededInfiniteSampler(range(10), views=0)


def test_epochs_have_seeds_of_their_own():
    sampler = SeededSampler(list(range(5)), seed=1)
    first = [i.seed for i in sampler]
    sampler.set_epoch(1)
    assert not set(first) & {i.seed for i in sampler}
    salted = SeededSampler(list(range(5)), seed=1, salt=1)
    assert not set(first) & {i.seed for i in salted}


def test_augmentations_follow_the_seed_and_not_the_process(streets):
    from mmengine.registry import DATASETS, init_default_scope
    init_default_scope('mmseg')
    cfg = nano(streets, 'w')
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    draw = [dataset[SeededIndex(2, seed)]['inputs'] for seed in (5, 6, 5)]
    assert torch.equal(draw[0], draw[2])
    assert not torch.equal(draw[0], draw[1])


class Drawing(list):
    """A data set of another library: what it draws, and what it was asked for."""
    metainfo = dict(classes=('a', ))

    def __getitem__(self, index):
        return type(index), super().__getitem__(index), torch.rand(1).item(), np.random.rand()


class Balanced:
    """As mmengine's ``ClassBalancedDataset`` counts: by plain numbers."""

    def __init__(self, dataset):
        self.dataset, self.places = dataset, [1, 0, 1]

    def __getitem__(self, index):
        return self.dataset[self.places[index]]

    def __len__(self):
        return len(self.places)


def test_any_data_set_draws_from_the_seed_of_the_sample():
    whole = SeededDataset(Balanced(Drawing('ab')))
    first, other, again = (whole[SeededIndex(2, seed)] for seed in (5, 6, 5))
    assert first == again != other
    assert first[:2] == (int, 'b')
    state = torch.get_rng_state()
    whole[2]  # of a sampler that gives no seeds
    assert not torch.equal(state, torch.get_rng_state())
    assert (len(whole), whole.places) == (3, [1, 0, 1])
    assert SeededDataset(Drawing('ab')).metainfo['classes'] == ('a', )
    assert pickle.loads(pickle.dumps(whole)).places == [1, 0, 1]
    with pytest.raises(AttributeError):
        _ = whole.nothing
