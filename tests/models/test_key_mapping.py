"""Weights of other libraries give their libraries' features."""
import pytest
import torch

from mmvitlin.models import TimmViT
from mmvitlin.models.utils import layout_of, read_state_dict
from mmvitlin.models.utils.key_mapping import to_timm
from mmvitlin.utils.errors import CheckpointError

IMAGES = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
SIZES = dict(hidden_size=48, num_hidden_layers=2, num_attention_heads=3, intermediate_size=192,
             image_size=64, num_channels=3)


def drawn(net):
    """With weights that every part of the network can be seen through."""
    torch.manual_seed(1)
    for name, p in net.named_parameters():
        centre = float(p.ndim == 1 and ('norm' in name or 'ln' in name) and name.endswith('weight'))
        torch.nn.init.normal_(p, centre, 0.2)
    net.eval()  # mmpretrain's gives nothing back
    return net


def tokens_of(name, path, patch=16, **kwargs):
    net = TimmViT(name, img_size=64, checkpoint=str(path), model_kwargs=dict(
        embed_dim=48, depth=2, num_heads=3, patch_size=patch), **kwargs).eval()
    with torch.no_grad():
        return net.forward_tokens(IMAGES)[0]


def transformers(name):
    library = pytest.importorskip('transformers', reason='needs transformers')
    return library, getattr(library, f'{name}Config'), getattr(library, f'{name}Model')


