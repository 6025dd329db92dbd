"""The teacher's features on disk: read back as they were, and never those of another network."""
import pytest
import torch

from mmvitlin.models import CachedTeacher, FrozenTeacher
from tests.models.test_distillers import STUDENT, VIT


def count_calls(teacher):
    """Numbers of images that the network was really given."""
    seen, usual = [], teacher.network.forward_tokens

    def forward(images, layers):
        seen.append(len(images))
        return usual(images, layers)
    teacher.network.forward_tokens = forward
    return seen


@pytest.mark.parametrize('dtype', [None, 'float16'])
@pytest.mark.parametrize('cfg', [VIT, dict(STUDENT, type='mmvitlin.Adventurer')])
def test_features_are_read_back(tmp_path, cfg, dtype):
    torch.manual_seed(0)
    plain = FrozenTeacher(cfg)
    cached = CachedTeacher(cfg, cache=dict(root=str(tmp_path / 'c'), dtype=dtype))
    cached.network.load_state_dict(plain.network.state_dict())
    seen = count_calls(cached)
    images = torch.randn(4, 3, 64, 64)
    exact = dict(rtol=0, atol=0) if dtype is None else dict(rtol=2e-3, atol=2e-3)

    def same(batch, **tolerance):
        actual, expected = (t.forward_tokens(batch, (1, 3), (4, 4)) for t in (cached, plain))
        for a, b in zip(actual, expected, strict=True):
            assert a.grid == b.grid
            for x, y in ((a.patches, b.patches), (a.cls, b.cls)):
                torch.testing.assert_close(x, y, **tolerance, check_dtype=dtype is None)

    same(images[:3], **(dict(rtol=1e-5, atol=1e-5) if dtype is None else exact))
    same(images[:3].flip(0), **{**exact, 'atol': max(exact['atol'], 1e-5)})
    assert seen == [3]  # the second came from disk
    same(images[2:], rtol=2e-3, atol=2e-3)
    assert seen == [3, 1]
    assert (cached.cache.hits, cached.cache.misses) == (4, 4)
    changed = images[:1].clone()
    changed[0, 0, 0, 0] += 1e-3  # one value of one pixel
    cached.forward_tokens(changed, (1, 3), (4, 4))
    cached.forward_tokens(images[:1], (1, ), (4, 4))  # a layer that is there
    assert seen == [3, 1, 1]
    cached.forward_tokens(images[:1], (2, 3), (4, 4))  # one that is there, and one that is not
    assert seen == [3, 1, 1, 1]
    for path in (tmp_path / 'c').rglob('*.safetensors'):  # a crash while one was written
        path.write_bytes(path.read_bytes()[:40])
    same(images[:1], **(dict(rtol=1e-5, atol=1e-5) if dtype is None else exact))
    assert seen[4:] == [1]


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16'])
def test_the_first_view_of_an_image_has_the_digits_of_later_ones(tmp_path, dtype):
    cached = CachedTeacher(VIT, cache=dict(root=str(tmp_path), dtype=dtype))
    images = torch.randn(2, 3, 64, 64)
    first, again = (cached.forward_tokens(images, (3, ), (4, 4))[0] for _ in range(2))
    assert cached.cache.hits == 2
    for a, b in ((first.patches, again.patches), (first.cls, again.cls)):
        assert torch.equal(a, b.to(a.dtype))


def test_another_network_has_another_cache(tmp_path):
    images = torch.randn(1, 3, 64, 64)
    one, other = (CachedTeacher(VIT, cache=str(tmp_path)) for _ in range(2))
    one.forward_tokens(images, (3, ), (4, 4))
    with torch.no_grad():
        next(other.network.parameters()).add_(1.)
    other.forward_tokens(images, (3, ), (4, 4))
    assert other.cache.misses == 1


@pytest.mark.parametrize(('before', 'now'), [
    ({}, dict(model_kwargs=dict(VIT['model_kwargs'], act_layer='relu'))),
    ({}, dict(model_kwargs=dict(VIT['model_kwargs'], num_heads=4))),
    (dict(attention='window', window=2), dict(attention='window', window=3)),
    (dict(attention='window', window=3), dict(attention='window', window=3, attend_padding=True)),
    (dict(attention='linear', linear_cfg=dict(feature_map='elu')),
     dict(attention='linear', linear_cfg=dict(feature_map='relu')))])
def test_the_same_weights_in_another_network(tmp_path, before, now):
    images = torch.randn(1, 3, 64, 64)
    one, other = (CachedTeacher(dict(VIT, **cfg), cache=str(tmp_path)) for cfg in (before, now))
    other.network.load_state_dict(one.network.state_dict())
    for teacher in (one, other):
        teacher.forward_tokens(images, (3, ), (4, 4))
    assert other.cache.misses == 1


def test_heads_of_a_teacher_that_does_not_describe_itself(tmp_path):
    images, teachers = torch.randn(1, 3, 32, 32), []
    for heads in (2, 4):
        arch = dict(embed_dims=16, num_layers=2, num_heads=heads, feedforward_channels=32)
        teachers.append(CachedTeacher(dict(
            type='mmpretrain.VisionTransformer', arch=arch, img_size=32, patch_size=16),
            cache=str(tmp_path)))
    teachers[1].network.load_state_dict(teachers[0].network.state_dict())
    for teacher in teachers:
        teacher.forward_tokens(images, (1, ), (2, 2))
    assert teachers[1].cache.misses == 1


def test_one_changed_bit_of_a_stored_file_is_noticed(tmp_path):
    teacher = CachedTeacher(VIT, cache=str(tmp_path))
    images = torch.randn(1, 3, 64, 64)
    before = teacher.forward_tokens(images, (3, ), (4, 4))[0].patches
    file, = tmp_path.rglob('*.safetensors')
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    for misses in (2, 2):  # computed anew, and whole from then on
        torch.testing.assert_close(teacher.forward_tokens(images, (3, ), (4, 4))[0].patches, before,
                                   rtol=0, atol=0)
        assert teacher.cache.misses == misses


def test_a_full_cache_computes(tmp_path):
    teacher = CachedTeacher(VIT, cache=dict(root=str(tmp_path), limit_gib=5e-6))
    images = torch.randn(3, 3, 64, 64)
    for _ in range(2):
        teacher.forward_tokens(images, (3, ), (4, 4))
    assert 0 < teacher.cache.hits < 3
    assert teacher.cache.hits + teacher.cache.misses == 6
