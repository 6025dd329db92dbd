"""Resizing and pooling as products, and what of them is left in a file."""
import pytest
import torch
import torch.nn.functional as F

from mmvitlin.apis.export import Deployed, export
from mmvitlin.apis.symbolic import SymbolicSizes, bilinear_weights, pooling_weights
from mmvitlin.models import Adventurer, TimmViT


@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize(('old', 'new'), [(5, 17), (17, 5), (4, 4), (1, 9)])
def test_bilinear_interpolation_as_products(old, new, align_corners):
    scores = torch.randn(1, 2, old, 3)
    expected = F.interpolate(scores, size=(new, 3), mode='bilinear',
                             align_corners=align_corners)
    actual = bilinear_weights(old, new, scores, align_corners) @ scores
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(('old', 'bins'), [(7, 3), (6, 6), (2, 3), (13, 1), (5, 6)])
def test_adaptive_pooling_as_products(old, bins):
    scores = torch.randn(1, 2, old, 4)
    expected = F.adaptive_avg_pool2d(scores, (bins, 4))
    torch.testing.assert_close(pooling_weights(old, bins, scores) @ scores, expected)


class Resizing(torch.nn.Module):
    def forward(self, x):
        small = F.max_pool2d(x, 2, ceil_mode=True)
        return (F.interpolate(small, x.shape[2:], mode='bilinear', align_corners=False),
                F.interpolate(x, small.shape[2:], mode='bilinear', align_corners=True),
                F.adaptive_avg_pool2d(x, 3), F.adaptive_avg_pool2d(x, (2, 5)), small,
                F.max_pool2d(x, 3, ceil_mode=True))


def test_resizing_and_pooling_at_symbolic_sizes():
    sizes = torch.export.Dim.DYNAMIC
    with SymbolicSizes():
        run = torch.export.export(Resizing(), (torch.randn(2, 3, 22, 31), ), strict=False,
                                  dynamic_shapes=dict(x={0: sizes, 2: sizes, 3: sizes})).module()
    for shape in ((1, 3, 7, 6), (2, 3, 22, 31), (3, 3, 9, 40)):
        x = torch.randn(shape)
        for actual, expected in zip(run(x), Resizing()(x), strict=True):
            torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('size', [(7, 9), (4, 20), (5, 6), (2, 3)])
def test_positions_as_products_at_plain_sizes(size):
    grid = torch.randn(1, 3, 5, 6)
    expected = F.interpolate(grid, size, mode='bicubic', antialias=True)
    with SymbolicSizes():
        for actual in (F.interpolate(grid, size=size, mode='bicubic', antialias=True),
                       F.interpolate(grid, size, mode='bicubic', antialias=True)):
            torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)
        assert F.interpolate(grid, (5, 6), mode='bicubic', antialias=True) is grid


@pytest.mark.parametrize('size', [(64, 96), (96, 64)])  # that of the positions, and another
@pytest.mark.parametrize('kind', ['softmax', 'focal', 'adventurer'])
def test_files_resize_no_positions(kind, size, tmp_path):
    """onnxruntime would do so in every run, and OpenVINO takes minutes for it when it loads."""
    onnx = pytest.importorskip('onnx', reason='needs onnx')
    pytest.importorskip('onnxscript', reason='writing ONNX needs onnxscript')
    if kind == 'adventurer':
        net = Adventurer(dict(embed_dims=32, num_layers=1), img_size=(64, 96))
    else:
        net = TimmViT('vit_tiny_patch16_224', attention=kind, img_size=(64, 96),
                      model_kwargs=dict(embed_dim=32, depth=1, num_heads=2))
    written = export(Deployed(net.eval(), [0.] * 3, [255.] * 3), tmp_path / 'a.onnx', 'onnx', size,
                     dynamic=False)
    assert written is not None
    kinds = [node.op_type for node in onnx.load(tmp_path / 'a.onnx').graph.node]
    assert 'MatMul' in kinds
    assert 'Resize' not in kinds
