"""Lower precision: what is written, what it costs, and what is said of it."""
import runpy
from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.registry import MODELS, init_default_scope
from PIL import Image

from mmvitlin.apis import quantize
from mmvitlin.apis.export import Deployed, load_trained
from mmvitlin.apis.quantize import Reduced, compare, export_reduced, mean_iou
from mmvitlin.apis.writers import to_openvino
from mmvitlin.deploy import ExportedModel, open_file
from mmvitlin.deploy.runtimes import META
from mmvitlin.engine.runner.config import load_config
from mmvitlin.utils.errors import ConfigError
from tests.apis.pictures import picture
from tests.conftest import ROOT
from tests.forked import python

onnx = pytest.importorskip('onnx', reason='needs onnx')


def written(path):
    model = onnx.load(path)
    return [n.op_type for n in model.graph.node], {t.name: t for t in model.graph.initializer}


@pytest.fixture
def float_file(exported, monkeypatch):
    """Spares the export in float32, which other tests make sure of."""
    def copy(deployed, target, kind, size, dynamic, *tolerances):
        target.write_bytes(exported['any' if dynamic else 'fixed'].read_bytes())
    monkeypatch.setattr(quantize, 'export', copy)


def test_mean_iou_by_hand():
    # class 0: 2 of 3 right of 4 in all; class 1: 3 of 5; class 2 is nowhere
    assert mean_iou(np.array([[2, 1, 0], [1, 3, 0], [0, 0, 0]])) == pytest.approx(
        100 * (2 / 4 + 3 / 5) / 2)


def test_the_warning_about_lost_accuracy():
    lost = Reduced('a.onnx', 'int8', 9, 0.97, (60., 58.5))
    assert lost.warning().startswith('int8 loses 1.50 mIoU, more than 1;')
    assert 'mIoU 60.00 in torch and 58.50 in the file' in str(lost)
    assert Reduced('a.onnx', 'int8', 9, 0.9, (60., 59.5)).warning() is None
    assert 'changes 10.0% of the labels' in Reduced('a.onnx', 'int8', 9, 0.9).warning()
    assert Reduced('a.onnx', 'fp16', 9, 0.999).warning() is None


@pytest.mark.parametrize('dynamic', [True, False])
def test_int8(segmentor, float_file, tmp_path, dynamic):
    images = [picture(64, 128), picture(70, 100)]
    report = export_reduced(load_trained(*segmentor), tmp_path / 'a.onnx', 'int8',
                            [(i, None) for i in images], images, (64, 96), dynamic)
    operators, weights = written(tmp_path / 'a.onnx')
    int8 = [t for t in weights.values() if t.data_type == onnx.TensorProto.INT8 and len(t.dims) > 1]
    assert len(int8) >= 2 * 4  # in, out and two of the MLP in each of two blocks
    assert 'QuantizeLinear' in operators
    assert report.images == 2
    assert 0.5 < report.equal < 1
    meta = open_file(tmp_path / 'a.onnx').meta
    assert meta['precision'] == 'int8'
    assert meta['verified']['equal_labels'] == report.equal
    same = ExportedModel(tmp_path / 'a.onnx')(images[0]).labels
    assert same.shape == (64, 128)
    assert sorted(p.name for p in tmp_path.iterdir()) == ['a.onnx']


def test_int8_of_every_attention(tmp_path):
    """Hedgehog maps have a matrix a head, which stays float32."""
    cfg = load_config(str(ROOT / 'configs/seg/conv1x1_linear-vit-small_camvid.py'), {
        'model.backbone.linear_cfg.feature_map': 'hedgehog', 'model.backbone.init_cfg': None,
        'model.backbone.model_name': 'vit_tiny_patch16_224', 'model.backbone.model_kwargs': dict(
            embed_dim=32, depth=2, num_heads=2), 'model.backbone.out_indices': (0, 1),
        'model.decode_head.in_channels': [32, 32], 'model.decode_head.in_index': [0, 1]})
    init_default_scope('mmseg')
    deployed = Deployed(MODELS.build(cfg.model).eval(), [120.] * 3, [60.] * 3).eval()
    deployed.config = cfg
    images = [picture(64, 96)]
    report = export_reduced(deployed, tmp_path / 'a.onnx', 'int8', [(images[0], None)], images,
                            (64, 96), False)
    assert report.equal > 0.5
    weights = written(tmp_path / 'a.onnx')[1].values()
    assert sum(len(t.dims) == 2 and t.data_type == onnx.TensorProto.INT8 for t in weights) >= 8
    assert any(len(t.dims) > 2 and t.data_type == onnx.TensorProto.FLOAT for t in weights)


