"""The stop-watch measures a known sleep and a known allocation."""
import time

import pytest
import torch

from mmvitlin.benchmark import latency
from mmvitlin.benchmark.latency import backbone_latency, backbone_memory, time_interleaved
from mmvitlin.utils.subprocess import MeasurementError


class Clock:
    """Stands still but for what is waited."""

    def __init__(self):
        self.now = 0.

    def perf_counter(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def test_known_times(monkeypatch):
    clock, lengths = Clock(), iter([10., *range(1, 12)])  # the first is of warming up
    monkeypatch.setattr(latency, 'time', clock)
    times = time_interleaved({'short': lambda: clock.sleep(0.01),
                              'long': lambda: clock.sleep(next(lengths))},
                             warmup=1, rounds=11, seconds=1e3)
    assert times['short'] == dict(median=10., p10=10., p90=10., rounds=11)
    assert times['long'] == dict(median=6e3, p10=2e3, p90=10e3, rounds=11)


def test_a_sleep_takes_its_time():
    assert time_interleaved({'a': lambda: time.sleep(0.01)}, warmup=0, rounds=3)['a']['p10'] >= 10


def test_rounds_are_interleaved_and_bounded_by_time():
    order = []
    time_interleaved({'a': lambda: order.append('a'), 'b': lambda: order.append('b')}, warmup=1,
                     rounds=3)
    assert order == ['a', 'b'] * 4
    calls = []
    time_interleaved({'a': lambda: (calls.append(1), time.sleep(0.02))}, warmup=0, rounds=50,
                     seconds=0.0)
    assert len(calls) == 3


def test_backbones():
    nets = {'conv': torch.nn.Conv2d(3, 4, 3)}
    lines = []
    table = backbone_latency(nets, [(32, 32), (32, 64)], progress=lines.append, rounds=3)
    assert list(table) == ['32x32', '32x64']
    assert table['32x32']['conv']['median'] > 0
    assert len(lines) == 2


@pytest.mark.slow
def test_memory_grows_with_the_image():
    cfg = dict(type='mmvitlin.Adventurer', arch=dict(embed_dims=64, num_layers=2))
    peak = backbone_memory(cfg, [(256, 256), (1024, 1024)])
    # at least the tokens after the residual and the inner activations of one block, float32:
    # 4097 tokens x (64 + 2 x 128) x 4 bytes = 5.0 MiB
    assert 5.0 < peak['1024x1024'] < 200
    assert peak['256x256'] < peak['1024x1024']


def test_a_probe_that_fails_says_why():
    with pytest.raises(MeasurementError, match='failed.*arch'):
        backbone_memory(dict(type='mmvitlin.Adventurer', arch='none'), [(64, 64)])
