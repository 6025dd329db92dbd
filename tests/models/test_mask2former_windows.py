"""Mask2Former on windows of an image: scores, and labels by mmseg's metric; and exported."""
import pytest
import torch
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from mmvitlin.apis.export import Deployed, ExportError, export
from mmvitlin.apis.writers import sample_images
from mmvitlin.compat import detection
from mmvitlin.deploy import open_file
from mmvitlin.engine.runner.config import load_config
from tests.conftest import ROOT
from tests.detecting import needs_mmdet

pytestmark = needs_mmdet
SIZE, CROP, STRIDE = (64, 96), (64, 64), (64, 32)


@pytest.fixture(scope='module')
def net():
    """The config's network with a small backbone, one layer of each kind, and its own head."""
    model = load_config(str(ROOT / 'configs/seg/mask2former_adventurer-base_cityscapes-1024.py'), {
        'model.backbone.arch': dict(embed_dims=32, num_layers=2), 'model.backbone.init_cfg': None,
        'model.backbone.img_size': (64, 64), 'model.backbone.out_indices': (0, 0, 1, 1),
        'model.neck.in_channels': 32, 'model.decode_head.in_channels': [32] * 4,
        'model.decode_head.num_queries': 12,
        'model.decode_head.pixel_decoder.encoder.num_layers': 1,
        'model.decode_head.transformer_decoder.num_layers': 1}).model
    detection.prepare('this test')
    init_default_scope('mmseg')
    torch.manual_seed(4)
    net = MODELS.build(model).eval()
    head = net.decode_head
    for p in (*head.cls_embed.parameters(), *head.query_feat.parameters(),
              *head.mask_embed.parameters()):
        torch.nn.init.normal_(p, std=1.)  # so that queries, and with them labels, differ
    return net


def sample():
    return SegDataSample(metainfo=dict(img_shape=SIZE, ori_shape=SIZE, pad_shape=SIZE,
                                       img_path='x.png'))


def scores_of(net, image):
    """mmseg's scores of an image that is one window."""
    size = tuple(image.shape[2:])
    metas = [dict(img_shape=size, ori_shape=size, pad_shape=size)]
    with torch.no_grad():
        return net.decode_head.predict(net.extract_feat(image), metas, net.test_cfg)[0]


def test_overlapping_windows_are_averaged(net):
    image = torch.randn(1, 3, *SIZE)
    net.test_cfg.update(mode='slide', crop_size=CROP, stride=STRIDE, strip_mib=0.01)
    with torch.no_grad():
        source, = net.row_sources(image, [sample()])
        actual = torch.cat([rows for _, _, rows in source.strips(0.01)], dim=1)
    left, right = scores_of(net, image[..., :64]), scores_of(net, image[..., 32:])
    expected = torch.zeros(19, *SIZE)
    expected[..., :64] += left
    expected[..., 32:] += right
    expected[..., 32:64] /= 2
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-4)
    with torch.no_grad():
        labels = net.predict(image, [sample()])[0].pred_sem_seg.data
    assert labels.dtype == torch.int64
    assert (labels[0] == expected.argmax(0)).float().mean() > 0.999
    assert len(labels.unique()) > 1


def test_one_window_is_the_whole_image(net):
    image = torch.randn(1, 3, *SIZE)
    windows = []
    for mode in (dict(mode='whole'), dict(mode='slide', crop_size=SIZE, stride=SIZE)):
        net.test_cfg.update(mode)
        with torch.no_grad():
            windows.append(net.predict(image, [sample()])[0].pred_sem_seg.data)
    assert torch.equal(*windows)


def test_its_file_of_one_size_gives_its_labels(net, tmp_path):
    pytest.importorskip('onnxruntime', reason='needs onnxruntime')
    deployed = Deployed(net, [0.] * 3, [255.] * 3).eval()
    with pytest.raises(ExportError, match='written for one image size'):
        export(deployed, tmp_path / 'net.onnx', 'onnx', CROP)
    # sums in another order may move a mask of the decoder across its threshold
    report = export(deployed, tmp_path / 'net.onnx', 'onnx', CROP, dynamic=False, tolerance=1e-2,
                    label_tolerance=1e-2)
    assert report.label_error < 1e-2
    images = sample_images(CROP)
    labels, scores = (torch.from_numpy(a) for a in open_file(tmp_path / 'net.onnx').run(
        images.numpy()).values())
    expected = scores_of(net, images / 255)
    assert labels.unique().numel() > 1
    assert (labels[0] != expected.argmax(0)).float().mean() < 1e-2
    assert scores.shape == (1, 19, 64, 64)
