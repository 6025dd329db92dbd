"""What is exported computes the same elsewhere."""
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from mmvitlin.apis import SegInferencer
from mmvitlin.apis.export import (
    Exported,
    ExportError,
    _compare,
    export,
    load_trained,
)
from mmvitlin.deploy import ExportedModel
from mmvitlin.models import Adventurer
from mmvitlin.models.utils import read_state_dict
from mmvitlin.models.utils.checkpoint import read_meta
from mmvitlin.utils.errors import CheckpointError, ConfigError
from tests.conftest import ROOT

LONG = pytest.mark.skipif('MMVITLIN_LONG_TESTS' not in os.environ,
                          reason='takes minutes; set MMVITLIN_LONG_TESTS=1')
SIZES = [(64, 64), (64, 128), (97, 50), (320, 256), (144, 224)]  # the last fills a chunk


def onnx(path):
    runtime = pytest.importorskip('onnxruntime', reason='needs onnxruntime')
    session = runtime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    return lambda images: session.run(None, {'images': images.numpy()})


@pytest.fixture(scope='module')
def student(tmp_path_factory):
    """A distillation config and a student of it."""
    folder = tmp_path_factory.mktemp('student')
    cfg = Config.fromfile(ROOT / 'configs/distill/linearizer_adventurer-nano_streets.py')
    cfg.model.backbone.update(arch=dict(embed_dims=32, num_layers=3), out_indices=(1, 2))
    cfg.dump(folder / 'config.py')
    init_default_scope('mmengine')
    torch.manual_seed(0)
    net = MODELS.build(cfg.model.backbone)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    torch.save(dict(state_dict={f'backbone.{k}': v for k, v in net.state_dict().items()}),
               folder / 'student.pth')
    return str(folder / 'config.py'), str(folder / 'student.pth')


def test_what_would_be_written_as_something_else(student, segmentor, tmp_path):
    with pytest.raises(ConfigError, match='of the kind checkpoint; call it net.pth'):
        export(load_trained(*student), tmp_path / 'net.safetensors', 'checkpoint')
    in_windows = load_trained(*segmentor, {'model.test_cfg': dict(
        mode='slide', crop_size=(64, 64), stride=(32, 32))})
    with pytest.raises(ConfigError, match='tests in windows of 64×64'):
        export(in_windows, tmp_path / 'net.onnx', 'onnx', (64, 128))
    with pytest.raises(ConfigError, match='for whole images'):
        export(in_windows, tmp_path / 'net.onnx', 'onnx', dynamic=True)


def test_a_network_that_is_tested_in_windows(segmentor, tmp_path):
    pytest.importorskip('onnxruntime', reason='needs onnxruntime')
    windows = {'model.test_cfg': dict(mode='slide', crop_size=(64, 96), stride=(40, 56))}
    report = export(load_trained(*segmentor, windows), tmp_path / 'net.onnx', 'onnx')
    assert report.shapes == ((1, 64, 96), )
    model = ExportedModel(tmp_path / 'net.onnx', resize=False)
    assert (model.meta['size'], model.meta['stride']) == ([64, 96], [40, 56])
    infer = SegInferencer(*segmentor, scale='original', cfg_options=windows)
    for size in ((64, 96), (150, 230)):
        image = np.random.RandomState(0).randint(0, 255, (*size, 3)).astype(np.uint8)
        expected = infer([image])[0].labels
        assert (model(image).labels != expected).mean() < 1e-3
        elsewhere = ExportedModel(tmp_path / 'net.onnx', resize=False, overlap=0.)
        assert size == (64, 96) or (elsewhere(image).labels != expected).mean() > 1e-3


def test_the_student_of_class_probabilities(tmp_path):
    path = str(ROOT / 'configs/distill/logits_adventurer-nano_camvid.py')
    cfg = Config.fromfile(path)
    init_default_scope('mmengine')
    net = MODELS.build(cfg.model.student.backbone)
    torch.save(dict(meta=dict(finished=False), state_dict={
        f'backbone.{k}': v for k, v in net.state_dict().items()}), tmp_path / 'student.pth')
    deployed = load_trained(path, str(tmp_path / 'student.pth'))
    assert all(torch.equal(v, net.state_dict()[k]) for k, v in deployed.net.state_dict().items())
    for kind, name in (('checkpoint', 'a.pth'), ('safetensors', 'a.safetensors')):
        export(deployed, tmp_path / name, kind)
        meta = read_meta(tmp_path / name)
        assert meta['finished'] is False
        assert meta['normalisation']['mean'] == [123.675, 116.28, 103.53]


def test_a_backbone_as_onnx_at_sizes_it_was_not_traced_at(student, tmp_path):
    pytest.importorskip('onnxscript', reason='writing ONNX needs onnxscript')
    net = load_trained(*student)
    images = [(255 * torch.rand(2, 3, *size)).round() for size in SIZES]
    with torch.inference_mode():
        expected_grads = [net(i) for i in images]
    report = export(net, tmp_path / 'net.onnx', 'onnx', (64, 96))
    assert report.outputs == ('features_1', 'features_2')
    assert report.error < 1e-4
    run = onnx(tmp_path / 'net.onnx')
    for image, expected in zip(images, expected_grads, strict=True):
        for reference, actual in zip(run(image), expected, strict=True):
            assert reference.shape == tuple(actual.shape)
            assert np.abs(reference - actual.numpy()).max() < 1e-4 * actual.abs().max()


