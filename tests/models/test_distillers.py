"""The frozen teacher is excluded from state dict and optimiser; what the distiller reads and
writes."""
import os
import subprocess
import sys

import pytest
import torch
from mmengine.registry import MODELS

from mmvitlin.models import (
    AttentionAlignment,
    FrozenTeacher,
    TimmViT,
    ViTLinearizer,
)
from mmvitlin.utils.errors import ConfigError
from mmvitlin.utils.normalisation import Normalisation
from tests.conftest import ROOT

STUDENT = dict(type='mmvitlin.Adventurer', arch=dict(embed_dims=32, num_layers=4), img_size=64)
VIT = dict(type='mmvitlin.TimmViT', model_name='vit_tiny_patch16_224', img_size=64,
           model_kwargs=dict(embed_dim=48, depth=4, num_heads=3))
VIT14 = dict(type='mmvitlin.TimmViT', model_name='vit_small_patch14_dinov2', img_size=56,
             model_kwargs=dict(embed_dim=48, depth=4, num_heads=3))
BOTH = dict(activation=dict(type='mmvitlin.ActivationMatchingLoss'),
            mask=dict(type='mmvitlin.MaskedPredictionLoss'))
PREPROCESSOR = dict(type='mmengine.ImgDataPreprocessor', mean=[120., 115., 100.],
                    std=[60., 61., 62.], bgr_to_rgb=True)


def build(**kwargs):
    cfg = dict(backbone=STUDENT, teacher=dict(backbone=VIT), objectives=BOTH,
               data_preprocessor=PREPROCESSOR)
    return ViTLinearizer(**{**cfg, **kwargs})


def test_the_teacher_is_excluded_from_state_dict_optimiser_and_checkpoints():
    model = build()
    net = model.teacher.network
    assert not any('teacher' in k for k in model.state_dict())
    trained = {id(p) for p in model.parameters()}
    assert not trained & {id(p) for p in net.parameters()}
    assert not list(model.teacher.buffers())
    assert all(not p.requires_grad for p in net.parameters())
    model.train()
    assert not net.training
    assert not model.teacher.training


@pytest.mark.parametrize('projector', ['mlp', 'linear', None, 2])
def test_projectors_that_there_are_not(projector):
    with pytest.raises(ConfigError, match="must be True, False or 'auto'; one of two"):
        build(projector=projector)


def test_a_step_does_not_wait_for_the_device():
    """Tensors without values, of the meta device, can answer nothing."""
    objectives = dict(BOTH, gram=dict(type='mmvitlin.GramAnchoringLoss'))
    model = build(objectives=objectives).to('meta')
    losses = model(torch.empty(4, 3, 64, 64, device='meta'), mode='loss')
    assert {name: loss.shape for name, loss in losses.items()} == dict.fromkeys(
        ('loss_activation', 'loss_mask', 'loss_gram'), ())
    sum(losses.values()).backward()


def test_it_moves_with_the_model():
    model = build().double()
    assert next(model.teacher.network.parameters()).dtype == torch.float64
    model.to('meta')
    assert next(model.teacher.network.parameters()).device.type == 'meta'


def test_no_gradient_reaches_it_and_every_student_parameter_gets_one():
    model = build()
    losses = model(torch.randn(2, 3, 64, 64), mode='loss')
    assert set(losses) == {'loss_activation', 'loss_mask'}
    sum(losses.values()).backward()
    assert all(p.grad is None for p in model.teacher.network.parameters())
    # the class token's final state is read by no objective: everything else learns
    without = [n for n, p in model.named_parameters() if p.grad is None]
    assert without == []


