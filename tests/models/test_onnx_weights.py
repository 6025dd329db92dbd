"""A Vision Transformer's weights out of ONNX files."""
import sys

import onnx
import pytest
import timm
import torch
from onnx import TensorProto, helper, numpy_helper

from mmvitlin.models import FrozenTeacher, TimmViT
from mmvitlin.models.utils import layout_of, read_state_dict
from mmvitlin.models.utils.onnx_weights import read_onnx
from mmvitlin.utils.errors import CheckpointError, ConfigError
from tests.models.hf_dinov2 import Dinov2, Saliency, drawn, export

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
SMALL = dict(embed_dim=48, depth=2, num_heads=3, patch_size=16)
SIZES = dict(hidden_size=48, num_hidden_layers=2, num_attention_heads=3, image_size=64,
             patch_size=16)


def run(name, path, **more):
    net = TimmViT(name, img_size=64, checkpoint=str(path), model_kwargs=dict(SMALL, **more)).eval()
    with torch.no_grad():
        tokens, = net.forward_tokens(IMAGES)
    return tokens.patches if tokens.cls is None else torch.cat(
        [tokens.cls[:, None], tokens.patches], dim=1)


@pytest.mark.parametrize(('bias', 'resizes', 'dynamo'), [
    (True, True, False), (False, True, False), (True, False, False), (True, False, True)])
def test_what_torch_exports(tmp_path, bias, resizes, dynamo):
    net = Saliency(drawn(Dinov2(bias, resizes)))
    path = export(net, tmp_path / 'a.onnx', dynamo)
    assert any(i.name.startswith(('onnx::MatMul', 'val_'))
               for i in onnx.load(path).graph.initializer)  # the matrices have no names
    state = read_state_dict(path)
    assert layout_of(state) == 'Hugging Face DINOv2'
    for name, value in net.backbone.state_dict().items():
        torch.testing.assert_close(state[name], value, rtol=0, atol=0)
    with torch.no_grad():
        expected = net(IMAGES)[0]
    more = {} if bias else dict(qkv_bias=False)
    torch.testing.assert_close(run('vit_small_patch14_dinov2', path, **more), expected, atol=1e-4,
                               rtol=1e-4)