def test_fp16(segmentor, float_file, tmp_path):
    truth = np.full((64, 128), 255, np.uint8)
    truth[:, :60] = 3
    report = export_reduced(load_trained(*segmentor), tmp_path / 'a.onnx', 'fp16',
                            [(picture(64, 128), truth)], size=(64, 96))
    operators, weights = written(tmp_path / 'a.onnx')
    half = {t for t, v in weights.items() if v.data_type == onnx.TensorProto.FLOAT16}
    assert len(half) >= 8
    model = onnx.load(tmp_path / 'a.onnx')
    types = {i: n.op_type for n in model.graph.node for i in n.input if i in half}
    assert set(types.values()) <= {'MatMul', 'Gemm', 'Conv'}  # decays, sums and norms stay float32
    assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert report.equal > 0.98
    assert report.miou[0] == pytest.approx(report.miou[1], abs=2)
    labels = ExportedModel(tmp_path / 'a.onnx')(picture(64, 128)).labels
    torch_labels = ExportedModel(quantize.TorchRuntime(load_trained(*segmentor), (64, 96), True))(
        picture(64, 128)).labels
    assert np.mean(labels == torch_labels) == pytest.approx(report.equal)


def test_for_openvino(segmentor, float_file, tmp_path):
    """At a fixed size too, where OpenVINO refuses zero points behind a concatenation."""
    pytest.importorskip('openvino', reason='needs openvino: pip install openvino')
    ways = (('fp16', [], True), ('int8', [picture(64, 128)], False))
    for precision, calibration, dynamic in ways:
        path = tmp_path / f'{precision}.xml'
        report = export_reduced(load_trained(*segmentor), path, precision,
                                [(picture(64, 128), None)], calibration, (64, 96), dynamic)
        model = ExportedModel(path)
        assert model.meta['precision'] == precision
        labels = model(picture(64, 128)).labels
        assert report.path == path
        in_torch = ExportedModel(quantize.TorchRuntime(load_trained(*segmentor), (64, 96), dynamic))
        equal = np.mean(labels == in_torch(picture(64, 128)).labels)
        assert equal == model.meta['verified']['equal_labels'] == report.equal  # of this file
    assert sorted(p.suffix for p in tmp_path.iterdir()) == ['.bin', '.bin', '.xml', '.xml']


def test_openvinos_files_keep_the_type_of_every_weight(tmp_path):
    """Decays and norms that an fp16 file leaves in float32 are not rounded on the way."""
    pytest.importorskip('openvino', reason='needs openvino: pip install openvino')
    fine = 1 + 1e-5 * np.arange(1000, dtype=np.float32)  # float16 has none of them between
    names = dict(fine=fine[None, None, None], half=np.float16([0.5]))
    helper, TensorProto = onnx.helper, onnx.TensorProto
    graph = helper.make_graph(
        [helper.make_node('Mul', ['x', 'fine'], ['y']),
         helper.make_node('Cast', ['half'], ['wide'], to=TensorProto.FLOAT),
         helper.make_node('Mul', ['y', 'wide'], ['z'])], 'g',
        [helper.make_tensor_value_info('x', TensorProto.FLOAT, [1, 1, 1, 1000])],
        [helper.make_tensor_value_info('z', TensorProto.FLOAT, [1, 1, 1, 1000])],
        [onnx.numpy_helper.from_array(values, name) for name, values in names.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)])
    helper.set_model_props(model, {META: '{}'})
    onnx.save(model, tmp_path / 'a.onnx')
    to_openvino(tmp_path / 'a.onnx', tmp_path / 'a.xml')
    found, = open_file(tmp_path / 'a.xml').run(np.ones((1, 1, 1, 1000), np.float32)).values()
    np.testing.assert_array_equal(found[0, 0, 0], fine / 2)


def test_bad_input(segmentor, float_file, tmp_path):
    net = load_trained(*segmentor)
    with pytest.raises(ConfigError, match='give --calibration FOLDER'):
        export_reduced(net, tmp_path / 'a.onnx', 'int8', [])
    with pytest.raises(ConfigError, match='is written as .onnx or .xml'):
        export_reduced(net, tmp_path / 'a.pt2', 'fp16', [])
    with pytest.raises(ConfigError, match='there are no images to compare'):
        export_reduced(net, tmp_path / 'a.onnx', 'fp16', [])
    assert list(tmp_path.iterdir()) == []


