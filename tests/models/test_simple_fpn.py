"""SimpleFPN: strides, sizes, refusals."""
import pytest
import torch

from mmvitlin.models import SimpleFPN


@pytest.mark.parametrize('out', [24, None])
@pytest.mark.parametrize('grid', [(8, 8), (5, 7), (1, 3)])
def test_shapes(grid, out):
    neck = SimpleFPN(16, out)
    levels = neck([torch.randn(2, 16, *grid)])
    h, w = grid
    want = [(4 * h, 4 * w), (2 * h, 2 * w), (h, w), (-(-h // 2), -(-w // 2)),
            (-(-h // 4), -(-w // 4))]
    assert [tuple(x.shape) for x in levels] == [(2, out or 16, *s) for s in want]


@pytest.mark.parametrize('out', [24, None])
def test_levels_are_contiguous(out):
    """mmcv's RoIAlign reads any other layout as this one."""
    x = torch.randn(2, 16, 6, 8).to(memory_format=torch.channels_last)
    assert all(level.is_contiguous() for level in SimpleFPN(16, out)([x]))


def test_one_map_for_each_level():
    neck = SimpleFPN(16, None, strides=(8, 16))
    maps = [torch.randn(1, 16, 4, 4), torch.randn(1, 16, 4, 4)]
    assert torch.equal(neck(maps)[1], maps[1])
    with pytest.raises(ValueError, match='takes 1 or 2 maps, got 3'):
        neck([*maps, maps[0]])


def test_impossible_stride():
    with pytest.raises(ValueError, match='stride 12 is not a power of two from 16'):
        SimpleFPN(16, strides=(12, ))