def test_a_timm_model_comes_back(tmp_path):
    net = drawn(timm.create_model('vit_tiny_patch16_224', img_size=64, num_classes=0,
                                  global_pool='', **SMALL))
    path = export(net, tmp_path / 'timm.onnx')
    with torch.no_grad():
        expected = net(IMAGES)
    torch.testing.assert_close(run('vit_tiny_patch16_224', path), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(('kind', 'name', 'more', 'dynamo'), [
    ('Dinov2', 'vit_small_patch14_dinov2', dict(mlp_ratio=4), False),
    ('Dinov2', 'vit_small_patch14_dinov2', dict(mlp_ratio=4), True),
    ('Dinov2WithRegisters', 'vit_small_patch14_reg4_dinov2',
     dict(mlp_ratio=4, num_register_tokens=4), True),
    ('ViT', 'vit_small_patch16_224', dict(intermediate_size=192), False),
    ('CLIPVision', 'vit_base_patch16_clip_quickgelu_224.openai',
     dict(intermediate_size=192, hidden_act='quick_gelu'), False)])
def test_what_transformers_exports(tmp_path, kind, name, more, dynamo):
    transformers = pytest.importorskip('transformers', reason='needs transformers')
    config = getattr(transformers, f'{kind}Config')(**SIZES, **more)
    net = drawn(getattr(transformers, f'{kind}Model')(config))
    path = export(net, tmp_path / 'a.onnx', dynamo)
    with torch.no_grad():
        expected = net(IMAGES).last_hidden_state
        if kind == 'CLIPVision':  # gives its tokens before the last norm
            expected = getattr(net, 'vision_model', net).post_layernorm(expected)
    registers = more.get('num_register_tokens', 0)
    expected = torch.cat([expected[:, :1], expected[:, 1 + registers:]], dim=1)
    torch.testing.assert_close(run(name, path), expected, atol=1e-4, rtol=1e-4)


def test_merged_biases_do_not_name_other_layers(tmp_path):
    """Two layers with one bias; optimisers keep it under the first one's name."""
    a, b = torch.randn(2, 4, 4)
    nodes = [helper.make_node('MatMul', ['x', 'onnx::MatMul_1'], ['p'], '/layer.0/fc/MatMul'),
             helper.make_node('Add', ['p', 'layer.0.fc.bias'], ['q'], '/layer.0/fc/Add'),
             helper.make_node('MatMul', ['q', 'onnx::MatMul_2'], ['r'], '/layer.1/fc/MatMul'),
             helper.make_node('Add', ['r', 'layer.0.fc.bias'], ['y'], '/layer.1/fc/Add')]
    values = {'onnx::MatMul_1': a, 'onnx::MatMul_2': b, 'layer.0.fc.bias': torch.zeros(4)}
    _save(tmp_path / 'a.onnx', nodes, values)
    state = read_onnx(tmp_path / 'a.onnx')
    assert set(state) == {f'layer.{n}.fc.{kind}' for n in (0, 1) for kind in ('weight', 'bias')}
    assert torch.equal(state['layer.0.fc.weight'], a.T)
    assert torch.equal(state['layer.1.fc.weight'], b.T)


def test_half_precision_and_names_without_scopes(tmp_path):
    value = torch.randn(4, 6).half()
    nodes = [helper.make_node('MatMul', ['x', 'w'], ['p'], 'MatMul_7'),
             helper.make_node('Add', ['fc.bias', 'p'], ['y'], 'Add_8')]
    _save(tmp_path / 'a.onnx', nodes, {'w': value, 'fc.bias': torch.zeros(6).half()})
    state = read_onnx(tmp_path / 'a.onnx')
    assert state['fc.weight'].dtype == torch.float32
    assert torch.equal(state['fc.weight'], value.float().T)


def test_a_teacher_from_an_onnx_file_keeps_its_makers_normalisation(tmp_path):
    path = export(Saliency(drawn(Dinov2())), tmp_path / 'a.onnx')  # keys start with 'backbone.'
    teacher = FrozenTeacher(dict(type='mmvitlin.TimmViT', model_name='vit_small_patch14_dinov2',
                                 img_size=64, model_kwargs=SMALL), checkpoint=str(path))
    assert [round(float(v), 3) for v in teacher.normalisation.mean] == [123.675, 116.28, 103.53]


def test_files_that_cannot_be_read(tmp_path, monkeypatch):
    path = export(drawn(Dinov2()), tmp_path / 'whole.onnx')
    content = path.read_bytes()
    (tmp_path / 'cut.onnx').write_bytes(content[:len(content) // 2])
    (tmp_path / 'empty.onnx').write_bytes(b'')
    for name in ('cut', 'empty'):
        with pytest.raises(CheckpointError, match=rf'{name}.onnx is not a readable ONNX file.*'
                                                  'Copy or download it again'):
            run('vit_small_patch14_dinov2', tmp_path / f'{name}.onnx')
    with pytest.raises(FileNotFoundError, match='no checkpoint at .*nowhere.onnx'):
        run('vit_small_patch14_dinov2', tmp_path / 'nowhere.onnx')
    with pytest.raises(CheckpointError, match=r'whole.onnx does not fit TimmViT: '):
        run('vit_small_patch14_dinov2', path, depth=3)
    monkeypatch.setitem(sys.modules, 'onnx', None)
    with pytest.raises(ConfigError, match=r"whole.onnx: .* needs the package onnx; "
                                          r"pip install 'mmvitlin\[export\]'"):
        run('vit_small_patch14_dinov2', path)


def test_quantised_weights_are_refused(tmp_path):
    nodes = [helper.make_node('DequantizeLinear', ['w', 'scale'], ['v']),
             helper.make_node('MatMul', ['x', 'v'], ['y'])]
    _save(tmp_path / 'int8.onnx', nodes, {'w': torch.zeros(4, 4, dtype=torch.int8),
                                          'scale': torch.tensor(0.1)})
    with pytest.raises(CheckpointError, match=r'int8.onnx: its weights are quantised'):
        read_onnx(tmp_path / 'int8.onnx')


def _save(path, nodes, values):
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ('x', 'y')]
    graph = helper.make_graph(nodes, 'graph', ends[:1], ends[1:], [
        numpy_helper.from_array(v.numpy(), k) for k, v in values.items()])
    onnx.save(helper.make_model(graph), str(path))
