"""ViTs whose attention is exact nearby and sees the rest as means."""
import pytest
import torch

from mmvitlin.models.layers import FocalAttention, TokenLayout
from mmvitlin.ops import focal_attention_reference
from mmvitlin.utils.errors import CheckpointError
from tests.models.test_timm_vit import FAMILIES, build


def by_reference(attn, x, rope=None, attn_mask=None, **_):
    q, k, v = attn.queries_keys_values(x, rope)
    y = focal_attention_reference(q, k, v, attn_mask.grid, attn.block, attn.cells, attn.scale)
    return attn.project(y.transpose(1, 2).flatten(2), x)


@pytest.mark.parametrize('family', FAMILIES)
def test_every_family(family, monkeypatch):
    net = build(family, attention='focal', focal_cfg=dict(block=2, cells=(2, 3))).eval()
    images = torch.randn(2, 3, 5 * net.patch_size, 7 * net.patch_size)
    fast, = net.forward_tokens(images)
    monkeypatch.setattr(FocalAttention, 'forward', by_reference)
    slow, = net.forward_tokens(images)
    torch.testing.assert_close(fast.patches, slow.patches, atol=2e-5, rtol=1e-4)


def test_where_everything_is_near_it_is_the_softmax_network():
    softmax = build('dinov2 registers').eval()
    net = build('dinov2 registers', attention='focal').eval()
    assert net.state_dict().keys() == softmax.state_dict().keys()
    net.inherit(softmax)
    images = torch.randn(1, 3, 8 * net.patch_size, 5 * net.patch_size)
    torch.testing.assert_close(net(images)[0], softmax(images)[0], atol=1e-4, rtol=1e-3)
    larger = torch.randn(1, 3, 12 * net.patch_size, 12 * net.patch_size)
    assert (net(larger)[0] - softmax(larger)[0]).abs().max() > 1e-3


def test_it_trains_as_it_runs():
    net = build('clip', attention='focal', focal_cfg=dict(block=2, cells=2)).train()
    images = torch.randn(2, 3, 5 * net.patch_size, 4 * net.patch_size)
    net(images)[0].square().mean().backward()
    assert all(block.attn.qkv.weight.grad.abs().sum() > 0 for block in net.vit.blocks)
    with torch.no_grad():
        torch.testing.assert_close(net(images)[0], net.eval()(images)[0], atol=1e-4, rtol=1e-3)


def test_checkpoints_say_blocks_and_cells(tmp_path):
    net = build('clip', attention='focal', focal_cfg=dict(block=2, cells=3))
    assert net.describe()['focal_cfg'] == dict(block=2, cells=[3, 3])
    path = tmp_path / 'a.pth'
    torch.save(dict(state_dict={f'backbone.{k}': v for k, v in net.state_dict().items()},
                    meta=dict(backbone=net.describe())), path)
    other = build('clip', attention='focal')  # no weights depend on blocks and cells
    assert other.load_weights(path, 'backbone.').matched
    for attention in ('softmax', 'linear'):
        with pytest.raises(CheckpointError, match='trained with focal attention'):
            build('clip', attention=attention).load_weights(path, 'backbone.')


@pytest.mark.parametrize('cfg', [dict(block=3), dict(block=0), dict(block=4.0),
                                 dict(block='4'), dict(cells=0), dict(cells='8'), dict(cells=2.5),
                                 dict(cells=(8., 8)), dict(cells=(1, 2, 3))])
def test_what_cannot_be(cfg):
    with pytest.raises(ValueError, match='must be'):
        build('clip', attention='focal', focal_cfg=cfg)


def test_it_needs_the_grid():
    attn = build('clip', attention='focal').vit.blocks[0].attn
    with pytest.raises(RuntimeError, match='needs the grid'):
        attn(torch.randn(1, 17, 48))
    with pytest.raises(ValueError, match='not causal'):
        attn(torch.randn(1, 17, 48), attn_mask=TokenLayout((4, 4)), is_causal=True)
