"""Zeros around a tensor, without a copy where there are none."""
import torch
import torch.nn.functional as F

from mmvitlin.ops.padding import zeros_around


def test_is_torchs_padding_and_copies_nothing_without_need():
    x = torch.randn(2, 3, 4)
    assert torch.equal(zeros_around(x, 1, 2, 0, 3), F.pad(x, (1, 2, 0, 3)))
    assert zeros_around(x, 0, 0, 0, 0) is x
    assert F.pad(x, (0, 0)).data_ptr() != x.data_ptr()  # why it is here