@pytest.mark.parametrize('suffix', ['pth', 'safetensors'])
@pytest.mark.parametrize('whole', [False, True])
def test_hugging_face_clip(tmp_path, suffix, whole):
    library, config, model = transformers('CLIPVision')
    net = drawn(model(config(**SIZES, patch_size=16, hidden_act='quick_gelu')))
    state = net.state_dict()
    if whole:  # the two towers together, as people have them
        state = {key if key.startswith('vision_model.') else f'vision_model.{key}': value
                 for key, value in state.items()}
        state.update({'text_model.embeddings.token_embedding.weight': torch.zeros(3, 4),
                      'logit_scale': torch.zeros(())})
    path = tmp_path / f'clip.{suffix}'
    if suffix == 'pth':
        torch.save(state, path)
    else:
        from safetensors.torch import save_file
        save_file({k: v.contiguous() for k, v in state.items()}, path)
    assert layout_of(read_state_dict(path)) == 'Hugging Face CLIP'
    tokens = tokens_of('vit_base_patch16_clip_quickgelu_224.openai', path)
    with torch.no_grad():
        hidden = net(IMAGES).last_hidden_state
        expected = getattr(net, 'vision_model', net).post_layernorm(hidden)
    torch.testing.assert_close(tokens.patches, expected[:, 1:], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(tokens.cls, expected[:, 0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(('kind', 'start', 'block', 'more'), [
    ('Hugging Face DINOv2', 'dinov2.encoder.layer.0.',
     ['norm1', 'attention.q_proj', 'attention.k_proj', 'attention.v_proj', 'attention.o_proj',
      'layer_scale1.lambda1', 'norm2', 'mlp.fc1', 'mlp.fc2', 'layer_scale2.lambda1'],
     ['dinov2.embeddings.position_embeddings', 'dinov2.layernorm.weight']),
    ('Hugging Face ViT of transformers 5', 'vit.layers.0.',
     ['layernorm_before', 'attention.q_proj', 'attention.k_proj', 'attention.v_proj',
      'attention.o_proj', 'layernorm_after', 'mlp.fc1', 'mlp.fc2'],
     ['vit.embeddings.position_embeddings', 'vit.layernorm.weight']),
    ('Hugging Face CLIP', 'encoder.layers.0.',
     ['layer_norm1', 'self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj',
      'self_attn.out_proj', 'layer_norm2', 'mlp.fc1', 'mlp.fc2'],
     ['pre_layrnorm.weight', 'embeddings.position_embedding.weight', 'post_layernorm.weight'])])
def test_names_of_transformers_5(kind, start, block, more):
    """Which needs no transformers: what its state dicts and ONNX files are called."""
    state = {name: torch.full((2, 2), float(n)) for n, name in enumerate(
        [start + part + '.weight' * ('lambda' not in part) for part in block] + more)}
    assert layout_of(state) == kind
    mapped = to_timm(state)
    parts = {'norm1.weight', 'attn.qkv.weight', 'attn.proj.weight', 'norm2.weight',
             'mlp.fc1.weight', 'mlp.fc2.weight'}
    assert {f'blocks.0.{part}' for part in parts} <= set(mapped)
    assert {'pos_embed', 'norm.weight'} <= set(mapped)
    assert ('blocks.0.ls1.gamma' in mapped) == ('DINOv2' in kind)
    q = next(n for n, name in enumerate(state) if 'q_proj' in name)
    assert mapped['blocks.0.attn.qkv.weight'][:, 0].tolist() == [
        q, q, q + 1, q + 1, q + 2, q + 2]


def test_hugging_face_siglip(tmp_path):
    library, config, model = transformers('SiglipVision')
    net = drawn(model(config(**SIZES, patch_size=16)))
    torch.save(net.state_dict(), tmp_path / 'a.pth')
    assert layout_of(net.state_dict()) == 'Hugging Face SigLIP'
    tokens = tokens_of('vit_base_patch16_siglip_gap_224.webli', tmp_path / 'a.pth')
    with torch.no_grad():
        expected = net(IMAGES).last_hidden_state
    torch.testing.assert_close(tokens.patches, expected, atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize('registers', [False, True])
def test_hugging_face_dinov2(tmp_path, registers):
    library, config, model = transformers('Dinov2WithRegisters' if registers else 'Dinov2')
    sizes = {k: v for k, v in SIZES.items() if k != 'intermediate_size'}
    more = dict(num_register_tokens=4) if registers else {}
    net = drawn(model(config(**sizes, patch_size=16, mlp_ratio=4, **more)))
    torch.save(net.state_dict(), tmp_path / 'a.pth')
    assert layout_of(net.state_dict()) == 'Hugging Face DINOv2'
    name = 'vit_small_patch14_reg4_dinov2' if registers else 'vit_small_patch14_dinov2'
    tokens = tokens_of(name, tmp_path / 'a.pth')
    with torch.no_grad():
        expected = net(IMAGES).last_hidden_state
    torch.testing.assert_close(tokens.cls, expected[:, 0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(tokens.patches, expected[:, 5 if registers else 1:], atol=1e-4,
                               rtol=1e-4)


@pytest.mark.parametrize('tower', ['', 'vit.'])
def test_hugging_face_vit(tmp_path, tower):
    library, config, model = transformers('ViT')
    net = drawn(model(config(**SIZES, patch_size=16), add_pooling_layer=False))
    torch.save({tower + k: v for k, v in net.state_dict().items()}, tmp_path / 'a.pth')
    tokens = tokens_of('vit_small_patch16_224', tmp_path / 'a.pth')
    with torch.no_grad():
        expected = net(IMAGES).last_hidden_state
    torch.testing.assert_close(tokens.patches, expected[:, 1:], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('clip', [False, True])
@pytest.mark.parametrize('prefix', ['', 'backbone.'])
def test_mmpretrain(tmp_path, clip, prefix):
    from mmpretrain.models import VisionTransformer
    arch = dict(embed_dims=48, num_layers=2, num_heads=3, feedforward_channels=192)
    net = drawn(VisionTransformer(arch, img_size=64, patch_size=16, out_type='raw',
                                  pre_norm=clip, patch_cfg=dict(bias=not clip),
                                  norm_cfg=dict(type='LN', eps=1e-5 if clip else 1e-6)))
    torch.save(dict(state_dict={prefix + k: v for k, v in net.state_dict().items()}),
               tmp_path / 'a.pth')
    assert layout_of(read_state_dict(tmp_path / 'a.pth')) == 'mmpretrain ViT'
    name = 'vit_base_patch16_clip_224' if clip else 'vit_small_patch16_224'
    tokens = tokens_of(name, tmp_path / 'a.pth')
    with torch.no_grad():
        expected, = net(IMAGES)
    torch.testing.assert_close(tokens.patches, expected[:, 1:], atol=1e-4, rtol=1e-4)


def test_what_was_resized_is_reported(tmp_path):
    import timm
    net = timm.create_model('vit_tiny_patch16_224', embed_dim=48, depth=2, num_heads=3)
    torch.save(net.state_dict(), tmp_path / 'a.pth')
    target = TimmViT('vit_tiny_patch16_224', img_size=64, model_kwargs=dict(
        embed_dim=48, depth=2, num_heads=3))
    report = target.load_weights(str(tmp_path / 'a.pth'))
    assert report.resized == ['vit.pos_embed']
    assert '1 resized: vit.pos_embed' in str(report)


def test_another_width_is_refused(tmp_path):
    state = {'layers.0.ffn.layers.0.0.weight': torch.zeros(9, 3)}
    torch.save(state, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match='does not fit TimmViT'):
        TimmViT('vit_tiny_patch16_224', img_size=64, checkpoint=str(tmp_path / 'a.pth'))


def test_what_timm_cannot_fit_is_one_line(tmp_path):
    """Registers that the file has, and the model has not."""
    small = dict(embed_dim=48, depth=2, num_heads=3)
    file = TimmViT('vit_small_patch14_reg4_dinov2', img_size=56, model_kwargs=small)
    torch.save(file.vit.state_dict(), tmp_path / 'reg4.pth')
    with pytest.raises(CheckpointError, match=r'reg4.pth does not fit TimmViT: .*reg_tokens'):
        TimmViT('vit_small_patch14_dinov2', img_size=70, model_kwargs=small,
                checkpoint=str(tmp_path / 'reg4.pth'))


def test_positions_of_another_name_are_reported_as_resized(tmp_path):
    _, config, model = transformers('ViT')
    net = drawn(model(config(**SIZES, patch_size=16), add_pooling_layer=False))
    torch.save(net.state_dict(), tmp_path / 'vit.pth')
    student = TimmViT('vit_tiny_patch16_224', img_size=96, model_kwargs=dict(
        embed_dim=48, depth=2, num_heads=3))
    assert student.load_weights(str(tmp_path / 'vit.pth')).resized == ['vit.pos_embed']