def test_a_segmentor_as_onnx_gives_labels(segmentor, exported):
    net = load_trained(*segmentor)
    image = (255 * torch.rand(1, 3, 150, 210)).round()
    with torch.inference_mode():
        expected = net(image)[0]
    actual = onnx(exported['any'])(image)[0]
    assert actual.dtype == np.uint8
    assert actual.shape == (1, 150, 210)
    assert np.mean(actual != expected.numpy()) < 1e-3


def test_a_pyramid_and_its_pooling_at_any_size(tmp_path):
    """UPerNet resizes levels to one another and pools to fixed grids."""
    cfg = Config.fromfile(ROOT / 'configs/seg/cityscapes_1024.py')
    cfg.model.backbone.update(arch=dict(embed_dims=32, num_layers=2), out_indices=[0, 1, 1, 1],
                              init_cfg=None)
    cfg.model.neck.update(in_channels=32, out_channels=8)
    cfg.model.decode_head.update(in_channels=[8] * 4, channels=8, norm_cfg=dict(type='BN'))
    cfg.model.pop('auxiliary_head', None)
    cfg.model.test_cfg = dict(mode='whole')
    cfg.dump(tmp_path / 'config.py')
    init_default_scope('mmseg')
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), tmp_path / 'a.pth')
    net = load_trained(str(tmp_path / 'config.py'), str(tmp_path / 'a.pth'))
    report = export(net, tmp_path / 'a.pt2', 'torch', (64, 96))
    assert report.error < 1e-4
    assert report.label_error < 1e-3


def test_its_labels_are_the_segmentors(segmentor):
    from mmvitlin.apis import SegInferencer
    image = np.random.RandomState(0).randint(0, 255, (64, 128, 3)).astype(np.uint8)
    expected = SegInferencer(*segmentor, scale='original')([image])[0].labels
    with torch.inference_mode():
        actual = load_trained(*segmentor)(torch.from_numpy(image).permute(2, 0, 1)[None].float())[0]
    assert np.mean(actual[0].numpy() != expected) < 1e-3


def test_as_a_torch_programme(student, tmp_path):
    net = load_trained(*student)
    image = (255 * torch.rand(1, 3, 97, 50)).round()
    with torch.inference_mode():
        expected = net(image)
    export(net, tmp_path / 'net.pt2', 'torch', (64, 96))
    actual = torch.export.load(tmp_path / 'net.pt2').module()(image)
    torch.testing.assert_close(list(actual), list(expected), atol=1e-4, rtol=1e-3)


def test_the_program_needs_no_custom_operator(student, tmp_path):
    export(load_trained(*student), tmp_path / 'net.pt2', 'torch', (64, 96), dynamic=False)
    graph = torch.export.load(tmp_path / 'net.pt2').graph
    used = {str(node.target) for node in graph.nodes if node.op == 'call_function'}
    assert not [name for name in used if 'mmvitlin' in name]
    assert any('cumsum' in name for name in used)


def test_the_network_is_as_it_was(student, tmp_path):
    net = load_trained(*student)
    before = {name: type(m) for name, m in net.named_modules()}
    export(net, tmp_path / 'net.pt2', 'torch', (64, 64), dynamic=False)
    assert {name: type(m) for name, m in net.named_modules()} == before
    assert all(layer.mixer.backend == 'auto' for layer in net.net.layers)


@LONG
def test_as_a_compiled_package(student, tmp_path):
    report = export(load_trained(*student), tmp_path / 'net.pt2', 'aot', (64, 96))
    assert report.error < 1e-4
    assert (tmp_path / 'net.pt2').is_file()


@LONG
def test_a_segmentor_as_a_compiled_package(segmentor, tmp_path):
    report = export(load_trained(*segmentor), tmp_path / 'seg.pt2', 'aot', (64, 128))
    assert report.error < 1e-4
    assert report.label_error < 1e-3


@pytest.mark.parametrize(('kind', 'name'), [('checkpoint', 'a.pth'),
                                            ('safetensors', 'a.safetensors')])
def test_weights_come_back(student, tmp_path, kind, name):
    export(load_trained(*student), tmp_path / name, kind)
    original, written = (read_state_dict(p) for p in (student[1], tmp_path / name))
    assert original.keys() == written.keys()
    assert all(torch.equal(original[k], written[k]) for k in original)
    net = Adventurer(dict(embed_dims=32, num_layers=3), img_size=(192, 384))
    assert net.load_weights(str(tmp_path / name)).matched
    other = Adventurer(dict(embed_dims=32, num_layers=3), img_size=(192, 384), flip_schedule=[0])
    with pytest.raises(CheckpointError, match='reversed'):  # the file says how it scans
        other.load_weights(str(tmp_path / name))


