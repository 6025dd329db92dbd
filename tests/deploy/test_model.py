"""An exported file gives what torch gives, on images of any size."""
import ctypes
import json
import os
import subprocess
import sys
import tracemalloc
import venv
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from PIL import Image

from mmvitlin.apis import SegInferencer
from mmvitlin.apis.export import Deployed, load_trained
from mmvitlin.apis.quantize import TorchRuntime
from mmvitlin.apis.writers import to_openvino
from mmvitlin.deploy import ExportedModel, open_file
from mmvitlin.deploy.__main__ import output_names
from mmvitlin.deploy.model import read
from mmvitlin.deploy.resizing import resize, resize_strips
from mmvitlin.deploy.runtimes import Runtime, _SignalStack, kept_signal_stack
from mmvitlin.deploy.windows import in_windows, starts, strided
from mmvitlin.utils.errors import ConfigError, UnreadableFileError
from tests.apis.pictures import picture
from tests.conftest import ROOT
from tests.models.test_eomt import segmentor as segmentor_with_eomt


def openvino():
    return pytest.importorskip('openvino', reason='needs openvino: pip install openvino')


@pytest.mark.skipif(os.name != 'posix', reason='signals of POSIX')
def test_the_stack_of_signals_is_put_back():
    """OpenVINO leaves one of given back memory: Ctrl-C would be a segmentation fault."""
    call, memory = ctypes.CDLL(None).sigaltstack, ctypes.create_string_buffer(2**16)

    def stack():
        current = _SignalStack()
        assert call(None, ctypes.byref(current)) == 0
        return current.base, current.flags, current.size

    before = stack()
    with kept_signal_stack():
        other = _SignalStack(ctypes.addressof(memory), 0, len(memory))
        assert call(ctypes.byref(other), None) == 0
        assert stack() != before
    assert stack() == before


@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize(('old', 'new'), [((5, 3), (17, 9)), ((17, 8), (5, 8)), ((1, 4), (9, 1))])
def test_resizing_is_torchs(old, new, align_corners):
    maps = torch.randn(2, *old)
    expected = torch.nn.functional.interpolate(maps[None], new, mode='bilinear',
                                               align_corners=align_corners)[0]
    np.testing.assert_allclose(resize(maps.numpy(), new, align_corners), expected, atol=1e-5)
    for rows in (1, 3, 100):
        strips = (maps.numpy()[:, n:n + rows] for n in range(0, old[0], rows))
        actual = np.concatenate(list(resize_strips(strips, old, new, align_corners)), axis=1)
        np.testing.assert_array_equal(actual, resize(maps.numpy(), new, align_corners))


class _Colours:
    """A runtime whose network's scores are colours, one for each of many classes."""
    path, meta = 'colours.onnx', dict(
        task='segmentation', classes=['a'] * 60, palette=[[0, 0, 0]] * 60, patch_size=16,
        mean=[0., 0., 0.], align_corners=False, resize=None)

    def __init__(self, size):
        self.size, self.meta = size, dict(self.meta, resize=dict(factor=0.5))

    def run(self, images):
        return {'scores': np.tile(images[:, :, ::4, ::4], (1, 20, 1, 1))}


@pytest.mark.parametrize('size', [None, (128, 160)])
def test_scores_of_a_large_image_are_never_held_whole(size):
    Runtime.register(_Colours)
    model, image = ExportedModel(_Colours(size)), picture(1024, 2048)
    model(picture(64, 64))
    tracemalloc.start()
    try:
        labels = model(image).labels
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert labels.shape == (1024, 2048)
    assert peak < 60 * 1024 * 2048 * 4 / 3


def test_windows_cover_everything_once_or_more():
    assert starts(64, 64, 1 / 3) == [0]
    assert starts(50, 64, 1 / 3) == [0]
    assert starts(128, 64, 0.) == [0, 64]
    assert starts(150, 64, 1 / 3) == [0, 29, 57, 86]
    assert strided(150, 64, 40) == [0, 40, 80, 86]
    assert strided(64, 64, 40) == strided(50, 64, 40) == [0]
    assert strided(104, 64, 40) == [0, 40]
    image = np.random.RandomState(0).randint(0, 255, (70, 150, 3)).astype(np.uint8)
    places = starts(70, 64, 1 / 3), strided(150, 64, 40)
    strips = in_windows(image, (64, 64), lambda w: w.transpose(2, 0, 1).astype(np.float32), places,
                        (0, 0, 0))
    actual = np.concatenate(list(strips), axis=1)
    np.testing.assert_allclose(actual, image.transpose(2, 0, 1), atol=1e-3)


