"""Both forms of the map distance against the definition."""
import pytest
import torch

from mmvitlin.ops import (
    cosine_map_distance,
    cosine_map_distance_linear,
    cosine_map_distance_pairwise,
)


def by_the_book(student, teacher):
    """Row loops over explicit maps, straight from the paper's definition."""
    maps = []
    for f in (student, teacher):
        n = f / f.norm(dim=-1, keepdim=True)
        rows = [[(n[b, i] * n[b, j]).sum() for j in range(f.shape[1])] for b in range(len(f))
                for i in range(f.shape[1])]
        m = torch.stack([torch.stack(r) for r in rows]).view(len(f), f.shape[1], -1)
        maps.append(m / m.norm(dim=-1, keepdim=True))
    return 1 - (maps[0] * maps[1]).sum(-1)


@pytest.mark.parametrize('form', ['pairwise', 'linear', 'auto'])
def test_equals_the_definition(form):
    s, t = torch.randn(2, 7, 5), torch.randn(2, 7, 9)
    torch.testing.assert_close(cosine_map_distance(s, t, form), by_the_book(s, t), atol=2e-6,
                               rtol=0)


@pytest.mark.parametrize(('length', 'ds', 'dt'), [(5, 16, 24), (200, 16, 24), (197, 64, 64)])
def test_forms_agree_in_value_and_gradient(length, ds, dt):
    s, t = torch.randn(3, length, ds, requires_grad=True), torch.randn(3, length, dt)
    pair, lin = cosine_map_distance_pairwise(s, t), cosine_map_distance_linear(s, t)
    torch.testing.assert_close(pair, lin, atol=1e-5, rtol=0)
    weight = torch.rand_like(pair)
    g_pair, = torch.autograd.grad((pair * weight).sum(), s)
    g_lin, = torch.autograd.grad((lin * weight).sum(), s)
    torch.testing.assert_close(g_pair, g_lin, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize('length', [3, 50])
def test_the_linear_forms_gradients_in_float64(length, monkeypatch):
    monkeypatch.setattr('mmvitlin.ops.similarity.token_tiles._TILE', 16)  # several tiles
    s = torch.randn(2, length, 4, dtype=torch.float64, requires_grad=True)
    t = torch.randn(2, length, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(cosine_map_distance_linear, (s, t), atol=1e-7)
    alone = cosine_map_distance_linear(s.detach(), t)
    actual, = torch.autograd.grad(alone.sum(), t)
    expected = torch.autograd.grad(cosine_map_distance_linear(s, t).sum(), (s, t))[1]
    torch.testing.assert_close(actual, expected)


def test_known_value():
    # teacher: orthogonal tokens, map = identity; student: equal tokens, map of ones:
    # each row has cosine 1/sqrt(2) with its counterpart
    teacher = torch.eye(2)[None]
    student = torch.ones(1, 2, 3)
    expected = torch.full((1, 2), 1 - 0.5**0.5)
    for form in ('pairwise', 'linear'):
        torch.testing.assert_close(cosine_map_distance(student, teacher, form), expected)


def test_rotation_and_scale_of_features_change_nothing():
    s, t = torch.randn(1, 40, 8), torch.randn(1, 40, 8)
    turn = torch.linalg.qr(torch.randn(8, 8)).Q
    torch.testing.assert_close(cosine_map_distance(3 * s @ turn, t), cosine_map_distance(s, t),
                               atol=1e-5, rtol=0)


def test_zero_features_give_no_nan():
    s = torch.zeros(1, 6, 4, requires_grad=True)
    for form in ('pairwise', 'linear'):
        loss = cosine_map_distance(s, torch.randn(1, 6, 4), form).mean()
        grad, = torch.autograd.grad(loss, s)
        assert torch.isfinite(loss)
        assert torch.isfinite(grad).all()


@pytest.mark.parametrize('form', ['pairwise', 'linear'])
def test_autocast_changes_nothing(form):
    common = torch.randn(1, 1, 32) * 3  # similar tokens: small distances drown in bfloat16
    s, t = common + torch.randn(1, 50, 32), common + torch.randn(1, 50, 32)
    with torch.autocast('cpu', torch.bfloat16):
        inside = cosine_map_distance(s, t, form)
    assert torch.equal(inside, cosine_map_distance(s, t, form))


def test_unknown_form():
    with pytest.raises(ValueError, match="'auto', 'pairwise' or 'linear'"):
        cosine_map_distance(torch.rand(1, 2, 2), torch.rand(1, 2, 2), 'fast')