def test_what_the_command_line_refuses(segmentor, tmp_path, monkeypatch, capsys):
    """Before anything is written."""
    tool = runpy.run_path(str(ROOT / 'tools/export.py'))['main']
    nothing = ['--cfg-options', f'data_root={tmp_path}/none']
    for words, message in (
            ([tmp_path / 'a.onnx', '--fixed'], '--fixed: give --size HEIGHT WIDTH'),
            ([tmp_path / 'a.onnx', '--precision', 'fp16', *nothing], 'give --images FOLDER'),
            ([tmp_path / 'a.onnx', '--precision', 'fp16', '--labels', tmp_path], 'give both'),
            ([tmp_path / 'a.pt2', '--precision', 'fp16'], 'written as .onnx or .xml, not as torch'),
    ):
        monkeypatch.setattr('sys.argv', ['export', *map(str, (*segmentor, *words))])
        with pytest.raises(SystemExit) as ended:
            tool()
        assert ended.value.code
        assert message in capsys.readouterr().err + str(ended.value.code)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(('precision', 'option'), [
    ('fp32', 'calibration'), ('fp32', 'images'), ('fp16', 'calibration')])
def test_options_that_have_no_effect_are_refused(segmentor, tmp_path, precision, option):
    done = python('tools/export.py', *segmentor, str(tmp_path / 'a.onnx'), '--precision', precision,
                  f'--{option}', str(tmp_path))
    assert done.returncode == 2
    assert f'--{option}: not used with --precision {precision}' in done.stderr


def test_labels_of_other_images_are_refused_and_labels_of_nothing_do_not_count():
    def model(image):
        return SimpleNamespace(labels=np.zeros(image.shape[:2], np.uint8))
    model.classes, model.runtime = ('a', 'b'), SimpleNamespace(path='a.onnx')
    image = picture(20, 30)
    nothing = np.full((20, 30), 255, np.uint8)
    assert compare(model, model, [(image, nothing)], 'int8').miou is None
    assert compare(model, model, [(image, nothing), (image, nothing * 0)], 'int8').miou == (100,
                                                                                            100)
    with pytest.raises(ConfigError, match='image 1 are 30x20, and the image is 20x30'):
        compare(model, model, [(image, nothing.T)], 'int8')


def test_the_command_line(segmentor, streets, tmp_path):
    folder = tmp_path / 'images'
    folder.mkdir()
    for n in range(3):
        Image.fromarray(np.roll(picture(64, 96), 9 * n, 1)).save(folder / f'{n}.png')
    done = python('tools/export.py', *segmentor, str(tmp_path / 'a.onnx'),
         '--size', '64', '96', '--fixed', '--precision', 'int8', '--calibration', str(folder),
         '--count', '2', '--cfg-options', f'data_root={streets}')
    assert done.returncode == 0, done.stderr[-2000:]
    assert "of torch's labels on 2 images, mIoU" in done.stdout
    meta = open_file(tmp_path / 'a.onnx').meta
    assert {k: meta['verified'][k] for k in ('images', 'data', 'runtime')} == dict(
        images=2, data='test set', runtime='onnxruntime')
    changed = abs(meta['verified']['miou_torch_and_file'][0] -
                  meta['verified']['miou_torch_and_file'][1])
    assert ('warning: int8 loses' in done.stderr) == (changed > 1 and
                                                      meta['verified']['miou_torch_and_file'][0] >
                                                      meta['verified']['miou_torch_and_file'][1])


def test_a_classifier_is_calibrated_on_what_it_is_given():
    class Shown(quantize.Runtime):
        name, needs, size = 'shown', 'numpy', (16, 16)
        meta = dict(task='classification', classes=['a'], palette=[[0] * 3],
                    resize=dict(short_edge=24, crop=16))

        def __init__(self):
            self.path = 'shown'

        def load(self):
            """It is loaded."""

        def run(self, images):
            self.seen = images
            return dict(logits=np.zeros((1, 1)))

    model, image = ExportedModel(Shown()), picture(40, 60)
    calibrated, = quantize._as_network_sees(model, [image])
    model(image)
    assert calibrated.shape == (1, 3, 16, 16)
    assert np.array_equal(calibrated, model.runtime.seen)
