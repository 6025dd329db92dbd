"""Checkpoints of whole models that cannot be what is meant."""
import pytest
import torch

from mmvitlin.engine.rules import check_start, check_whole
from mmvitlin.models.utils.checkpoint import read_state_dict
from mmvitlin.utils.errors import CheckpointError


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = torch.nn.Linear(2, 2)


@pytest.mark.parametrize('ask', [check_whole, check_start])
@pytest.mark.parametrize(('averaged', 'refused'), [('state_dict_ema', True), ('model_ema', True),
                                                   ('student', False)])
def test_two_sets_of_weights(tmp_path, ask, averaged, refused):
    """A Runner would load the one, and the inferencers the other."""
    net, path = Net(), str(tmp_path / 'a.pth')
    torch.save({'state_dict': net.state_dict(), averaged: net.state_dict()}, path)
    if not refused:
        ask(net, path)
        return
    with pytest.raises(CheckpointError, match=f"a.pth has weights under '{averaged}' and under "
                                              "'state_dict'.*save them alone"):
        ask(net, path)
    torch.save(dict(state_dict=torch.load(path)[averaged]), path)  # as the message says
    ask(net, path)


@pytest.mark.parametrize('ask', [check_whole, check_start])
def test_weights_that_are_no_numbers(tmp_path, ask):
    net, path = Net(), str(tmp_path / 'a.pth')
    with torch.no_grad():
        net.backbone.weight[1, 1] = float('nan')
    torch.save(dict(state_dict=net.state_dict()), path)
    with pytest.raises(CheckpointError, match='a.pth: backbone.weight has NaN'):
        ask(net, path)


def test_a_file_without_weights_says_what_it_has(tmp_path):
    torch.save(dict(net={'a': torch.ones(1)}, epoch=3), tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=r"it has \['epoch', 'net'\]. Save its state dict"):
        read_state_dict(tmp_path / 'a.pth')
