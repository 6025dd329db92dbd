"""Window attention against attention over each window by itself."""
import pytest
import torch
import torch.nn.functional as F

from mmvitlin.models.layers import WindowAttention
from tests.models.test_timm_vit import FAMILIES, build


def by_hand(attn, x, layout, rope=None):
    """Every patch by itself: the keys of its window, found by coordinates."""
    q, k, v = attn.queries_keys_values(x, rope)
    (h, w), s = layout.grid, attn.window
    prefix = x.shape[1] - h * w
    rows, cols = torch.arange(h * w) // w, torch.arange(h * w) % w
    same = (rows[:, None] // s == rows // s) & (cols[:, None] // s == cols // s)
    mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool)
    mask[prefix:, :prefix] = False
    mask[prefix:, prefix:] = same
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=attn.scale)
    return attn.project(y.transpose(1, 2).flatten(2), x)


@pytest.mark.parametrize('family', FAMILIES)
@pytest.mark.parametrize('sides', [(4, 6), (5, 7), (2, 2)])
def test_it_equals_attention_under_a_mask(family, sides, monkeypatch):
    net = build(family, attention='window', softmax_layers=(-1, ), window=3)
    assert net.attention == ('window', 'window', 'softmax')
    images = torch.randn(2, 3, *(net.patch_size * s for s in sides))
    fast, = net.forward_tokens(images)
    monkeypatch.setattr(WindowAttention, 'forward',
                        lambda self, x, rope=None, attn_mask=None, **_: by_hand(
                            self, x, attn_mask, rope))
    slow, = net.forward_tokens(images)
    torch.testing.assert_close(fast.patches, slow.patches, atol=2e-5, rtol=1e-4)
    if net.has_cls:
        torch.testing.assert_close(fast.cls, slow.cls, atol=2e-5, rtol=1e-4)


def test_one_window_around_everything_is_softmax_attention_of_patches():
    window = build('siglip', attention='window', window=14)  # no prefix tokens
    softmax = build('siglip')
    softmax.load_state_dict(window.state_dict())
    images = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(window(images)[0], softmax(images)[0], atol=2e-5, rtol=1e-4)


def test_bad_window():
    with pytest.raises(ValueError, match='window must be at least 1'):
        build('clip', attention='window', window=0)
