"""Statistics of the first batches, where there is little to take them from."""
import pytest
import torch

from mmvitlin.models.losses.target_norm import TargetStandardizer


@pytest.mark.parametrize('kind', ['phi_s', 'standardize'])
def test_a_single_token_has_no_deviation_to_divide_by(kind):
    norm = TargetStandardizer(6, kind, num_batches=4, both=True)
    x = 100 * torch.randn(1, 6)
    norm.observe(x)
    prediction, target = norm(x + 1, x)
    assert (prediction - target).abs().max() < 1.1
    norm.observe(torch.randn(9, 6))
    assert (norm.scale != 1).all()
