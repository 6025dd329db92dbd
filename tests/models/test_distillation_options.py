"""What a distiller can be told beside its objectives; and all of it together, in two processes."""
import os
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F

from mmvitlin.engine.runner.launch import train
from mmvitlin.models import CachedTeacher, FeatureAlignment, FrozenTeacher, ViTLinearizer
from mmvitlin.models.distillers.step_draws import StepDraws
from mmvitlin.utils.errors import ConfigError
from mmvitlin.utils.weights import safe_torch_load
from tests.conftest import ROOT
from tests.engine.test_hooks import distill_config
from tests.models.test_distillers import BOTH, PREPROCESSOR, STUDENT, VIT, VIT14, build

FEATURE = dict(type='mmvitlin.FeatureAlignmentLoss')
NAN = float('nan')
CONVNEXT = dict(type='mmvitlin.TimmBackbone', model_name='convnext_atto',
                model_kwargs=dict(dims=(8, 12, 16, 24), depths=(1, 1, 1, 1), output_stride=16))
# every option at once
ALL = dict(
    mask_ratio=(0.25, 0.75), unmasked_images=0.3, sizes=[64, (64, 96)],
    teacher=dict(backbone=VIT, scale=2), balance=dict(shares=dict(mask=0.5), momentum=0.5),
    objectives=dict(
        activation=dict(type='mmvitlin.ActivationMatchingLoss', num_stages=2, center=True,
                        layer_weights=[1, 2]),
        mask=dict(type='mmvitlin.MaskedPredictionLoss', visible_weight=0.2,
                  distance=dict(cosine=0.9, smooth_l1=0.1),
                  normalize_target=dict(type='phi_s', num_batches=2)),
        ladder=dict(FEATURE, layers=[0.5, -2], projector='mlp', tokens='patches',
                    normalize_target='standardize'),
        cls=dict(type='mmvitlin.ClassTokenLoss', projector='linear'),
        gram=dict(type='mmvitlin.GramAnchoringLoss', teacher_layers=-2),
        similar=dict(type='mmvitlin.TokenSimilarityLoss', num_anchors=4)))


def losses_of(model, *shape, seed=5):
    return model(torch.randn(*shape), mode='loss', step_seed=seed)


def test_everything_together_trains_every_parameter_and_only_the_student_is_left():
    model = build(**ALL)
    losses = losses_of(model, 3, 3, 64, 96)
    assert {k for k in losses if 'loss' in k} == {f'loss_{name}' for name in ALL['objectives']}
    total, _ = model.parse_losses(losses)
    total.backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []
    kept = {k.split('.')[0] for k in model.state_dict()}
    assert kept == {'backbone', 'objectives', 'projector', 'balance'}
    assert not any('objectives' in n for n, _ in model.backbone.named_parameters())
    without = build(**{**ALL, 'objectives': {**ALL['objectives'], 'ladder': None, 'cls': None}})
    assert not any('projectors' in n for n, _ in without.named_parameters())


def test_a_projector_of_its_own_also_at_equal_widths_and_no_common_one_beside_it():
    as_wide = dict(VIT, model_kwargs=dict(embed_dim=32, depth=4, num_heads=2))
    for feature, expected in ((FEATURE, 0), (dict(FEATURE, projector='linear'), 32 * 33)):
        model = FeatureAlignment(STUDENT, dict(backbone=as_wide), dict(feature=feature))
        assert sum(p.numel() for n, p in model.named_parameters()
                   if 'backbone' not in n) == expected
    model = FeatureAlignment(STUDENT, dict(backbone=VIT), dict(
        feature=dict(FEATURE, projector='mlp'), other=FEATURE))
    assert model.projector.weight.shape == (48, 32)
    assert model.objectives['feature'].projectors[0][0].in_features == 32
    sum(losses_of(model, 2, 3, 64, 64).values()).backward()
    assert all(p.grad is not None for p in model.parameters())


