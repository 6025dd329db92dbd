import pytest
import torch
from timm.layers import resample_abs_pos_embed

from mmvitlin.models.layers.position import bicubic_weights, resize_positions


@pytest.mark.parametrize(('old', 'new'), [((14, 14), (14, 14)), ((14, 14), (28, 9)),
                                          ((7, 20), (3, 61)), ((5, 5), (1, 1))])
def test_as_matrices_it_is_the_same_interpolation(old, new):
    positions = torch.randn(1, old[0] * old[1], 6)
    expected = resample_abs_pos_embed(positions, list(new), list(old), num_prefix_tokens=0)
    rows, columns = (bicubic_weights(a, b, positions) for a, b in zip(old, new, strict=True))
    actual = torch.einsum('ih,jw,bhwc->bijc', rows, columns, positions.unflatten(1, old))
    torch.testing.assert_close(actual.flatten(1, 2), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(('old', 'new'), [((2, 8), (4, 4)), ((1, 9), (3, 3)), ((4, 4), (2, 8)),
                                          ((6, 2), (3, 4)), ((7, 20), (14, 40))])
def test_grids_of_as_many_patches_are_interpolated(old, new, monkeypatch):
    """Also where timm is one that takes equal counts on a square for equal grids."""
    from mmvitlin.models.layers import position
    monkeypatch.setattr(position, 'resample_abs_pos_embed', lambda positions, *args, **kwargs:
                        positions, raising=False)
    positions = torch.randn(1, old[0] * old[1], 6)
    rows, columns = (bicubic_weights(a, b, positions) for a, b in zip(old, new, strict=True))
    expected = torch.einsum('ih,jw,bhwc->bijc', rows, columns, positions.unflatten(1, old))
    actual = resize_positions(positions, old, new)
    torch.testing.assert_close(actual, expected.flatten(1, 2), atol=1e-5, rtol=1e-5)
    half = resize_positions(positions.bfloat16(), old, new)
    assert half.dtype == torch.bfloat16
    assert resize_positions(positions, old, old) is positions


def test_a_timm_network_on_another_grid_of_as_many_patches():
    """What setup.py asks of timm: positions of (2, 8) are interpolated to (4, 4)."""
    from mmvitlin.models import TimmViT
    net = TimmViT('vit_tiny_patch16_224', img_size=(32, 128), pretrained=False,
                  model_kwargs=dict(embed_dim=48, depth=1, num_heads=3)).eval()
    positions = net.vit.pos_embed[:, 1:]
    x, _ = net._embed_positions(torch.zeros(1, 4, 4, 48))
    expected = resize_positions(positions, (2, 8), (4, 4))
    torch.testing.assert_close(x[:, 1:], expected)
    assert (expected - positions).abs().max() > 1e-3
