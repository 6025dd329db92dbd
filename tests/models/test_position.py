import pytest
import torch
from timm.layers import resample_abs_pos_embed

from mmvitlin.models.layers.position import bicubic_weights


@pytest.mark.parametrize(('old', 'new'), [((14, 14), (14, 14)), ((14, 14), (28, 9)),
                                          ((7, 20), (3, 61)), ((5, 5), (1, 1))])
def test_as_matrices_it_is_the_same_interpolation(old, new):
    positions = torch.randn(1, old[0] * old[1], 6)
    want = resample_abs_pos_embed(positions, list(new), list(old), num_prefix_tokens=0)
    rows, columns = (bicubic_weights(a, b, positions) for a, b in zip(old, new, strict=True))
    got = torch.einsum('ih,jw,bhwc->bijc', rows, columns, positions.unflatten(1, old))
    torch.testing.assert_close(got.flatten(1, 2), want, atol=1e-5, rtol=1e-5)
