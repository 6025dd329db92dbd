"""Attention alignment and feature alignment: a softmax ViT turned linear in stages."""
import copy
import weakref

import pytest
import torch
from mmengine.optim import OptimWrapper
from timm.layers import resample_patch_embed

from mmvitlin.models import (
    AttentionAlignment,
    AttentionAlignmentLoss,
    FeatureAlignment,
    FeatureAlignmentLoss,
    Tokens,
)
from mmvitlin.models.backbones import TimmViT
from mmvitlin.models.layers import TokenLayout
from mmvitlin.models.losses.distances import DISTANCES
from mmvitlin.utils.errors import CheckpointError, ConfigError
from tests.models.test_distillers import PREPROCESSOR, STUDENT, VIT, VIT14
from tests.models.test_timm_vit import FAMILIES

LINEAR = dict(VIT, attention='linear')
RECURRENT = dict(VIT, attention='mamba2')
FOCAL = dict(VIT, attention='focal', focal_cfg=dict(block=2, cells=2))


def align(student=LINEAR, teacher=VIT, kind=AttentionAlignment, **kwargs):
    return kind(student, dict(backbone=teacher), data_preprocessor=PREPROCESSOR, **kwargs)


def peaked(model):
    """A teacher whose attention is not uniform, as a fresh one's is, and a student that inherits
    its weights."""
    torch.manual_seed(1)
    for name, p in model.teacher.network.named_parameters():
        if p.ndim > 1:
            p.data = torch.randn_like(p) * (0.4 if 'qkv' in name else 0.1)
    model.backbone.inherit(model.teacher.network)
    return model


def family_cfg(name, **kwargs):
    model, extra = FAMILIES[name]
    return dict(type='mmvitlin.TimmViT', model_name=model, img_size=4 * (14 if '14' in model else
                16), model_kwargs=dict(embed_dim=48, depth=3, num_heads=3, **extra), **kwargs)


def by_hand(model, images):
    """Walk the softmax path one block at a time; MSE of each linear attention on its input."""
    vit, student = model.teacher.network.vit, model.backbone.vit
    patches = vit.patch_embed(images)
    rope = {}
    if hasattr(vit, 'rope'):
        x, angles = vit._pos_embed(patches)
        x, rope = vit.norm_pre(x), dict(rope=angles)
    else:
        x = vit.norm_pre(vit.patch_drop(vit._pos_embed(patches)))
    total = 0.
    for block, linear in zip(vit.blocks, student.blocks, strict=True):
        y = block.norm1(x)
        layout = TokenLayout(tuple(patches.shape[1:3]))
        target = block.attn(y, **rope)
        output = linear.attn(y, attn_mask=layout, **rope)
        total = total + (output - target).square().mean() / len(vit.blocks)
        x = block(x, **rope)
    return total


@pytest.mark.parametrize('student', [LINEAR, RECURRENT, FOCAL],
                         ids=['linear', 'mamba2', 'focal'])
@pytest.mark.parametrize('block_by_block', [False, True])
def test_every_block_gets_the_teachers_input_and_learns_from_its_output(student, block_by_block):
    model = peaked(align(student, block_by_block=block_by_block))
    images = torch.randn(2, 3, 96, 96)
    losses = model(images, mode='loss')
    assert set(losses) == {'loss_attention', 'attention_error'}
    reference = by_hand(model, images)
    torch.testing.assert_close(losses['loss_attention'], reference, rtol=1e-5, atol=1e-8)
    trained = [p for p in model.parameters() if p.requires_grad]
    expected = torch.autograd.grad(reference, trained)
    losses['loss_attention'].backward()
    for parameter, gradient in zip(trained, expected, strict=True):
        near = 1e-4 * gradient.abs().max().item()
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=near)


@pytest.mark.parametrize('focal_cfg', [dict(block=4, cells=2), dict(block=2, cells=(6, 7))])
def test_focal_attention_that_is_softmax_is_not_aligned(focal_cfg):
    focal = dict(FOCAL, focal_cfg=focal_cfg)
    model = align(focal)
    with pytest.raises(ConfigError, match='on 6×6 patches .* nothing to align'):
        model(torch.randn(1, 3, 96, 96), mode='loss')
    assert model(torch.randn(1, 3, 96, 144), mode='loss')['attention_error'] > 0
    with pytest.raises(ConfigError, match='on 6×6 patches .* nothing to align'):
        align(focal, sizes=[(96, 96)])(torch.randn(1, 3, 96, 96), mode='loss')
    assert align(focal, sizes=[(64, 96), (96, 144)])(torch.randn(1, 3, 96, 144), mode='loss')