@pytest.mark.parametrize(('written', 'attention', 'mamba2_cfg'), [
    ('torch', 'softmax', {}), ('torch', 'focal', {}), ('torch', 'mamba2', {}),
    ('torch', 'mamba2', dict(directions='one')),
    pytest.param('onnx', 'mamba2', {}, marks=LONG),
    pytest.param('onnx', 'focal', {}, marks=LONG)])
def test_a_vit_is_exported_too(written, attention, mamba2_cfg, tmp_path):
    if written == 'onnx':
        pytest.importorskip('onnxscript', reason='writing ONNX needs onnxscript')
    cfg = Config.fromfile(ROOT / 'configs/seg/fcn_vit-nano_streets.py')
    cfg.model.backbone.update(model_kwargs=dict(patch_size=16, embed_dim=32, depth=1, num_heads=2),
                              attention=attention, mamba2_cfg=mamba2_cfg)
    cfg.model.decode_head.update(in_channels=32, channels=16)
    cfg.dump(tmp_path / 'config.py')
    init_default_scope('mmseg')
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), tmp_path / 'a.pth')
    net = load_trained(str(tmp_path / 'config.py'), str(tmp_path / 'a.pth'))
    assert export(net, tmp_path / 'a', written, (64, 96)).error < 1e-4
    if written == 'torch':
        graph = torch.export.load(tmp_path / 'a').graph
        assert not [node for node in graph.nodes if 'mmvitlin' in str(node.target)]


def test_a_file_that_computes_something_else_is_not_written(student, tmp_path, monkeypatch):
    from mmvitlin.apis import export as module
    wrong = torch.export.load

    def load(path):
        programme = wrong(path).module()

        class Shell:
            def module(self):
                return lambda images: [1.01 * t for t in programme(images)]
        return Shell()
    monkeypatch.setattr(module.torch.export, 'load', load)
    with pytest.raises(ExportError, match='does not compute the same'):
        export(load_trained(*student), tmp_path / 'net.pt2', 'torch', (64, 96), dynamic=False)
    assert list(tmp_path.iterdir()) == []


def test_what_is_said_of_labels():
    size = dict(shapes=((1, 8, 8), ))
    assert str(Exported('x', **size, label_error=0.)) == 'x: agrees to 0.0e+00, all labels equal ' \
        'at 8x8'
    assert 'labels on all but 2.0e-04 at' in str(Exported('x', **size, label_error=2e-4))
    assert 'label' not in str(Exported('x', **size))


def test_another_shape_is_reported():
    with pytest.raises(ExportError, match='came out as'):
        _compare(('a', ), lambda images: [torch.zeros(2)], {(1, 8, 8): [torch.zeros(3)]}, 'x')
    assert 'every tensor equal' in str(Exported('x'))


def test_bad_input(student, tmp_path):
    with pytest.raises(ConfigError, match='choose from'):
        export(load_trained(*student), tmp_path / 'a', 'tflite')
    with pytest.raises(ConfigError, match='no config file'):
        load_trained('none.py', student[1])


@pytest.mark.parametrize(('target', 'kind', 'more', 'words'), [
    ('student.pth', 'checkpoint', {}, 'is the checkpoint itself, whose optimiser'),
    ('.', 'onnx', {}, 'is a folder; name the file'),
    ('student', 'openvino', {}, 'not of the kind openvino; call it student.xml'),
    ('a.ONNX', 'onnx', {}, 'call it a.onnx'),
    ('a.onnx', 'onnx', dict(size=(0, 64)), r'--size\) is \(0, 64\)'),
    ('a.onnx', 'onnx', dict(tolerance=float('nan')), r'--tolerance\) is 0 or more'),
    ('a.onnx', 'onnx', dict(tolerance=-1.), r'--tolerance\) is 0 or more')])
def test_a_target_that_cannot_be_meant(student, tmp_path, target, kind, more, words):
    source = tmp_path / 'student.pth'
    source.write_bytes(Path(student[1]).read_bytes())
    with pytest.raises(ConfigError, match=words):
        export(load_trained(student[0], str(source)), tmp_path / target, kind, **more)
    assert source.read_bytes() == Path(student[1]).read_bytes()


def test_a_network_that_gives_no_numbers_is_not_taken_for_equal(student, tmp_path):
    deployed = load_trained(*student)
    deployed.std.fill_(float('nan'))
    with pytest.raises(ExportError, match='does not compute the same'):
        export(deployed, tmp_path / 'net.pt2', 'torch', (64, 96), dynamic=False)


def test_a_segmentor_of_one_size_as_onnx(segmentor, exported):
    net = load_trained(*segmentor)
    image = (255 * torch.rand(1, 3, 64, 96)).round()
    with torch.inference_mode():
        expected = net(image)[0]
    actual = onnx(exported['fixed'])(image)[0]
    assert actual.dtype == np.uint8
    assert np.mean(actual != expected.numpy()) < 1e-3
