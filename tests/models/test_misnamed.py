"""Checkpoints whose names have something in front, and those of whole numbers."""
import pytest
import torch

from mmvitlin.engine.rules import check_start, check_whole
from mmvitlin.models.utils.checkpoint import fit_state_dict
from mmvitlin.models.utils.misnamed import without_a_part
from mmvitlin.utils.errors import CheckpointError


class Net(torch.nn.Module):

    def __init__(self):
        super().__init__()
        self.backbone = torch.nn.Sequential(*(torch.nn.Linear(2, 2) for _ in range(3)))


def test_what_stands_in_front_of_names():
    own = ['blocks.0.weight', 'blocks.1.weight', 'blocks.2.weight', 'norm.weight']
    compiled = ['backbone._orig_mod.a', '_orig_mod.backbone._orig_mod.b']
    assert "Without 'encoder.' in them 4 of" in without_a_part(own, [f'encoder.{k}' for k in own])
    assert "'net.vit.'" in without_a_part(own, [f'net.vit.{k}' for k in own] + ['net.head.weight'])
    assert "'_orig_mod.'" in without_a_part(['backbone.a', 'backbone.b'], compiled)
    assert "k.removeprefix('encoder.')" in without_a_part(own, [f'encoder.{k}' for k in own])
    assert "k.replace('_orig_mod.', '')" in without_a_part(['backbone.a', 'backbone.b'], compiled)
    for there in (own, own[:2], ['x.y'], [], [f'encoder.{k}' for k in own[:2]]):
        assert without_a_part(own, there) == ''


@pytest.mark.parametrize('part', ['_orig_mod.', 'model.'])
def test_loading_says_what_to_take_out(tmp_path, part):
    net, path = Net(), str(tmp_path / 'net.pth')
    torch.save({f'{part}{k}': v for k, v in net.state_dict().items()}, path)
    for load in (check_start, check_whole):
        with pytest.raises(CheckpointError, match=f"Without '{part}' in them 6 of its names"):
            load(net, path)
    state = {f'{part}{k}': v for k, v in net.backbone.state_dict().items()}
    with pytest.raises(CheckpointError, match=f"Without '{part}' in them 6 of its names"):
        fit_state_dict(net.backbone, state, path)


def test_quantised_weights_are_refused(tmp_path):
    net, path = Net(), str(tmp_path / 'net.pth')
    state = {k: v.mul(100).to(torch.int8) for k, v in net.state_dict().items()}
    torch.save(state, path)
    for load in (check_start, check_whole):
        with pytest.raises(CheckpointError, match='0.weight holds numbers of type int8'):
            load(net, path)
    inside = {k.removeprefix('backbone.'): v for k, v in state.items()}
    with pytest.raises(CheckpointError, match='0.weight holds numbers of type int8'):
        fit_state_dict(net.backbone, inside, path)
    torch.save({k: v.to(torch.float8_e4m3fn) for k, v in net.state_dict().items()}, path)
    with pytest.raises(CheckpointError, match='0.weight holds numbers of type float8_e4m3fn'):
        check_whole(net, path)
    half = {k: v.half() for k, v in net.state_dict().items()}
    torch.save(half, path)
    check_whole(net, path)