def test_only_queries_keys_and_values_train_and_the_rest_is_the_teachers():
    model = peaked(align())
    assert {n.split('.', 4)[-1] for n, p in model.named_parameters() if p.requires_grad} == \
        {'attn.qkv.weight', 'attn.qkv.bias'}
    for (name, a), (_, b) in zip(model.backbone.state_dict().items(),
                                 model.teacher.network.state_dict().items(), strict=True):
        assert torch.equal(a, b), name
    optimiser = OptimWrapper(torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1))
    before = copy.deepcopy(model.backbone.state_dict())
    image = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
    seen = [model.train_step(dict(inputs=[image]), optimiser)['loss'].item() for _ in range(8)]
    assert seen[-1] < 0.7 * seen[0]
    moved = {n.split('.', 3)[-1] for n, v in model.backbone.state_dict().items()
             if not torch.equal(v, before[n])}
    assert moved == {'attn.qkv.weight', 'attn.qkv.bias'}


def test_what_a_recurrent_student_adds_trains_too_and_passes_on_to_stage_two(tmp_path):
    model = peaked(align(RECURRENT))
    assert {n.split('attn.')[-1] for n, p in model.named_parameters() if p.requires_grad} == {
        'qkv.weight', 'qkv.bias', 'conv.weight', 'conv.bias', 'step.weight', 'step.bias', 'A_log',
        'D', 'out_gate.weight', 'out_gate.bias'}
    optimiser = OptimWrapper(torch.optim.AdamW(model.parameters(), lr=1e-2))
    image = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
    losses = [model.train_step(dict(inputs=[image]), optimiser)['loss'].item() for _ in range(8)]
    assert losses[-1] < 0.7 * losses[0]
    torch.save(dict(meta=dict(backbone=model.backbone.describe()), state_dict={
        f'backbone.{k}': v for k, v in model.backbone.state_dict().items()}), tmp_path / 'a.pth')
    start = dict(init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'a.pth'),
                               prefix='backbone.'))
    second = align(dict(RECURRENT, **start), kind=FeatureAlignment)
    second.init_weights()
    assert all(p.requires_grad for p in second.backbone.parameters())
    for a, b in zip(second.backbone.parameters(), model.backbone.parameters(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(CheckpointError, match='trained with mamba2 attention'):
        align(dict(LINEAR, **start), kind=FeatureAlignment).init_weights()


def test_only_learned_feature_maps_train_as_in_lolcats():
    model = align(dict(LINEAR, linear_cfg=dict(feature_map='hedgehog')), trained=('added', ))
    names = {n.split('attn.')[-1] for n, p in model.named_parameters() if p.requires_grad}
    assert names == {'map_q.weight', 'map_k.weight'}
    with pytest.raises(ValueError, match='leaves nothing to train'):
        align(trained=('added', ))


@pytest.mark.parametrize('family', ['clip', 'dinov2 registers', 'siglip', 'eva02, rotary'])
def test_other_families_and_sizes(family):
    model = align(family_cfg(family, attention='linear', linear_cfg=dict(conv_kernel=3)),
                  family_cfg(family), block_by_block=True)
    side = model.backbone.patch_size
    losses = model(torch.randn(1, 3, 3 * side, 5 * side), mode='loss')
    losses['loss_attention'].backward()
    torch.manual_seed(3)
    images = torch.randn(1, 3, 3 * side, 5 * side)
    with torch.no_grad():
        actual = model(images, mode='loss')['loss_attention']
        expected = by_hand(model, images)
    assert expected > 0
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-9)
    missing = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not missing


def test_a_hybrid_aligns_its_linear_layers_only():
    model = align(dict(LINEAR, softmax_layers=(0, -1)))
    assert model.replaced_layers == [1, 2]
    assert not any(p.requires_grad for p in model.backbone.vit.blocks[3].parameters())
    model(torch.randn(1, 3, 64, 64), mode='loss')['loss_attention'].backward()
    assert model.backbone.vit.blocks[1].attn.qkv.weight.grad is not None


class Kept:
    """A tensor that waits for the backward pass."""

    def __init__(self, tensor):
        self.tensor = tensor


def test_one_block_at_a_time_keeps_nothing_but_gradients():
    held = {}
    for block_by_block in (False, True):
        model, alive = align(block_by_block=block_by_block), weakref.WeakSet()

        def pack(tensor, alive=alive):
            kept = Kept(tensor)
            alive.add(kept)
            return kept

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept.tensor):
            loss = model(torch.randn(8, 3, 96, 96), mode='loss')['loss_attention']
        held[block_by_block] = sum(kept.tensor.numel() for kept in alive)
        assert loss.requires_grad
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert held[True] <= trained + 4  # and the mean over blocks
    assert held[False] > 10 * held[True]


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_gradients_of_one_block_do_not_vanish(dtype):
    images, gradients = torch.randn(2, 3, 64, 64), []
    for enabled in (False, True):
        model = peaked(align(block_by_block=True))
        with torch.autocast('cpu', dtype=dtype, enabled=enabled):
            loss = model(images, mode='loss')['loss_attention']
        loss.backward()
        gradients.append(model.backbone.vit.blocks[1].attn.qkv.weight.grad)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0,
                               atol=0.15 * float(gradients[0].abs().max()))


