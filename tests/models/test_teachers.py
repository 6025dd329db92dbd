"""Plain, cached and sharded teachers: which a config means, what a copy is."""
import copy

import pytest
import torch

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


def test_a_student_inherits_weights_before_they_are_rounded():
    teacher = dict(backbone=VIT, precision='bf16')
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