def test_labels_are_those_of_torch_at_the_original_size(exported, segmentor):
    infer = SegInferencer(*segmentor, scale='original')
    model = ExportedModel(exported['any'], resize=False)
    assert model.classes == tuple(infer.classes)
    assert (model.palette == infer.palette).all()
    for size in ((64, 128), (97, 50), (150, 210)):
        expected = infer([picture(*size)])[0].labels
        labels = model(picture(*size))
        assert labels.labels.shape == size
        assert np.mean(labels.labels != expected) < 2e-3
    assert labels.overlay().size == (210, 150)
    assert sum(labels.shares().values()) == pytest.approx(1)
    assert set(labels.shares()) <= set(infer.classes)


def test_the_test_pipelines_resize(exported, segmentor):
    model = ExportedModel(exported['any'])
    model.resize = dict(scale=[192, 96], keep_ratio=True)
    expected = SegInferencer(*segmentor, scale=(192, 96))([picture(64, 128)])[0].labels
    assert model.as_shown(picture(64, 128)).shape == (96, 192, 3)
    assert np.mean(model(picture(64, 128)).labels != expected) < 0.01
    model.resize = dict(scale=[128, 128], keep_ratio=False)
    assert model.as_shown(picture(64, 96)).shape == (128, 128, 3)
    model.resize = dict(short_edge=32, crop=32)
    assert model.as_shown(picture(64, 96)).shape == (32, 48, 3)


def test_a_classifier_sees_what_its_test_pipeline_shows():
    """Of ImageNet's config: Pillow's bicubic filter, the shorter side, the middle."""
    from mmengine.dataset import Compose

    from mmvitlin.apis.shown_by_tests import resizing
    from mmvitlin.engine.runner.config import load_config
    cfg = load_config(str(ROOT / 'configs/cls/adventurer-base_in1k-224.py'))
    init_default_scope('mmpretrain')
    pipeline = cfg.test_dataloader.dataset.pipeline
    resize = resizing(pipeline, crops=True)
    steps = Compose([step for step in pipeline if step.type in ('ResizeEdge',
                                                                        'CenterCrop')])
    assert len(steps.transforms) == 2
    assert resize == dict(short_edge=256, pillow='bicubic', crop=224)

    class Shown(Runtime):
        def load(self):
            self.meta = dict(task='classification', classes=['a', 'b'], palette=[[0] * 3] * 2,
                             resize=resize)

        def run(self, images):
            self.seen = images[0].astype(np.uint8).transpose(1, 2, 0)
            return dict(logits=np.zeros((1, 2)))

    model = ExportedModel(Shown('x', 'fp32', None))
    for size in ((300, 500), (375, 500), (501, 333), (256, 257), (480, 269)):
        model(picture(*size))
        expected = steps(dict(img=picture(*size)))['img']
        assert model.runtime.seen.shape == (224, 224, 3)
        assert np.abs(model.runtime.seen.astype(int) - expected.astype(int)).max() <= 1


def test_another_filter_of_the_test_pipeline_is_said(monkeypatch):
    from mmvitlin.apis import shown_by_tests
    said = []
    monkeypatch.setattr(shown_by_tests, 'print_log', lambda text, **_: said.append(text))
    bilinear = dict(type='Resize', scale=(64, 32))
    assert 'pillow' not in shown_by_tests.resizing([bilinear], crops=False)
    assert said == []
    area = shown_by_tests.resizing([dict(bilinear, interpolation='area')], crops=False)
    assert area['pillow'] == 'box'
    assert "OpenCV's area filter" in said[0]