def test_the_second_stage_starts_from_the_first(tmp_path):
    first = align()
    with torch.no_grad():
        first.backbone.vit.blocks[0].attn.qkv.weight.add_(1.)
    file = tmp_path / 'student.pth'
    torch.save({'state_dict': {f'backbone.{k}': v for k, v in first.backbone.state_dict().items()}},
               file)
    second = align(dict(LINEAR, init_cfg=dict(type='Pretrained', checkpoint=str(file),
                                              prefix='backbone.')), kind=FeatureAlignment)
    second.init_weights()
    assert torch.equal(second.backbone.vit.blocks[0].attn.qkv.weight,
                       first.backbone.vit.blocks[0].attn.qkv.weight)
    other = align(dict(LINEAR, model_kwargs=dict(embed_dim=64, depth=4, num_heads=4),
                       init_cfg=dict(type='Pretrained', checkpoint=str(file),
                                     prefix='backbone.')), kind=FeatureAlignment)
    with pytest.raises(CheckpointError, match='student.pth does not fit.*in the file'):
        other.init_weights()


def test_feature_alignment_is_mse_of_the_final_tokens_and_trains_everything():
    model = align(kind=FeatureAlignment, inherit=True)
    images = torch.randn(2, 3, 64, 96)
    loss = model(images, mode='loss')['loss_feature']
    actual, = model.backbone.forward_tokens(images)
    expected, = model.teacher.network.forward_tokens(images)
    both = [torch.cat([t.cls[:, None], t.patches], 1) for t in (actual, expected)]
    torch.testing.assert_close(loss, (both[0] - both[1]).square().mean())
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())
    same = align(dict(VIT), kind=FeatureAlignment, inherit=True)  # a softmax student: no gap
    assert same(images, mode='loss')['loss_feature'].item() < 1e-10


def test_plain_final_feature_l2_into_an_adventurer():
    model = align(STUDENT, kind=FeatureAlignment)
    assert model.projector.weight.shape == (48, 32)
    loss = model(torch.randn(2, 3, 64, 64), mode='loss')['loss_feature']
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())


def test_a_patch_of_another_size_is_resampled():
    student = dict(VIT14, attention='linear', model_kwargs=dict(VIT14['model_kwargs'],
                                                                patch_size=16), img_size=64)
    for kind in (AttentionAlignment, FeatureAlignment):
        model = align(student, VIT14, kind=kind, inherit=True)
        assert model.backbone.patch_size == 16
        kernel = resample_patch_embed(model.teacher.network.vit.patch_embed.proj.weight, [16, 16])
        torch.testing.assert_close(model.backbone.vit.patch_embed.proj.weight.data, kernel)
        loss = model(torch.randn(1, 3, 64, 96), mode='loss')
        assert torch.isfinite(next(iter(loss.values())))


def tokens(shape, cls=True):
    return Tokens(torch.randn(*shape), torch.randn(shape[0], shape[2]) if cls else None,
                  (shape[1], 1))


