"""The Gram distance without L×L matrices against the one with them."""
import pytest
import torch
import torch.nn.functional as F

from mmvitlin.ops import gram_distance


def by_the_book(student, teacher):
    """Every entry of both matrices, in loops."""
    total = torch.zeros(len(student), dtype=student.dtype)
    count = student.shape[1]
    for n, (s, t) in enumerate(zip(student, teacher, strict=True)):
        for i in range(count):
            for j in range(count):
                gap = F.cosine_similarity(s[i], s[j], dim=0) - F.cosine_similarity(t[i], t[j],
                                                                                   dim=0)
                total[n] += gap**2
    return total / count**2


@pytest.mark.parametrize('form', ['pairwise', 'linear', 'auto', 'linear as on a GPU'])
@pytest.mark.parametrize('widths', [(5, 5), (5, 9), (9, 5)])
def test_equals_the_definition_in_value_and_gradient(form, widths, monkeypatch):
    monkeypatch.setattr('mmvitlin.ops.similarity.token_tiles._TILE', 4)  # several tiles
    if form.endswith('GPU'):  # all samples and tokens at once
        form = 'linear'
        for walk in ('samples', 'tiles'):
            monkeypatch.setattr(f'mmvitlin.ops.similarity.gram.{walk}', lambda x: [slice(None)])
    pair = [torch.randn(2, 7, width, dtype=torch.float64, requires_grad=True) for width in widths]
    weight = torch.rand(2, dtype=torch.float64)
    actual, expected = gram_distance(*pair, form=form), by_the_book(*pair)
    torch.testing.assert_close(actual, expected)
    for a, b in zip(torch.autograd.grad((actual * weight).sum(), pair),
                    torch.autograd.grad((expected * weight).sum(), pair), strict=True):
        torch.testing.assert_close(a, b)


def test_known_values():
    # orthogonal tokens against equal ones: the entries off the diagonal differ by one
    orthogonal, equal = torch.eye(3)[None], torch.ones(1, 3, 2)
    for form in ('pairwise', 'linear'):
        assert gram_distance(equal, orthogonal, form).item() == pytest.approx(6 / 9)
        assert gram_distance(orthogonal, 5 * orthogonal, form).item() == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize('rotate', [False, True])
@pytest.mark.parametrize(('noise', 'tolerance'), [(1., 1e-5), (0.1, 1e-4), (0.01, 2e-2)])
def test_float32_keeps_small_distances_of_tokens_that_share_a_large_part(noise, tolerance, rotate):
    """‖SᵀS‖² − 2‖SᵀT‖² + ‖TᵀT‖² in float32 was wrong by 3 % at 2e-7 (2,048 × 384)."""
    teacher = torch.randn(1, 1, 64) + torch.randn(1, 300, 64)
    student = teacher + noise * torch.randn_like(teacher)
    if rotate:
        student = student @ torch.linalg.qr(torch.randn(64, 64)).Q
    student.requires_grad_()
    actual = gram_distance(student, teacher, 'linear')
    expected = gram_distance(student.double(), teacher.double(), 'pairwise')
    assert actual.dtype == torch.float32
    torch.testing.assert_close(actual.double(), expected, rtol=tolerance, atol=0)
    gradients = [torch.autograd.grad(x.sum(), student)[0] for x in (actual, expected)]
    assert (gradients[0] - gradients[1]).norm() <= 1e-3 * gradients[1].norm()


def test_autocast_and_zero_tokens():
    common = 3 * torch.randn(1, 1, 16)
    s, t = common + torch.randn(1, 40, 16), common + torch.randn(1, 40, 16)
    for form in ('pairwise', 'linear'):
        with torch.autocast('cpu', torch.bfloat16):
            inside = gram_distance(s, t, form)
        assert torch.equal(inside, gram_distance(s, t, form))
        nothing = torch.zeros(1, 40, 16, requires_grad=True)
        loss = gram_distance(nothing, t, form).sum()
        assert torch.isfinite(torch.autograd.grad(loss, nothing)[0]).all()


def test_half_precision_tokens_get_gradients_of_their_type():
    s = torch.randn(2, 30, 8, dtype=torch.bfloat16, requires_grad=True)
    gram_distance(s, torch.randn(2, 30, 8), 'linear').sum().backward()
    assert s.grad.dtype == torch.bfloat16


def test_bad_input():
    with pytest.raises(ValueError, match="'auto', 'pairwise' or 'linear', got 'fast'"):
        gram_distance(torch.rand(1, 2, 2), torch.rand(1, 2, 2), 'fast')
    with pytest.raises(ValueError, match='differ in number'):
        gram_distance(torch.rand(1, 2, 2), torch.rand(1, 3, 2))