def test_stages_of_different_width_have_heads_of_their_own():
    ladder = dict(FEATURE, layers=[1, 2, 3], projector='linear')
    model = ViTLinearizer(CONVNEXT, dict(backbone=VIT), dict(feature=ladder), mask_ratio=0.)
    assert [p.weight.shape for p in model.objectives['feature'].projectors] == [
        (48, 12), (48, 16), (48, 24)]
    sum(losses_of(model, 2, 3, 64, 64).values()).backward()
    assert all(p.grad is not None for p in model.parameters())
    with pytest.raises(ConfigError, match=r"objectives.feature: the student's layers \[1, 2, 3\] "
                                          r"are \[12, 16, 24\] wide.*projector='linear'"):
        ViTLinearizer(CONVNEXT, dict(backbone=VIT), dict(feature=dict(FEATURE, layers=[1, 2, 3])),
                      mask_ratio=0.)


@pytest.mark.parametrize(('objectives', 'options', 'message'), [
    (dict(cls=dict(type='mmvitlin.ClassTokenLoss')), dict(backbone=CONVNEXT),
     'objectives.cls: compares class tokens, and the student has none'),
    (dict(feature=dict(FEATURE, layers=9)), {}, 'objectives.feature: layers: the student has 4'),
    (dict(feature=dict(FEATURE, layers=-2, teacher_layers=-1)), {},
     r"none reads the student's last layer \(3\)"),
    (dict(a=dict(FEATURE, layer_weights=[NAN])), {}, 'objectives.a: layer_weights must be'),
    (dict(a=dict(FEATURE, loss_weight=-1)), {}, 'objectives.a: .*loss_weight must be a number'),
    (dict(a=dict(FEATURE, distance=dict(mse=-1.))), {}, 'objectives.a: distance.mse must be'),
    (dict(a=dict(FEATURE, beta=-1.)), {}, 'objectives.a: beta must be a number above 0'),
    (dict(a=dict(FEATURE, betta=1.)), {}, "objectives.a: .*'betta'"),
    (dict(a=dict(type='mmvitlin.GramAnchoringLoss', form='fast')), {},
     "objectives.a: .*form must be 'auto', 'linear' or 'pairwise', got 'fast'"),
    (dict(a=dict(type='mmvitlin.TokenSimilarityLoss', num_anchors=2.5)), {},
     'objectives.a: .*num_anchors must be a whole number'),
    (BOTH, dict(balance=dict(share=dict(mask=2))), r"balance: no options \['share'\]"),
    (BOTH, dict(sizes=64), 'sizes=64: give a list'),
    (BOTH, dict(sizes=[70]), r'sizes=\[70\]: .* multiples of the student.s patch, 16'),
    (BOTH, dict(sizes=[]), r'sizes=\[\]'),
    (BOTH, dict(sizes=[(64, 64, 3)]), 'sizes=')])
def test_what_does_not_fit_is_reported_by_name(objectives, options, message):
    with pytest.raises(ConfigError, match=message):
        build(objectives=objectives, mask_ratio=0.5, **options)


@pytest.mark.parametrize('ratio', [(0.2,), (0.6, 0.2), (0.5, 1.0), -0.1, None, '0.5'])
def test_bad_mask_ranges(ratio):
    with pytest.raises(ConfigError, match=r'mask_ratio must be in \[0, 1\), or a range'):
        build(mask_ratio=ratio)
    with pytest.raises(ConfigError, match='unmasked_images must be a number'):
        build(unmasked_images=1.)


def test_masks_from_a_range_and_whole_images():
    model = build(mask_ratio=(0.2, 0.8), unmasked_images=0.4)
    counts = []
    for seed in range(40):
        rows = model.random_mask(4, 50, 'cpu', StepDraws(seed)).sum(1).tolist()
        masked = {count for count in rows if count}
        assert len(masked) <= 1  # one ratio a step
        counts.append((masked.pop() if masked else None, rows.count(0)))
    drawn = [count for count, _ in counts if count]
    assert min(drawn) >= 10
    assert max(drawn) <= 40
    assert max(drawn) - min(drawn) > 20
    assert 0.3 < sum(whole for _, whole in counts) / 160 < 0.5
    twice = [model.random_mask(4, 50, 'cpu', StepDraws(7)) for _ in range(2)]
    assert torch.equal(*twice)


