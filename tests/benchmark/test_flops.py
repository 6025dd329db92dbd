"""Counts against arithmetic by hand."""
import pytest
import torch
import torch.nn as nn

from mmvitlin.benchmark.flops import Counts, attainable_ms, count, machine_limits
from mmvitlin.models import Adventurer, MambaReg, TimmViT

SIZES = [(224, 224), (512, 1024), (1024, 2048)]


def tokens(size):
    return (size[0] // 16) * (size[1] // 16)


@pytest.mark.parametrize('size', SIZES)
def test_vit_base(size):
    """24 L d² + 4 L² d a layer, and the patch embedding."""
    n, d = tokens(size) + 1, 768
    by_hand = 12 * (24 * n * d**2 + 4 * n**2 * d) + 2 * (n - 1) * 3 * 256 * d
    actual = count(TimmViT('vit_base_patch16_224', img_size=size), (1, 3, *size))
    assert actual.flops == pytest.approx(by_hand, rel=0.01)
    assert actual.by_kind['attention'] == 12 * 4 * n**2 * d
    assert actual.bytes > 4 * 85e6  # every weight is read


@pytest.mark.parametrize('size', SIZES)
def test_linear_vit_base(size):
    """24 L d² + 4 L d d_head a layer, and the normaliser's 2 L d."""
    n, d = tokens(size) + 1, 768
    by_hand = 12 * (24 * n * d**2 + 4 * n * d * 64 + 2 * n * d) + 2 * (n - 1) * 3 * 256 * d
    actual = count(TimmViT('vit_base_patch16_224', attention='linear', img_size=size),
                   (1, 3, *size))
    assert actual.flops == pytest.approx(by_hand, rel=0.01)
    assert actual.by_kind['attention'] == 0


@pytest.mark.parametrize('size', [(512, 1024)])
def test_focal_vit_base(size):
    """24 L d² + 4 L d keys a layer, 64 patches, 64 cells and the class token, which sees all."""
    n, d = tokens(size), 768
    attention = 12 * 4 * d * (n * 129 + n + 1)
    by_hand = 12 * 24 * (n + 1) * d**2 + attention + 2 * n * 3 * 256 * d
    got = count(TimmViT('vit_base_patch16_224', attention='focal', img_size=size), (1, 3, *size))
    assert got.flops == pytest.approx(by_hand, rel=0.01)
    assert got.by_kind['attention'] == pytest.approx(attention, rel=0.01)


@pytest.mark.parametrize('size', SIZES)
def test_mamba2_vit_base(size):
    """24 L d² and the gate's 2 L d², steps of two directions, and two scans of 12 heads with B and
    C of their own, 65 columns wide for the normaliser; back from the second to last token."""
    n, d, heads, chunk = tokens(size) + 1, 768, 12, 64
    scan = 2 * (n + n - 1) * heads * (chunk * (64 + 65) + 2 * 64 * 65)
    by_hand = 12 * (26 * n * d**2 + 2 * n * d * 2 * heads + scan) + 2 * (n - 1) * 3 * 256 * d
    net = TimmViT('vit_base_patch16_224', attention='mamba2', img_size=size)
    actual = count(net, (1, 3, *size))
    assert actual.flops == pytest.approx(by_hand, rel=0.01)
    assert actual.by_kind['scan'] == 12 * scan
    assert actual.by_kind['attention'] == 0


@pytest.mark.parametrize('size', SIZES)
def test_adventurer_base(size):
    """Projections 2 L 8.1 M and the scan 2 L P H (Q + 2 N) + 2 L Q N a block."""
    n, d, inner, state, chunk, heads = tokens(size) + 1, 768, 1536, 64, 64, 24
    mixer = 2 * (n + 1) * (d * (2 * inner + 2 * state + heads) + inner * d)
    mlp = 2 * n * 3 * d * int(2.5 * d)
    scan = 2 * (n + 1) * (inner * (chunk + 2 * state) + chunk * state)
    by_hand = 12 * (mixer + mlp + scan) + 2 * (n - 1) * 3 * 256 * d
    actual = count(Adventurer('base', img_size=size), (1, 3, *size))
    assert actual.flops == pytest.approx(by_hand, rel=0.01)
    assert actual.by_kind['scan'] == 12 * scan
    # two RMSNorms of width d and one of the inner width a block, one at the end, four operations
    # a value
    assert actual.by_kind['norm'] == pytest.approx(4 * n * (12 * (2 * d + inner) + d), rel=0.01)


def test_mamba_reg_base():
    """Projections of both directions and six operations for each number that a channel holds."""
    size = (512, 1024)
    n, d, inner, state, rank = tokens(size) + 12, 768, 1536, 16, 48
    mixer = 2 * n * (d * 2 * inner + 2 * (inner * (rank + 2 * state) + rank * inner) + inner * d)
    scan = 2 * 6 * n * inner * state
    by_hand = 24 * (mixer + scan) + 2 * (n - 12) * 3 * 256 * d
    actual = count(MambaReg('base', img_size=size), (1, 3, *size))
    assert actual.flops == pytest.approx(by_hand, rel=0.01)
    assert actual.by_kind['scan'] == 24 * scan


def test_convolutions():
    net = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Conv2d(8, 8, 5, groups=8),
                        nn.ConvTranspose2d(8, 4, 2, stride=2))
    actual = count(net, (2, 3, 32, 32))
    by_hand = 2 * 2 * (16 * 16 * 8 * 3 * 9 + 12 * 12 * 8 * 25 + 12 * 12 * 8 * 4 * 4)
    assert actual.flops == by_hand == actual.by_kind['convolution']


def test_the_network_is_not_changed():
    net = nn.Linear(4, 4)
    count(net, (1, 4))
    assert net.weight.device.type == 'cpu'


def test_half_precision_moves_half_the_bytes():
    net = nn.Linear(64, 64)
    assert count(net, (8, 64), 2).bytes * 2 == count(net, (8, 64), 4).bytes \
        == 4 * (8 * 64 * 2 + 64 * 64 + 64)


def test_the_machines_limits_bound_a_product():
    limits = machine_limits(seconds=0.3)
    assert limits['flops'] > 1e9
    assert limits['bytes'] > 1e8
    work = Counts(flops=int(limits['flops']), bytes=0)
    assert attainable_ms(work, limits) == pytest.approx(1000, rel=0.01)
    assert attainable_ms(Counts(0, int(2 * limits['bytes'])), limits) == pytest.approx(2000)
    assert isinstance(torch.empty(1), torch.Tensor)