def test_images_of_16_bits_are_scaled_as_in_training(tmp_path):
    from mmvitlin.datasets.transforms.loading import LoadImage
    values = np.linspace(0, 65535, 40 * 50).astype(np.uint16).reshape(40, 50)
    Image.fromarray(values).save(tmp_path / 'a.png')
    expected = LoadImage()(dict(img_path=str(tmp_path / 'a.png')))['img'][..., ::-1]
    assert np.abs(read(tmp_path / 'a.png').astype(int) - expected.astype(int)).max() <= 1
    assert (read(Image.open(tmp_path / 'a.png')) == read(tmp_path / 'a.png')).all()
    Image.fromarray(values // 64).save(tmp_path / 'b.png')
    with pytest.raises(UnreadableFileError, match='16 bits a pixel and values up to 1023'):
        read(tmp_path / 'b.png')
    assert np.abs(read(tmp_path / 'b.png', 1023).astype(int) - expected.astype(int)).max() <= 1
    Image.fromarray(values * 0).save(tmp_path / 'black.png')
    assert not read(tmp_path / 'black.png').any()
    Image.fromarray(values.astype(np.float32)).save(tmp_path / 'c.tiff')
    with pytest.raises(UnreadableFileError, match='c.tiff has 32 bits a pixel'):
        read(tmp_path / 'c.tiff')


@pytest.mark.parametrize('kind', ['softmax', 'adventurer'])
def test_masks_of_queries_in_windows(kind):
    """EoMT's, whose masks are resized before they are summed: torch's labels of a large image."""
    init_default_scope('mmseg')
    net = segmentor_with_eomt(kind).eval()
    for p in net.decode_head.cls_embed.parameters():
        torch.nn.init.normal_(p, std=3.)
    net.test_cfg = ConfigDict(mode='slide', crop_size=(64, 96), stride=(40, 60))
    deployed = Deployed(net, [120.] * 3, [60.] * 3).eval()
    deployed.windows = (64, 96), (40, 60)
    model = ExportedModel(TorchRuntime(deployed, (64, 96), False))
    image = picture(130, 200)
    x = (torch.from_numpy(image).permute(2, 0, 1)[None].float() - 120) / 60
    with torch.no_grad():
        x = torch.nn.functional.pad(x, (0, 8, 0, 14))  # to whole patches
        expected = net.predict(x)[0].pred_sem_seg.data[0, :130, :200].numpy()
    labels = model(image).labels
    assert len(np.unique(labels)) > 1
    assert np.mean(labels != expected) < 1e-3


def test_windows_of_a_file_of_one_size(exported, segmentor):
    """The same windows through torch, their scores averaged by hand."""
    model = ExportedModel(exported['fixed'], resize=False, overlap=0.)
    assert model.runtime.size == (64, 96)
    image = picture(64, 192)
    net = load_trained(*segmentor)
    with torch.inference_mode():
        parts = [net(torch.from_numpy(image[:, n:n + 96].copy()).permute(2, 0, 1)[None].float())
                 for n in (0, 96)]
    expected = np.concatenate([p[0][0].numpy() for p in parts], 1)
    assert np.mean(model(image).labels != expected) < 2e-3
    assert model(picture(40, 50)).labels.shape == (40, 50)
    assert ExportedModel(exported['fixed'])(picture(130, 100)).labels.shape == (130, 100)


def test_openvino_runs_onnx_and_its_own_files(exported, tmp_path):
    openvino()
    to_openvino(exported['any'], tmp_path / 'a.xml')
    expected = ExportedModel(exported['any'])
    for model in (ExportedModel(exported['any'], 'openvino'), ExportedModel(tmp_path / 'a.xml')):
        assert model.meta == expected.meta
        actual = model(picture(97, 130)).labels
        assert np.mean(actual != expected(picture(97, 130)).labels) < 2e-3


def test_what_the_file_says_of_itself(exported):
    meta = open_file(exported['fixed']).meta
    assert (meta['task'], meta['size'], meta['precision'], meta['patch_size']) == (
        'segmentation', [64, 96], 'fp32', 16)
    assert meta['mean'] == pytest.approx([123.675, 116.28, 103.53], abs=1e-3)
    assert open_file(exported['any']).meta['size'] is None


def test_bad_input(exported, tmp_path):
    with pytest.raises(ConfigError, match="no runtime 'tflite'; take one of"):
        open_file(exported['any'], 'tflite')
    with pytest.raises(ConfigError, match="in the precision that it was written in"):
        open_file(exported['any'], 'onnxruntime', 'bf16')
    with pytest.raises(UnreadableFileError, match='no file'):
        open_file(tmp_path / 'none.onnx')
    (tmp_path / 'broken.onnx').write_bytes(b'no network')
    with pytest.raises(UnreadableFileError, match='broken.onnx: onnxruntime cannot read it'):
        open_file(tmp_path / 'broken.onnx')
    (tmp_path / 'a.xml').write_text('')
    with pytest.raises(ConfigError, match='onnxruntime runs no .xml files'):
        open_file(tmp_path / 'a.xml', 'onnxruntime')
    with pytest.raises(ConfigError, match='must be .H, W, 3. uint8'):
        ExportedModel(exported['any'])(np.zeros((4, 4)))
    with pytest.raises(UnreadableFileError, match='no image that can be read'):
        ExportedModel(exported['any'])(tmp_path / 'broken.onnx')


def test_results_of_two_files_never_share_a_name():
    files = [Path(name) for name in ('/a/x.jpg', '/a/y.jpg', '/a/y.png', '/b/z.png', '/c/z.png')]
    assert output_names(files) == ['x', 'y_jpg', 'y_png', 'b_z_png', 'c_z_png']
    assert output_names([Path('/a/b/c.png'), Path('/a_b/c.png')]) == ['a_b_c_png', 'a_b_c_png_2']


def test_a_gpu_that_onnxruntime_cannot_start_is_an_error(exported, monkeypatch):
    """onnxruntime takes the CPU then, and says so in its log only."""
    import onnxruntime
    monkeypatch.setattr(onnxruntime, 'get_available_providers',
                        lambda: ['CUDAExecutionProvider', 'CPUExecutionProvider'])
    with pytest.raises(ConfigError, match='could not start its CUDAExecutionProvider and took CPU'):
        open_file(exported['any'], 'onnxruntime-cuda')


BLOCKED = '''
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('torch', 'torchvision', 'timm', 'mmengine', 'mmcv', 'mmseg',
                                  'cv2', 'onnx', 'psutil', 'rich', 'scipy', 'matplotlib'):
            raise ImportError(f'{name} is not installed here')
sys.meta_path.insert(0, Refuse())
from mmvitlin.deploy.__main__ import main
main(sys.argv[1:])
'''


def deploy(*words, python=sys.executable, code=BLOCKED):
    return subprocess.run([python, '-c', code, *map(str, words)], cwd=ROOT, capture_output=True,
                          text=True, env=dict(os.environ, PYTHONPATH=str(ROOT)))


def test_the_command_line_without_torch(exported, tmp_path):
    (tmp_path / 'in').mkdir()
    Image.fromarray(picture(70, 100)).save(tmp_path / 'in' / 'a.png')
    (tmp_path / 'in' / 'b.jpg').write_bytes(b'no picture')
    done = deploy(exported['any'], tmp_path / 'in', '--out-dir', tmp_path / 'out')
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith(f'error: {tmp_path}/in/b.jpg: no image that can be read')
    labels = np.asarray(Image.open(tmp_path / 'out/labels/a.png'))
    assert (labels == ExportedModel(exported['any'])(picture(70, 100)).labels).all()
    assert Image.open(tmp_path / 'out/overlay/a.png').size == (100, 70)
    done = deploy(exported['any'], '--memory', '64x128')
    output = json.loads(done.stdout)
    assert 10 < output['loaded_mib'] <= output['peak_mib'] < 1000
    assert output['torch'] is False
    for words, message in (
            (['--memory', '64'], "error: --memory is HEIGHTxWIDTH, such as 512x1024, got '64'\n"),
            (['--memory', '8x8'], f"error: {exported['fixed']} takes images of 64x96 only\n"),
            ([], 'error: there are no images to run it on: give files or folders, or '
             '--describe\n')):
        done = deploy(exported['fixed'], *words)
        assert (done.returncode, done.stderr) == (2, message)
    done = deploy(tmp_path / 'none.onnx', tmp_path / 'in')
    assert (done.returncode, done.stderr) == (2, f'error: no file {tmp_path}/none.onnx\n')


@pytest.mark.slow
@pytest.mark.skipif('MMVITLIN_LONG_TESTS' not in os.environ,
                    reason='installs packages; set MMVITLIN_LONG_TESTS=1')
def test_in_an_environment_without_torch(exported, tmp_path):
    venv.create(tmp_path / 'env', with_pip=True)
    python = tmp_path / 'env' / 'bin' / 'python'
    installed = subprocess.run([python, '-m', 'pip', 'install', '-q', 'numpy', 'pillow',
                                'onnxruntime'], capture_output=True, text=True)
    if installed.returncode:
        pytest.skip('packages cannot be installed: ' + installed.stderr[-200:])
    Image.fromarray(picture(70, 100)).save(tmp_path / 'a.png')
    done = deploy(exported['any'], tmp_path / 'a.png', '--out-dir', tmp_path / 'out',
                  python=python, code='from mmvitlin.deploy.__main__ import main; main()')
    assert done.returncode == 0, done.stderr
    labels = np.asarray(Image.open(tmp_path / 'out/labels/a.png'))
    assert (labels == ExportedModel(exported['any'])(picture(70, 100)).labels).all()
