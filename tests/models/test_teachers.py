"""Plain, cached and sharded teachers: which a config means, what a copy is."""
import copy

import pytest
import torch
from mmengine.registry import MODELS
from timm.layers.activations import QuickGELU

from mmvitlin.models import CachedTeacher, FeatureAlignment, FrozenTeacher, ShardedTeacher
from mmvitlin.models.teachers import build_teacher
from tests.models.test_distillers import STUDENT, VIT, build


def test_a_copy_is_a_copy_over_the_same_memory(tmp_path):
    """Averaged weights copy the whole model, and the teacher is not held twice."""
    images = torch.randn(2, 3, 64, 64)
    for teacher in (dict(backbone=VIT), dict(backbone=VIT, cache=str(tmp_path))):
        model = build(teacher=teacher)
        other = copy.deepcopy(model)
        net, copied = model.teacher.network, other.teacher.network
        assert not {id(m) for m in net.modules()} & {id(m) for m in copied.modules()}
        for a, b in zip(net.state_dict().values(), copied.state_dict().values(), strict=True):
            assert a.data_ptr() == b.data_ptr()
        expected = model(images, mode='loss', step_seed=3)
        actual = other(images, mode='loss', step_seed=3)
        assert all(torch.equal(v, expected[k]) for k, v in actual.items())
        other.double()
        assert next(net.parameters()).dtype == torch.float32
        again = model(images, mode='loss', step_seed=3)
        assert all(torch.equal(v, expected[k]) for k, v in again.items())
    sharded = ShardedTeacher(VIT)
    again = copy.deepcopy(sharded)
    assert again is not sharded
    assert again.network is sharded.network


def test_which_teacher_a_config_means(tmp_path):
    for more, kind in (({}, FrozenTeacher), (dict(shard=True), ShardedTeacher),
                       (dict(cache=str(tmp_path)), CachedTeacher),
                       (dict(type='mmvitlin.FrozenTeacher', cache=None), FrozenTeacher),
                       (dict(type='mmvitlin.ShardedTeacher'), ShardedTeacher)):
        assert type(build_teacher(dict(backbone=VIT, **more))) is kind
    with pytest.raises(ValueError, match='one of shard and cache'):
        build_teacher(dict(backbone=VIT, shard=True, cache='x'))


@pytest.mark.parametrize('more', [{}, dict(type='mmvitlin.FrozenTeacher')])
def test_a_student_inherits_weights_before_they_are_rounded(more):
    teacher = dict(backbone=VIT, precision='bf16', **more)
    model = FeatureAlignment(dict(VIT, attention='linear'), teacher,
                             dict(feature=dict(type='mmvitlin.FeatureAlignmentLoss')), inherit=True)
    own, frozen = (net.vit.blocks[0].attn.qkv.weight
                   for net in (model.backbone, model.teacher.network))
    assert (own.dtype, frozen.dtype) == (torch.float32, torch.bfloat16)
    assert torch.equal(own.bfloat16(), frozen)
    assert not torch.equal(own.bfloat16().float(), own)
    with pytest.raises(ValueError, match="precision is None or one of .*not 'int8'"):
        FrozenTeacher(VIT, precision='int8')


@pytest.mark.parametrize('more', [dict(compiled=True), dict(cache='x'), dict(backbone=STUDENT),
                                  dict(backbone=dict(VIT, attention='linear'))])
def test_what_cannot_be_sharded(more):
    with pytest.raises(ValueError, match='shard=True is for'):
        build_teacher({'backbone': VIT, 'shard': True, **more})


@pytest.mark.parametrize(('precision', 'close'), [(None, 1e-5), ('bf16', 3e-2)])
def test_clips_activation_takes_one_operator_in_a_teacher(precision, close, tmp_path):
    """The same values; a student that inherits has weights and activation as they were."""
    clip = dict(VIT, model_kwargs=dict(VIT['model_kwargs'], act_layer='quick_gelu'))
    network = MODELS.build(clip).eval()
    for value in network.parameters():
        torch.nn.init.normal_(value, std=0.1)
    torch.save({f'backbone.{k}': v for k, v in network.state_dict().items()}, tmp_path / 'vit.pth')
    model = FeatureAlignment(
        clip, dict(backbone=clip, checkpoint=str(tmp_path / 'vit.pth'), precision=precision),
        dict(feature=dict(type='mmvitlin.FeatureAlignmentLoss')), inherit=True)
    images = torch.randn(2, 3, 64, 64)
    actual = model.teacher_tokens(images, (1, 3), (4, 4))
    with torch.no_grad():
        expected = network.forward_tokens(images, (1, 3))
    for a, b in zip(actual, expected, strict=True):
        assert (a.patches.float() - b.patches).norm() < close * b.patches.norm()
    frozen, student = (net.vit.blocks[0].mlp for net in (model.teacher.network, model.backbone))
    assert isinstance(frozen.act, torch.nn.SiLU)
    assert isinstance(student.act, QuickGELU)
    assert torch.equal(student.fc1.weight, network.vit.blocks[0].mlp.fc1.weight)
    same = copy.deepcopy(model).teacher_tokens(images, (1, 3), (4, 4))
    assert all(torch.equal(a.patches, b.patches) for a, b in zip(actual, same, strict=True))
