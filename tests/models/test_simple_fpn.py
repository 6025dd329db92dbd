"""SimpleFPN: strides, sizes, refusals."""
import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from mmvitlin.models import SimpleFPN


@pytest.mark.parametrize('out', [24, None])
@pytest.mark.parametrize('grid', [(8, 8), (5, 7), (1, 3)])
def test_shapes(grid, out):
    neck = SimpleFPN(16, out)
    levels = neck([torch.randn(2, 16, *grid)])
    h, w = grid
    expected = [(4 * h, 4 * w), (2 * h, 2 * w), (h, w), (-(-h // 2), -(-w // 2)),
                (-(-h // 4), -(-w // 4))]
    assert [tuple(x.shape) for x in levels] == [(2, out or 16, *s) for s in expected]


@pytest.mark.parametrize('out', [24, None])
def test_levels_are_contiguous(out):
    """mmcv's RoIAlign reads any other layout as this one."""
    x = torch.randn(2, 16, 6, 8).to(memory_format=torch.channels_last)
    assert all(level.is_contiguous() for level in SimpleFPN(16, out)([x]))


def test_values_are_those_of_vitdet():
    """Written out once more: the pyramid of detectron2's ViTDet, its last level a max pooling."""
    torch.manual_seed(0)
    neck, x = SimpleFPN(16, 24), torch.randn(2, 16, 5, 7)
    state = neck.state_dict()

    def norm(y, key):
        y = (y - y.mean(1, keepdim=True)) / (y.var(1, keepdim=True, unbiased=False) + 1e-6).sqrt()
        return y * state[f'{key}.weight'][:, None, None] + state[f'{key}.bias'][:, None, None]

    def up(y, key):
        return F.conv_transpose2d(y, state[f'{key}.weight'], state[f'{key}.bias'], stride=2)

    raw = [up(F.gelu(norm(up(x, 'levels.0.0'), 'levels.0.1')), 'levels.0.3'), up(x, 'levels.1.0'),
           x, F.max_pool2d(x, 2, ceil_mode=True)]
    reference = []
    for n, (y, at) in enumerate(zip(raw, (4, 1, 0, 1), strict=True)):
        key = f'levels.{n}'
        y = norm(F.conv2d(y, state[f'{key}.{at}.weight']), f'{key}.{at + 1}')
        reference.append(norm(F.conv2d(y, state[f'{key}.{at + 2}.weight'], padding=1),
                              f'{key}.{at + 3}'))
    reference.append(F.max_pool2d(reference[-1], 1, stride=2))
    for level, expected in zip(neck([x]), reference, strict=True):
        torch.testing.assert_close(level, expected, atol=1e-4, rtol=1e-4)
    assert not any(key.startswith('levels.4') for key in state)


def test_a_level_without_its_half_is_made_of_the_map():
    neck = SimpleFPN(16, 24, strides=(16, 64))
    assert [tuple(x.shape[-2:]) for x in neck([torch.randn(1, 16, 5, 7)])] == [(5, 7), (2, 2)]
    assert len(neck.levels) == 2


def test_one_map_for_each_level():
    neck = SimpleFPN(16, None, strides=(8, 16))
    maps = [torch.randn(1, 16, 4, 4), torch.randn(1, 16, 4, 4)]
    assert torch.equal(neck(maps)[1], maps[1])
    with pytest.raises(ValueError, match='takes 1 or 2 maps, got 3'):
        neck([*maps, maps[0]])


def test_impossible_stride():
    with pytest.raises(ValueError, match='stride 12 is not a power of two from 16'):
        SimpleFPN(16, strides=(12, ))


def test_layout_of_levels_on_a_gpu():
    """Regions are cut out of contiguous maps; for segmentation nothing is copied to another
    layout: tokens come as channels last, and stay so."""
    from tests.simulated_gpu import move, simulated_gpu

    class Copies(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.count += func.name() in ('aten::clone', 'aten::contiguous', 'aten::copy_')
            return func(*args, **(kwargs or {}))

    for out, contiguous in ((24, True), (None, False)):
        neck = SimpleFPN(16, out, strides=(4, 8, 16, 32))
        with simulated_gpu():
            move(neck)
            tokens = torch.zeros(2, 6 * 8, 16, device='cuda')
            maps = [tokens.transpose(1, 2).unflatten(2, (6, 8))] * 4
            with Copies() as counter:
                levels = neck(maps)
        for level in levels:
            assert level.is_contiguous() == contiguous
            assert level.is_contiguous(memory_format=torch.channels_last) != contiguous
        if not contiguous:
            assert counter.count == 0
    assert SimpleFPN(16, None, contiguous=True).contiguous


@pytest.mark.parametrize(('in_stride', 'stride'), [(13, 6), (16, 0), (14, 3)])
def test_strides_that_are_no_power_of_two_away(in_stride, stride):
    with pytest.raises(ValueError, match=f'stride {stride} is not a power of two from {in_stride}'):
        SimpleFPN(16, 16, in_stride=in_stride, strides=(stride, ))