def test_the_default_masks_are_what_they_were():
    """A step's mask comes from its seed alone, as in runs that were begun before."""
    model = build(mask_ratio=0.75)
    drawn = torch.rand(2, 16, generator=torch.Generator().manual_seed(7))
    mask = model.random_mask(2, 16, 'cpu', StepDraws(7))
    assert torch.equal(mask, drawn.argsort(1) < 12)


def test_sizes_are_drawn_and_both_sides_see_them():
    model = build(sizes=[32, (48, 64), 96], teacher=dict(backbone=VIT14))
    seen = {'student': [], 'teacher': []}
    model.backbone.patch_embed.register_forward_pre_hook(
        lambda _, args: seen['student'].append(tuple(args[0].shape[-2:])))
    run = model.teacher.network.forward_tokens
    model.teacher.network.forward_tokens = lambda images, layers: (
        seen['teacher'].append(tuple(images.shape[-2:])), run(images, layers))[1]
    for seed in range(3):
        losses_of(model, 1, 3, 96, 96, seed=seed)
    assert seen['teacher'] == [(h // 16 * 14, w // 16 * 14) for h, w in seen['student']]
    drawn = []
    for seed in range(30):
        resized = model.resized(torch.randn(1, 3, 96, 96), StepDraws(seed))
        drawn.append(tuple(resized.shape[-2:]))
    assert drawn[:3] == seen['student']
    assert set(drawn) == {(32, 32), (48, 64), (96, 96)}
    images = torch.randn(1, 3, 96, 96)
    model.sizes = ((48, 64), )
    torch.testing.assert_close(model.resized(images, StepDraws()), F.interpolate(
        images, (48, 64), mode='bicubic', antialias=True, align_corners=False))


def test_a_teacher_at_twice_the_resolution_is_averaged_to_the_students_grid(tmp_path):
    torch.manual_seed(0)
    plain, fine = FrozenTeacher(VIT), FrozenTeacher(VIT, scale=2)
    fine.network.load_state_dict(plain.network.state_dict())
    images = torch.randn(2, 3, 128, 64)  # twice what the student of 4 x 2 patches sees
    actual, = fine.forward_tokens(images, (3, ), (4, 2))
    expected, = plain.network.forward_tokens(images, (3, ))
    assert actual.grid == (4, 2)
    blocks = expected.patches.view(2, 4, 2, 2, 2, 48).mean((2, 4)).flatten(1, 2)
    torch.testing.assert_close(actual.patches, blocks)
    torch.testing.assert_close(actual.cls, expected.cls)
    cached = CachedTeacher(VIT, scale=2, cache=str(tmp_path))
    cached.network.load_state_dict(plain.network.state_dict())
    for _ in range(2):
        torch.testing.assert_close(cached.forward_tokens(images, (3, ), (4, 2))[0].patches,
                                   actual.patches)
    assert (cached.cache.hits, cached.cache.misses) == (2, 2)
    whole = CachedTeacher(VIT, cache=str(tmp_path))  # the same pixels, not averaged
    whole.network.load_state_dict(plain.network.state_dict())
    assert whole.forward_tokens(images, (3, ), (8, 4))[0].grid == (8, 4)
    assert whole.cache.misses == 2
    with pytest.raises(ValueError, match='scale is a whole number above 0, not 1.5'):
        FrozenTeacher(VIT, scale=1.5)


def test_the_finer_teacher_gets_the_pixels_that_were_loaded():
    """With sizes, the student's image is smaller than what the loader gave."""
    model = build(sizes=[32], teacher=dict(backbone=VIT, scale=2),
                  objectives=dict(gram=dict(type='mmvitlin.GramAnchoringLoss')))
    seen = []
    run = model.teacher.network.forward_tokens
    model.teacher.network.forward_tokens = lambda images, layers: (
        seen.append(images), run(images, layers))[1]
    images = torch.randn(1, 3, 64, 64)
    model(images, mode='loss')
    assert torch.equal(seen[0], images)


def test_a_finer_teacher_without_finer_pixels_is_warned_of(monkeypatch):
    messages = []
    monkeypatch.setattr('mmvitlin.models.teachers.frozen_teacher.print_log',
                        lambda text, **_: messages.append(text))
    for sizes in (None, [32]):
        model = build(sizes=sizes, teacher=dict(backbone=VIT, scale=2),
                      objectives=dict(gram=dict(type='mmvitlin.GramAnchoringLoss')))
        for _ in range(2):
            model(torch.randn(1, 3, 64, 64), mode='loss')
    message, = messages  # once, and not where 32 of 64 pixels are shown to the student
    assert 'scale=2 shows the teacher 128×128 pixels, enlarged from 64×64' in message


def test_mixed_precision():
    torch.manual_seed(0)
    model = build(**ALL)
    images = torch.randn(3, 3, 64, 96)
    with torch.autocast('cpu', torch.bfloat16):
        losses = model(images, mode='loss', step_seed=5)
    model.parse_losses(losses)[0].backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    torch.manual_seed(0)
    whole = build(**ALL)
    for name, loss in whole(images, mode='loss', step_seed=5).items():
        torch.testing.assert_close(losses[name].float(), loss, rtol=1e-2, atol=1e-3, msg=name)


TWO_PROCESSES = """
import sys, torch
from mmengine.dist import get_rank
from torch.nn.parallel import DistributedDataParallel
from mmvitlin.engine.strategies import distributed
from mmvitlin.models import ViTLinearizer
distributed.join('pytorch')
want = torch.load(sys.argv[1])
torch.manual_seed(0)  # the teacher's weights are in no state
model = ViTLinearizer(**want['cfg'])
model.load_state_dict(want['before'])
wrapped = DistributedDataParallel(model, broadcast_buffers=False)
for step, images in enumerate(want['images']):
    model.zero_grad()
    total, _ = model.parse_losses(wrapped(images[get_rank()::2], mode='loss', step_seed=step))
    total.backward()
for name, p in model.named_parameters():
    torch.testing.assert_close(p.grad, want['grad'][name], atol=2e-6, rtol=2e-3,
                               msg=lambda text, name=name: f'{name}: {text}')
for name, b in model.named_buffers():
    torch.testing.assert_close(b, want['buffers'][name], atol=1e-6, rtol=1e-3,
                               msg=lambda text, name=name: f'{name}: {text}')
print('equal')
distributed.leave()
"""


@pytest.mark.slow
def test_two_processes_do_what_one_does(tmp_path):
    """No unused parameter, one mask, size and anchors, common statistics, the same gradients."""
    cfg = dict(backbone=STUDENT, data_preprocessor=PREPROCESSOR, **ALL)
    torch.manual_seed(0)
    model = ViTLinearizer(**cfg)
    settings = dict(cfg=cfg, before={k: v.clone() for k, v in model.state_dict().items()},
                    images=[torch.randn(4, 3, 64, 96) for _ in range(3)])
    for step, images in enumerate(settings['images']):
        model.zero_grad()
        model.parse_losses(model(images, mode='loss', step_seed=step))[0].backward()
    settings.update(grad={n: p.grad for n, p in model.named_parameters()},
                    buffers=dict(model.named_buffers()))
    torch.save(settings, tmp_path / 'one.pth')
    script = tmp_path / 'two.py'
    script.write_text(TWO_PROCESSES)
    done = subprocess.run(
        [sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node', '2', '--standalone',
         str(script), str(tmp_path / 'one.pth')], capture_output=True, text=True,
        cwd=ROOT, env=dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1'))
    assert done.stdout.count('equal') == 2, done.stderr[-3000:]


@pytest.mark.slow
def test_a_cut_run_resumes_bit_exactly(streets, tmp_path):
    """Statistics of targets, averages of norms, sizes and masks are those of the whole run."""
    options = {
        'model.sizes': [(32, 64), (64, 128)], 'model.mask_ratio': (0.25, 0.75),
        'model.unmasked_images': 0.3, 'model.balance': dict(momentum=0.5),
        'model.objectives.mask.normalize_target': dict(type='phi_s', num_batches=3),
        'model.objectives.similar': dict(type='mmvitlin.TokenSimilarityLoss', num_anchors=4,
                                         projector='mlp'),
        'default_hooks.checkpoint.interval': 2, 'randomness.seed': 1}
    for folder, stops in (('whole', [4]), ('cut', [2, 4])):
        for n, stop in enumerate(stops):
            cfg = distill_config(streets, tmp_path / folder, **options)
            cfg.param_scheduler = []  # mmengine stretches schedules to the run's length
            cfg.train_cfg.max_iters = stop
            train(cfg, resume=n > 0)
    states = [safe_torch_load(tmp_path / folder / 'iter_4.pth') for folder in ('whole', 'cut')]
    a, b = (state['state_dict'] for state in states)
    assert a.keys() == b.keys()
    assert 'objectives.mask.target_norms.0.rotation' in a
    assert int(a['objectives.mask.target_norms.0.batches']) == 3
    for key in a:
        assert torch.equal(a[key], b[key]), key
    student = torch.load(tmp_path / 'cut' / 'student.pth', weights_only=True)['state_dict']
    assert all(key.startswith('backbone.') for key in student)


def test_the_example_of_the_docs():
    page = (ROOT / 'docs/objectives.md').read_text()
    namespace = {}
    exec(page.split('```python\n')[1].split('```')[0], namespace)
    options = {k: v for k, v in namespace['model'].items() if k != 'type'}
    losses = losses_of(build(**options), 2, 3, 64, 64)
    assert {k for k in losses if 'loss' in k} == {'loss_feature', 'loss_gram', 'loss_cls'}


@pytest.mark.parametrize(('objectives', 'options', 'message'), [
    (dict(a=dict(type='mmvitlin.LogitLoss')), {}, 'objectives.a: a LogitLoss does not compare'),
    (dict(a=dict(FEATURE, loss_weight='1')), {}, "loss_weight must be a number.*, got '1'"),
    (dict(a=dict(FEATURE, beta=None)), {}, 'beta must be a number above 0, got None'),
    (dict(a=dict(FEATURE, distance=None)), {}, 'distance must be one of'),
    (dict(a=dict(FEATURE, normalize_target=1)), {}, 'normalize_target=1: take'),
    (dict(a=dict(FEATURE, normalize_target=dict(type='phi_s', num_batches='16'))), {},
     "num_batches must be a whole number at least 1, got '16'"),
    (dict(a=dict(FEATURE, layers='0.5')), {}, "layers=\\('0.5',\\)"),
    (dict(a=dict(type='mmvitlin.ActivationMatchingLoss', num_stages=4.)), {}, 'num_stages must be'),
    (dict(a=dict(type='mmvitlin.MaskedPredictionLoss', visible_weight=NAN)), {},
     'visible_weight must be'),
    ({'keys': FEATURE}, {}, "'keys' cannot be a name"),
    ({'a.b': FEATURE}, {}, "'a.b' cannot be a name"),
    (dict(a=FEATURE, b=FEATURE), dict(balance=True), 'balance=True: give dict'),
    (dict(a=FEATURE, b=FEATURE), dict(balance=dict(momentum=None)), 'balance.momentum must be'),
    (dict(a=FEATURE, b=FEATURE), dict(balance=dict(shares=dict(a='x'))), 'balance.shares.a must'),
    (dict(a=FEATURE), dict(sizes=[32.]), 'sizes=.*give a list'),
    (dict(a=FEATURE), dict(sizes=['32']), 'sizes=.*give a list'),
    (dict(a=FEATURE), dict(unmasked_images=None), 'unmasked_images must be a number')])
def test_values_of_another_kind_are_reported_by_name(objectives, options, message):
    with pytest.raises(ConfigError, match=message):
        build(objectives=objectives, **{'mask_ratio': 0.5, **options})


@pytest.mark.parametrize(('ratio', 'masked'), [(0.55, 55), (0.07, 7), (0.14, 14), (0.141, 15)])
def test_as_many_patches_as_the_ratio_says_are_masked(ratio, masked):
    mask, visible = build(mask_ratio=ratio).draw_mask(2, 100, 'cpu', StepDraws(0))
    assert mask.sum(1).tolist() == [masked] * 2
    assert visible == 100 - masked