@pytest.mark.parametrize('distance', DISTANCES)
@pytest.mark.parametrize('which', FeatureAlignmentLoss.TOKENS)
def test_distances(distance, which):
    s, t = tokens((2, 5, 8)), tokens((2, 5, 8))
    loss = FeatureAlignmentLoss(distance, which, beta=0.5, loss_weight=3.)([s], [t])
    pick = {'patches': lambda x: x.patches, 'cls': lambda x: x.cls[:, None],
            'all': lambda x: torch.cat([x.patches, x.cls[:, None]], 1)}[which]
    a, b = pick(s), pick(t)
    gap = (a - b).abs()
    expected = {'mse': (gap**2).mean(),
                'smooth_l1': torch.where(gap < 0.5, gap**2, gap - 0.25).mean(),
                'cosine': (1 - (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1))).mean()}
    torch.testing.assert_close(loss, 3 * expected[distance])


def test_networks_without_a_class_token_compare_patches():
    s, t = tokens((2, 5, 8), cls=False), tokens((2, 5, 8))
    torch.testing.assert_close(FeatureAlignmentLoss()([s], [t]),
                               (s.patches - t.patches).square().mean())
    with pytest.raises(ValueError, match="tokens='cls' needs a class token"):
        FeatureAlignmentLoss(tokens='cls')([s], [t])


def test_several_losses_of_attention_outputs():
    """Each by its name and as it is alone; block by block the gradient is that of their sum."""
    kind = 'mmvitlin.AttentionAlignmentLoss'
    given = dict(plain=dict(type=kind), relative_loss=dict(type=kind, relative=True), other=None)
    images, gradients = torch.randn(2, 3, 64, 64), []
    for block_by_block in (False, True):
        torch.manual_seed(1)
        model = peaked(align(objectives=given, block_by_block=block_by_block))
        losses = model(images, mode='loss')
        assert list(losses) == ['loss_plain', 'loss_relative_loss', 'plain_error', 'relative_error']
        assert (total := model.parse_losses(losses)[0]) == sum([*losses.values()][:2])
        torch.testing.assert_close(losses['loss_plain'], by_hand(model, images))
        total.backward()
        gradients.append([p.grad for p in model.parameters() if p.requires_grad])
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-9)


def test_relative_attention_loss_does_not_depend_on_size():
    a, b = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    loss = AttentionAlignmentLoss(relative=True)
    torch.testing.assert_close(loss(a, b), loss(10 * a, 10 * b))
    torch.testing.assert_close(AttentionAlignmentLoss()(a, b), (a - b).square().mean())


def test_bad_input():
    with pytest.raises(CheckpointError, match=r"inherits from has \{'width': 48.*'width': 64"):
        align(dict(LINEAR, model_kwargs=dict(embed_dim=64, depth=4, num_heads=4)))
    with pytest.raises(ValueError, match='the student has 4 layers of 64 channels'):
        align(dict(LINEAR, model_kwargs=dict(embed_dim=64, depth=4, num_heads=4)), inherit=False)
    with pytest.raises(ValueError, match='no layer of the student is linear'):
        align(VIT)
    with pytest.raises(ValueError, match=r'layers \[0, 1, 2, 3\] of the teacher are linear too'):
        align(teacher=LINEAR)
    with pytest.raises(TypeError, match='Adventurer cannot inherit'):
        align(STUDENT)
    with pytest.raises(TypeError, match='between two mmvitlin.TimmViT'):
        align(STUDENT, inherit=False)
    with pytest.raises(ValueError, match=r"trained: \['mlp'\] are none of"):
        align(trained=('mlp', ))
    with pytest.raises(ConfigError, match='objectives.feature: a FeatureAlignmentLoss compares'):
        align(objectives=dict(feature=dict(type='mmvitlin.FeatureAlignmentLoss')))
    with pytest.raises(ValueError, match='needs masks'):
        align(kind=FeatureAlignment, objectives=dict(
            mask=dict(type='mmvitlin.MaskedPredictionLoss')))
    with pytest.raises(ConfigError, match="distance must be one of.*'l3'"):
        FeatureAlignmentLoss('l3')
    with pytest.raises(ValueError, match=r'data_preprocessor.mean=\[10.0, 20.0, 30.0\]'):
        AttentionAlignment(LINEAR, dict(backbone=VIT, mean=[10., 20., 30.], std=[2., 4., 8.]),
                           data_preprocessor=PREPROCESSOR)


def test_an_inherited_student_is_its_teacher_but_for_attention():
    net = TimmViT(**{k: v for k, v in LINEAR.items() if k != 'type'})
    softmax_vit = TimmViT(**{k: v for k, v in VIT.items() if k != 'type'})
    net.inherit(softmax_vit)
    for a, b in zip(net.parameters(), softmax_vit.parameters(), strict=True):
        assert torch.equal(a, b)