def test_its_own_normalisation():
    teacher = FrozenTeacher(VIT, mean=[10., 20., 30.], std=[2., 4., 8.])
    seen = []
    teacher.network.register_forward_pre_hook(lambda m, a: seen.append(a[0]))
    teacher.network.forward_tokens = lambda images, layers: seen.append(images) or []
    raw = torch.rand(1, 3, 64, 64) * 255
    mean, std = torch.tensor([120., 115., 100.]), torch.tensor([60., 61., 62.])
    normed = (raw - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    students = Normalisation(tuple(mean.tolist()), tuple(std.tolist()), rgb=True)
    teacher.forward_tokens(normed, (0, ), (4, 4), students)
    expected = (raw - torch.tensor([10., 20., 30.]).view(3, 1, 1)) / \
        torch.tensor([2., 4., 8.]).view(3, 1, 1)
    torch.testing.assert_close(seen[0], expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize('size', [(64, 64), (64, 96), (50, 70)])
def test_a_14_pixel_teacher_beside_a_16_pixel_student(size):
    model = build(teacher=dict(backbone=VIT14))
    images = torch.randn(2, 3, *size)
    grid = tuple(-(-s // 16) for s in size)
    tokens, = model.teacher_tokens(images, (3, ), grid)
    assert tokens.grid == grid
    assert tokens.patches.shape == (2, grid[0] * grid[1], 48)
    assert all(torch.isfinite(v) for v in model(images, mode='loss').values())


def test_whose_normalisation(tmp_path):
    clip = dict(type='mmvitlin.TimmViT', model_name='vit_base_patch16_clip_224.openai', img_size=64,
                model_kwargs=dict(embed_dim=48, depth=4, num_heads=3))
    state = MODELS.build(clip).vit.state_dict()
    torch.save(state, tmp_path / 'makers.pth')
    torch.save({'state_dict': {f'backbone.vit.{k}': v for k, v in state.items()}},
               tmp_path / 'whole.pth')
    assert FrozenTeacher(clip).normalisation is None
    assert FrozenTeacher(clip, checkpoint=str(tmp_path / 'whole.pth')).normalisation is None
    for cfg, more in ((clip, dict(checkpoint=str(tmp_path / 'makers.pth'))),
                      (dict(clip, checkpoint=str(tmp_path / 'makers.pth')), {})):
        normalisation = FrozenTeacher(cfg, **more).normalisation
        assert normalisation.mean == pytest.approx([122.77, 116.75, 104.09], abs=0.01)
        assert normalisation.std == pytest.approx([68.50, 66.63, 70.32], abs=0.01)


def test_an_mmpretrain_teacher(tmp_path):
    cfg = dict(type='mmpretrain.VisionTransformer', img_size=64, patch_size=16,
               arch=dict(embed_dims=48, num_layers=4, num_heads=3, feedforward_channels=96))
    net = MODELS.build(cfg)
    net.eval()
    torch.save({'state_dict': {f'backbone.{k}': v for k, v in net.state_dict().items()}},
               tmp_path / 'mm.pth')
    model = build(teacher=dict(backbone=cfg, checkpoint=str(tmp_path / 'mm.pth')))
    images = torch.randn(1, 3, 64, 64)
    tokens, = model.teacher.forward_tokens(images, (3, ), (4, 4))
    net.out_type, net.out_indices = 'featmap', [3]
    torch.testing.assert_close(tokens.featmap(), net(images)[0])
    assert set(model(images, mode='loss')) == {'loss_activation', 'loss_mask'}


def test_objectives_are_dropped_by_none():
    model = build(objectives={**BOTH, 'mask': None})
    assert set(model(torch.randn(1, 3, 64, 64), mode='loss')) == {'loss_activation'}
    assert not any('projector' in n for n, _ in model.named_parameters())


def test_depths_and_widths_may_differ():
    deep = {**VIT, 'model_kwargs': dict(embed_dim=48, depth=8, num_heads=3)}
    model = build(teacher=dict(backbone=deep))
    assert model.student_layers()['activation'] == (0, 1, 2, 3)
    assert model.teacher_layers()['activation'] == (1, 3, 5, 7)
    assert model.projector.weight.shape == (48, 32)


def test_masks():
    model = build(mask_ratio=0.75)
    mask = model.random_mask(4, 16, 'cpu')
    assert mask.sum(1).tolist() == [12] * 4
    assert not torch.equal(mask[0], mask[1]) or not torch.equal(mask[0], mask[2])
    assert build(mask_ratio=0., objectives={**BOTH, 'mask': None}).random_mask(1, 16, 'cpu') is None


def test_padded_images_reach_both_sides_alike():
    model = build(mask_ratio=0., objectives=dict(activation=BOTH['activation']))
    images = torch.randn(1, 3, 64, 64)
    images[..., 50:] = 0
    a, b = (model(x, mode='loss')['loss_activation'] for x in (images, images[..., :50]))
    torch.testing.assert_close(a, b)


def test_bad_configs(tmp_path):
    with pytest.raises(KeyError, match='objectives.style: no loss of type'):
        build(objectives=dict(style=dict(type='mmvitlin.StyleLoss')))
    with pytest.raises(ValueError, match='every entry is None'):
        build(objectives=dict(mask=None))
    with pytest.raises(ConfigError, match='objectives.a: num_stages=7 does not fit'):
        build(objectives=dict(a=dict(type='mmvitlin.ActivationMatchingLoss', num_stages=7)))
    with pytest.raises(ConfigError, match=r'mask_ratio must be in \[0, 1\)'):
        build(mask_ratio=1.0)
    with pytest.raises(ValueError, match="objectives.mask needs masks, but mask_ratio is 0"):
        build(mask_ratio=0.)
    with pytest.raises(ValueError, match="32 wide, the teacher 48.*projector='auto'"):
        build(projector=False)
    with pytest.raises(ValueError, match='0–1 scale'):
        build(teacher=dict(backbone=VIT, mean=[.5, .5, .5], std=[.2, .2, .2]))
    with pytest.raises(ValueError, match='mean and std together'):
        build(teacher=dict(backbone=VIT, mean=[1., 1., 1.]))
    with pytest.raises(TypeError, match='cannot teach token by token'):
        build(teacher=dict(backbone=dict(type='mmpretrain.ResNet', depth=18)))
    with pytest.raises(TypeError, match='has no forward_tokens'):
        build(backbone=dict(type='mmpretrain.ResNet', depth=18))
    torch.save(TimmViT('vit_tiny_patch16_224', img_size=64).state_dict(), tmp_path / 'wide.pth')
    with pytest.raises(RuntimeError, match=r'wide.pth does not fit.*192.*48'):
        build(teacher=dict(backbone=VIT, checkpoint=str(tmp_path / 'wide.pth')))
    with pytest.raises(FileNotFoundError, match='no checkpoint at .*none.pth'):
        build(teacher=dict(backbone=VIT, checkpoint=str(tmp_path / 'none.pth')))


def test_a_teacher_in_half_precision():
    torch.manual_seed(0)
    whole = FrozenTeacher(VIT)
    half = FrozenTeacher(VIT, precision='bf16')
    half.network.load_state_dict(whole.network.state_dict())
    assert {p.dtype for p in half.network.parameters()} == {torch.bfloat16}
    images = torch.randn(2, 3, 64, 64)
    for autocast in (False, True):
        with torch.autocast('cpu', torch.float16, enabled=autocast):
            actual, = half.forward_tokens(images, (-1, ), (4, 4))
        expected, = whole.forward_tokens(images, (-1, ), (4, 4))
        assert actual.patches.dtype == torch.bfloat16
        torch.testing.assert_close(actual.patches.float(), expected.patches, atol=0.05, rtol=0.05)
    model = build(teacher=dict(backbone=VIT, precision='bf16'))
    sum(model(torch.randn(2, 3, 64, 64), mode='loss').values()).backward()
    with pytest.raises(ValueError, match=r"precision is None or one of \['bf16', 'fp16'\]"):
        FrozenTeacher(VIT, precision='int8')


@pytest.mark.slow
def test_a_compiled_teacher(monkeypatch):
    """Traced as ever, without a C++ compiler behind it."""
    compile = torch.compile
    monkeypatch.setattr(torch, 'compile', lambda f: compile(f, backend='aot_eager'))
    torch.manual_seed(0)
    eager, compiled = FrozenTeacher(VIT), FrozenTeacher(VIT, compiled=True)
    compiled.network.load_state_dict(eager.network.state_dict())
    images = torch.randn(2, 3, 64, 64)
    actual, expected = (t.forward_tokens(images, (1, 3), (4, 4)) for t in (compiled, eager))
    for a, b in zip(actual, expected, strict=True):
        torch.testing.assert_close(a.patches, b.patches, atol=1e-5, rtol=1e-4)


SHARDED = """
import torch
from mmengine.dist import get_rank
from mmvitlin.engine.strategies import distributed
from mmvitlin.models import FrozenTeacher, ShardedTeacher
distributed.join('pytorch')
torch.manual_seed(0)
cfg = {cfg}
whole, sharded = FrozenTeacher(cfg), ShardedTeacher(cfg)
sharded.network.load_state_dict(whole.network.state_dict())
for seed in (0, 1):
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(seed + get_rank()))
    pairs = [t.forward_tokens(images, (1, 3), (4, 4)) for t in (whole, sharded)]
    assert all(torch.equal(a.patches, b.patches) for a, b in zip(*pairs, strict=True))
held, there = (sum(getattr(p, 'to_local', lambda p=p: p)().numel()
                   for p in t.network.blocks().parameters()) for t in (sharded, whole))
assert held == there / 2, (held, there)
print('equal')
distributed.leave()
"""


@pytest.mark.slow
def test_a_sharded_teacher_gives_the_same_and_holds_half(tmp_path):
    script = tmp_path / 'sharded.py'
    script.write_text(SHARDED.replace('{cfg}', repr(VIT)))
    done = subprocess.run([sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node', '2',
                           '--standalone', str(script)], cwd=ROOT, text=True,
                          capture_output=True,
                          env=dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1'))
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count('equal') == 2


@pytest.mark.parametrize('how', [dict(cache='x'), dict(precision='bf16'), dict(compiled=True),
                                 dict(scale=2)])
def test_attention_alignment_needs_the_plain_teacher(how):
    with pytest.raises(ValueError, match='precision, compiled, cache and scale cannot be used'):
        AttentionAlignment(dict(VIT, attention='linear'), dict(backbone=VIT, **how))
