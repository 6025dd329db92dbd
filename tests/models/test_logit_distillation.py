"""The student's class probabilities become the teacher's, and nothing of the teacher is kept."""
import copy

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope

from mmvitlin.engine.runner.config import load_config
from mmvitlin.models import LogitLoss
from mmvitlin.utils.errors import CheckpointError, ConfigError
from tests.conftest import ROOT

CONFIGS = {'camvid': 'mmseg', 'cifar10': 'mmpretrain'}
WIDTH = {'camvid': 'nano', 'cifar10': 'pico'}


def build(name, **teacher):
    cfg = load_config(str(ROOT / f'configs/distill/logits_adventurer-{WIDTH[name]}_{name}.py'))
    init_default_scope(CONFIGS[name])
    model = cfg.model
    model.student.backbone.update(arch=dict(embed_dims=32, num_layers=2))
    part = model.student.decode_head if name == 'camvid' else model.student.head
    part.in_channels = 32
    model.teacher.model.backbone.model_kwargs.depth = 2
    model.teacher.checkpoint = None
    model.teacher.update(teacher)
    torch.manual_seed(0)
    return MODELS.build(model)


SIZE = {'camvid': (120, 160), 'cifar10': (32, 32)}


@pytest.mark.parametrize('name', CONFIGS)
def test_the_loss_is_the_divergence_of_the_scores(name):
    model = build(name).eval()
    images = torch.randn(2, 3, *SIZE[name])
    with torch.no_grad():
        t = model.teacher.network(images, mode='tensor') / 2
        s = model(images, mode='tensor') / 2
        actual = model(images, mode='loss')['loss_logits']
    assert t.shape == s.shape
    p = t.softmax(1)
    expected = 4 * (p * (p.log() - s.softmax(1).log())).sum(1).mean()
    assert actual.item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-6)
    assert actual.item() > 0
    if name == 'camvid':  # the same network has nothing to learn
        model.teacher.__dict__['network'] = copy.deepcopy(model.student).eval()
        assert model(images, mode='loss')['loss_logits'].item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize('name', CONFIGS)
def test_the_whole_student_learns_and_the_teacher_is_nowhere(name):
    model = build(name).train()
    model(torch.randn(2, 3, *SIZE[name]), mode='loss')['loss_logits'].backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []
    heads = 'decode_head.' if name == 'camvid' else 'head.'
    assert all(k.startswith(('backbone.', heads)) for k in model.state_dict())
    assert any(k.startswith(heads) for k in model.state_dict())
    assert not model.teacher.network.training
    assert all(p.grad is None for p in model.teacher.network.parameters())
    assert model.student.training
    assert not model.eval().student.training
    averaged = copy.deepcopy(model)  # as an EMA hook makes it
    for a, b in zip(averaged.teacher.network.parameters(), model.teacher.network.parameters(),
                    strict=True):
        assert a is not b
        assert a.data_ptr() == b.data_ptr()
    assert averaged.student.backbone is averaged.backbone is not model.backbone


def test_student_and_teacher_maps_of_other_sizes():
    model = build('camvid')
    model.teacher.network.backbone = MODELS.build(dict(
        type='mmvitlin.TimmViT', model_name='vit_tiny_patch16_224', img_size=(120, 160),
        model_kwargs=dict(patch_size=4, embed_dim=128, depth=1, num_heads=2))).eval()
    loss = model(torch.randn(1, 3, 120, 160), mode='loss')['loss_logits']
    assert torch.isfinite(loss)


def test_refusals(tmp_path):
    torch.save(dict(state_dict=dict(a=torch.zeros(1))), tmp_path / 'other.pth')
    with pytest.raises(CheckpointError, match=r'other.pth is of another model'):
        build('camvid', checkpoint=str(tmp_path / 'other.pth'))
    cfg = load_config(str(ROOT / 'configs/distill/logits_adventurer-nano_camvid.py')).model
    cfg.teacher.checkpoint = None
    init_default_scope('mmseg')
    logits = dict(type='mmvitlin.LogitLoss', temperature=0.)
    for change, words in ((dict(objectives=dict(logits=logits)), 'temperature must be a number'),
                          (dict(temperature=3.), r'objectives=dict\(.*LogitLoss.*temperature=3.0')):
        with pytest.raises(ConfigError, match=words):
            MODELS.build({**cfg, **change})
    other = copy.deepcopy(cfg)
    other.teacher.model.decode_head.num_classes = 5
    with pytest.raises(ValueError, match='has 5 classes, the student 11'):
        MODELS.build(other)
    other = copy.deepcopy(cfg)
    other.data_preprocessor.mean = [1., 2., 3.]
    with pytest.raises(ValueError, match=r'another normalisation; .*mean=\[123.675'):
        MODELS.build(other)


def test_one_score_is_of_a_class_against_its_absence():
    student, teacher = torch.randn(2, 3, 1, 4, 5).unbind()
    student.requires_grad_()
    loss = LogitLoss(temperature=2.)(student, teacher)
    q, p = (x.double().div(2).sigmoid() for x in (student, teacher))
    expected = 4 * (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    assert torch.autograd.grad(loss, student)[0].abs().min() > 0
    with pytest.raises(ConfigError, match='the teacher gives 2 scores and the student 1'):
        LogitLoss()(student, torch.randn(3, 2, 4, 5))


def test_a_teacher_whose_config_names_its_weights_has_them(tmp_path):
    model = build('cifar10')
    weights = {k: torch.randn_like(v) if v.is_floating_point() else v
               for k, v in model.teacher.network.state_dict().items()}
    torch.save(dict(state_dict=weights), tmp_path / 'whole.pth')
    init = dict(type='Pretrained', checkpoint=str(tmp_path / 'whole.pth'))
    cfg = load_config(str(ROOT / 'configs/distill/logits_adventurer-pico_cifar10.py'))
    cfg.model.teacher.model.backbone.model_kwargs.depth = 2
    again = build('cifar10', model=dict(cfg.model.teacher.model, init_cfg=init))
    for key, value in again.teacher.network.state_dict().items():
        assert torch.equal(value, weights[key]), key


@pytest.mark.parametrize(('change', 'words'), [
    (dict(teacher=dict(checkpoint=None)), 'model.teacher must be dict'),
    (dict(objectives=dict(a=dict(type='mmvitlin.FeatureAlignmentLoss'))),
     'objectives.a: a FeatureAlignmentLoss compares features')])
def test_what_is_no_distillation_of_scores(change, words):
    cfg = load_config(str(ROOT / 'configs/distill/logits_adventurer-pico_cifar10.py')).model
    cfg.teacher.checkpoint = None
    init_default_scope('mmpretrain')
    with pytest.raises(ConfigError, match=words):
        MODELS.build({**cfg, **change})
