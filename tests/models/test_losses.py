"""The two objectives: known values, scopes, masks."""
import pytest
import torch
import torch.nn.functional as F

from mmvitlin.models import ActivationMatchingLoss, MaskedPredictionLoss, Tokens
from mmvitlin.models.losses.distances import mean_square
from mmvitlin.utils.errors import ConfigError


def tokens(width, length=12, batch=2, grad=False):
    return Tokens(torch.randn(batch, length, width, requires_grad=grad), torch.randn(batch, width),
                  (3, length // 3))


def rows_of_map(f):
    n = F.normalize(f, dim=-1)
    return F.normalize(n @ n.transpose(-1, -2), dim=-1)


@pytest.fixture
def mask():
    m = torch.zeros(2, 12, dtype=torch.bool)
    m[0, [0, 5, 7]] = True
    m[1, [2, 3, 11]] = True
    return m


@pytest.mark.parametrize('form', ['pairwise', 'linear'])
def test_visible_scope_sees_only_visible_patches(mask, form):
    s, t = [tokens(8), tokens(8)], [tokens(5), tokens(5)]
    expected = 0.
    for a, b in zip(s, t, strict=True):
        for i in range(2):
            keep = ~mask[i]
            expected += (1 - (rows_of_map(a.patches[i, keep]) *
                              rows_of_map(b.patches[i, keep])).sum(-1)).mean() / 4
    loss = ActivationMatchingLoss(num_stages=2, form=form)
    torch.testing.assert_close(loss(s, t, mask), expected, atol=1e-6, rtol=1e-5)


def test_all_and_class_scopes(mask):
    s, t = [tokens(8)], [tokens(5)]
    whole = (1 - (rows_of_map(s[0].patches) * rows_of_map(t[0].patches)).sum(-1)).mean()
    torch.testing.assert_close(ActivationMatchingLoss(1, 'all')(s, t, mask), whole, atol=1e-6,
                               rtol=1e-5)
    per_image = []
    for i in range(2):
        row = [F.normalize(F.cosine_similarity(x.patches[i, ~mask[i]], x.cls[i][None]), dim=0)
               for x in (s[0], t[0])]
        per_image.append(1 - (row[0] * row[1]).sum())
    torch.testing.assert_close(ActivationMatchingLoss(1, 'cls')(s, t, mask),
                               torch.stack(per_image).mean(), atol=1e-6, rtol=1e-5)


def test_equal_features_cost_nothing_and_weight_scales():
    s, t = [tokens(8)], [tokens(8)]
    assert ActivationMatchingLoss(1)(s, s).item() == pytest.approx(0, abs=1e-6)
    one, three = ActivationMatchingLoss(1)(s, t), ActivationMatchingLoss(1, loss_weight=3)(s, t)
    assert three.item() == pytest.approx(3 * one.item())


@pytest.mark.parametrize(('depth', 'stages', 'expected'), [
    (12, 4, (2, 5, 8, 11)), (24, 4, (5, 11, 17, 23)), (8, 1, (7, )), (5, 2, (1, 4))])
def test_stage_ends(depth, stages, expected):
    assert ActivationMatchingLoss(stages).layers(depth) == expected


def test_bad_arguments(mask):
    with pytest.raises(ConfigError, match="scope must be one of.*'masked'"):
        ActivationMatchingLoss(scope='masked')
    with pytest.raises(ConfigError, match='num_stages=9 does not fit a network of 8'):
        ActivationMatchingLoss(9).layers(8)
    with pytest.raises(ValueError, match='grids? .* differ|differ'):
        ActivationMatchingLoss(1)([tokens(4)], [tokens(4, 9)])
    no_cls = [tokens(4)._replace(cls=None)]
    with pytest.raises(ValueError, match="take scope='visible'"):
        ActivationMatchingLoss(1, 'cls')(no_cls, no_cls)
    with pytest.raises(ValueError, match='mask_ratio above 0'):
        MaskedPredictionLoss()([tokens(4)], [tokens(4)])
    with pytest.raises(ValueError, match='differ'):
        MaskedPredictionLoss()([tokens(4)], [tokens(5)], mask)


def test_masked_prediction_by_hand(mask):
    s, t = tokens(2), tokens(2)
    y, z = s.patches[mask], t.patches[mask]
    mean = z.mean(-1, keepdim=True)
    normed = (z - mean) / ((z - mean).square().mean(-1, keepdim=True) + 1e-5).sqrt()
    for target, loss in ((normed, MaskedPredictionLoss()),
                         (z, MaskedPredictionLoss(normalize_target=False))):
        d = (y - target).abs()
        smooth = torch.where(d < 1, 0.5 * d * d, d - 0.5).mean()
        torch.testing.assert_close(loss([s], [t], mask), smooth)


def test_only_masked_positions_get_a_gradient(mask):
    s = tokens(4, grad=True)
    MaskedPredictionLoss()([s], [tokens(4)], mask).backward()
    assert (s.patches.grad[~mask] == 0).all()
    assert (s.patches.grad[mask] != 0).any(-1).all()


@pytest.mark.parametrize(('dtype', 'close'), [(torch.float32, 1e-6), (torch.bfloat16, 8e-3)])
@pytest.mark.parametrize('dim', [None, -1])
def test_mean_square_is_that_of_wide_values(dtype, close, dim):
    """Values and gradients, under autocast too; those of a token without an error are zero."""
    x = torch.randn(3, 50, 64).to(dtype)
    x[1, 7] = 0
    a, b = x.clone().requires_grad_(), x.double().requires_grad_()
    with torch.autocast('cpu', torch.bfloat16):
        actual = mean_square(a, dim)
    expected = b.square().mean() if dim is None else b.square().mean(dim)
    assert actual.dtype == torch.float32
    torch.testing.assert_close(actual.double(), expected, rtol=1e-5, atol=1e-12)
    weight = torch.rand_like(expected)
    gradients = [torch.autograd.grad((y.double() * weight).sum(), leaf)[0].double()
                 for y, leaf in ((actual, a), (expected, b))]
    torch.testing.assert_close(*gradients, rtol=close, atol=1e-12)
    assert not gradients[0][1, 7].any()


def test_centred_matching_of_one_visible_patch_has_nothing_to_compare():
    x = torch.randn(2, 4, 8, requires_grad=True)
    mask = torch.tensor([[True, True, True, False], [False] * 4])
    loss = ActivationMatchingLoss(num_stages=1, center=True)
    same = [Tokens(x, None, (2, 2))]
    assert loss(same, same, mask).item() == pytest.approx(0, abs=1e-6)
    value = loss(same, same, mask[:1].expand(2, -1))
    assert value.item() == 0
    assert torch.autograd.grad(value, x)[0].abs().sum() == 0


def test_long_means_of_squares_keep_their_digits():
    x = torch.randn(32, 1025, 512)
    assert mean_square(x).item() == pytest.approx(x.double().square().mean().item(), rel=1e-5)
