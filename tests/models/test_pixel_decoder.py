"""Mask2Former's pixel decoder under autocast: float32 values for mmcv's attention."""
import pytest
import torch

from mmvitlin.compat import detection

pytestmark = pytest.mark.skipif(bool(detection.lacking()), reason='needs mmdet and ops of mmcv')


@pytest.fixture
def decoders():
    from mmengine.config import ConfigDict
    from mmengine.registry import MODELS, DefaultScope

    import mmvitlin.registry  # noqa: F401
    encoder = ConfigDict(num_layers=2, layer_cfg=dict(
        self_attn_cfg=dict(embed_dims=32, num_heads=2, num_levels=3, num_points=2, dropout=0.,
                           batch_first=True),
        ffn_cfg=dict(embed_dims=32, feedforward_channels=32, num_fcs=2, ffn_drop=0.)))
    cfg = dict(in_channels=[8, 8, 8, 8], feat_channels=32, out_channels=32, encoder=encoder,
               norm_cfg=dict(type='GN', num_groups=4),
               positional_encoding=dict(num_feats=16, normalize=True))
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        decoder, reference = (
            MODELS.build(dict(cfg, type=f'{scope}.MSDeformAttnPixelDecoder')).eval()
            for scope in ('mmvitlin', 'mmdet'))
    decoder.load_state_dict(reference.state_dict())
    return decoder, reference


def run(decoder, maps):
    mask, levels = decoder([m.detach() for m in maps])
    return [mask, *levels]


def test_values(decoders, monkeypatch):
    from mmvitlin.models.decode_heads import pixel_decoder as mmcv_attention
    decoder, reference = decoders
    maps = [torch.randn(1, 8, 32 >> n, 48 >> n) for n in range(4)]
    exact = run(reference, maps)
    for a, b in zip(run(decoder, maps), exact, strict=True):
        assert torch.equal(a, b)
    types, usual = [], mmcv_attention.multi_scale_deformable_attn_pytorch
    monkeypatch.setattr(mmcv_attention, 'multi_scale_deformable_attn_pytorch',
                        lambda value, *args: (types.append(value.dtype), usual(value, *args))[1])
    with torch.autocast('cpu', torch.bfloat16):
        halves = run(decoder, maps)
    # of this type mmcv takes its compiled operator on a GPU
    assert types == [torch.float32] * 2
    for a, b in zip(halves, exact, strict=True):
        assert (a.float() - b).norm() < 0.02 * b.norm()
    types.clear()
    decoder.train()
    with torch.autocast('cpu', torch.bfloat16):
        sum(x.float().square().mean() for x in run(decoder, maps)).backward()
    values = [p.grad for name, p in decoder.named_parameters() if 'value_proj.weight' in name]
    assert len(values) == 2
    assert all(g.abs().max() > 0 for g in values)
