"""What every objective can be told: layers, projectors, targets, distances, masks, anchors."""
import pytest
import torch
import torch.nn.functional as F

from mmvitlin.models import (
    ActivationMatchingLoss,
    ClassTokenLoss,
    FeatureAlignmentLoss,
    GramAnchoringLoss,
    MaskedPredictionLoss,
    Tokens,
    TokenSimilarityLoss,
)
from mmvitlin.models.losses.target_norm import TargetStandardizer
from mmvitlin.utils.errors import ConfigError


def tokens(width=8, length=12, batch=3):
    return Tokens(torch.randn(batch, length, width, requires_grad=True),
                  torch.randn(batch, width, requires_grad=True), (3, length // 3))


def masks(*hidden, length=12):
    mask = torch.zeros(len(hidden), length, dtype=torch.bool)
    for row, places in zip(mask, hidden, strict=True):
        row[list(places)] = True
    return mask


def assert_same(actual, expected, inputs):
    """Value and every gradient."""
    torch.testing.assert_close(actual, expected, atol=1e-6, rtol=1e-4)
    for a, b in zip(*(torch.autograd.grad(x, inputs, allow_unused=True, retain_graph=True)
                      for x in (actual, expected)), strict=True):
        if b is None:
            assert a is None or not a.any()
        else:
            torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize(('layers', 'of_teacher', 'student', 'teacher'), [
    (None, None, (11, ), (23, )),
    (-2, None, (10, ), (22, )),
    (-1, -2, (11, ), (22, )),
    ([0.25, 0.5, 1.0], None, (2, 5, 11), (5, 11, 23)),
    ([3, 11], [0.1, 1.0], (3, 11), (1, 23)),
    (0.01, None, (0, ), (0, ))])
def test_layers_by_number_and_by_depth(layers, of_teacher, student, teacher):
    loss = FeatureAlignmentLoss(layers=layers, teacher_layers=of_teacher)
    assert loss.layer_indices(12, 24) == (student, teacher)


def test_named_layers_take_the_place_of_stages():
    assert ActivationMatchingLoss(4).layer_indices(12, 24) == ((2, 5, 8, 11), (5, 11, 17, 23))
    assert ActivationMatchingLoss(4, layers=[-2, -1]).layer_indices(12, 24) == ((10, 11), (22, 23))


@pytest.mark.parametrize('kind', [FeatureAlignmentLoss, ActivationMatchingLoss, GramAnchoringLoss])
def test_layers_are_averaged_by_their_weights(kind):
    pairs = [(tokens(), tokens()) for _ in range(3)]
    weighted = kind(layers=[0, 1, 2], layer_weights=[1, 0, 3], loss_weight=2.)
    student, teacher = zip(*pairs, strict=True)
    single = [kind(layers=-1)([s], [t]) for s, t in pairs]
    assert_same(weighted(student, teacher), 2 * (single[0] + 3 * single[2]) / 4,
                [t.patches for t in student])


@pytest.mark.parametrize('kind', ['linear', 'mlp', dict(type='mlp', hidden_dims=10)])
def test_each_layer_has_a_projector_of_its_own(kind):
    loss = FeatureAlignmentLoss(layers=[0, 1], projector=kind)
    loss.connect([8, 6], [5, 7])
    student, teacher = [tokens(8), tokens(6)], [tokens(5), tokens(7)]

    def by_hand(heads, x):
        if kind == 'linear':
            return x @ heads['weight'].mT + heads['bias']
        x = F.layer_norm(x @ heads['0.weight'].mT + heads['0.bias'], heads['1.weight'].shape,
                         heads['1.weight'], heads['1.bias'])
        return F.gelu(x) @ heads['3.weight'].mT + heads['3.bias']

    expected = sum(
        (torch.cat([by_hand(dict(head.named_parameters()), x) for x in (s.patches, s.cls[:, None])],
                   1) - torch.cat([t.patches, t.cls[:, None]], 1)).square().mean() / 2
        for head, s, t in zip(loss.projectors, student, teacher, strict=True))
    assert_same(loss(student, teacher), expected, [student[0].patches, *loss.parameters()])
    if isinstance(kind, dict):
        assert loss.projectors[0][0].out_features == 10


@pytest.mark.parametrize('kind', [FeatureAlignmentLoss, ClassTokenLoss])
def test_a_mix_of_distances(kind):
    s, t = tokens(), tokens()
    loss = kind(distance=dict(cosine=0.9, smooth_l1=0.1, mse=None), beta=0.5)
    a, b = ((x.cls[:, None] if kind is ClassTokenLoss else
             torch.cat([x.patches, x.cls[:, None]], 1)) for x in (s, t))
    gap = (a - b).abs()
    expected = (0.9 * (1 - (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1))).mean()
                + 0.1 * torch.where(gap < 0.5, gap**2, gap - 0.25).mean())
    assert_same(loss([s], [t]), expected, [s.patches, s.cls])


def test_the_class_tokens_own_term():
    s, t = tokens(), tokens()
    expected = (1 - (F.normalize(s.cls, dim=1) * F.normalize(t.cls, dim=1)).sum(1)).mean()
    assert_same(ClassTokenLoss()([s], [t]), expected, [s.patches, s.cls])
    assert ClassTokenLoss().loss_weight == 1


def plain_masked(s, t, mask, visible, beta=1.):
    """Image by image, token by token."""
    total = 0.
    for a, b, hidden in zip(s.patches, t.patches, mask, strict=True):
        b = F.layer_norm(b, b.shape[-1:])
        for chosen, weight in ((hidden, 1.), (~hidden, visible)):
            if chosen.any():
                total = total + weight * F.smooth_l1_loss(a[chosen], b[chosen], beta=beta)
    return total / len(mask)


@pytest.mark.parametrize('visible', [0., 0.3])
@pytest.mark.parametrize('mask', [masks((0, 5, 7), (1, 2, 3), (9, 10, 11)),
                                  masks((0, 5, 7), (), (9, 10, 11)), masks((), (), ())])
def test_masked_prediction_with_whole_images_and_visible_tokens(mask, visible):
    s, t = tokens(), tokens()
    loss = MaskedPredictionLoss(visible_weight=visible)
    expected = plain_masked(s, t, mask, visible)
    assert_same(loss([s], [t], mask), expected + 0 * s.patches.sum(), [s.patches])


@pytest.mark.parametrize('center', [False, True])
@pytest.mark.parametrize('scope', ['visible', 'all', 'cls'])
@pytest.mark.parametrize('mask', [None, masks((0, 5), (), (9, 11))])
def test_activation_matching_of_centred_tokens_and_whole_images(mask, scope, center):
    s, t = tokens(), tokens(5)
    expected = 0.
    for n in range(3):
        keep = torch.ones(12, dtype=bool) if mask is None or scope == 'all' else ~mask[n]
        maps = []
        for side in (s, t):
            x, cls = side.patches[n, keep], side.cls[n]
            if center:
                x, cls = x - x.mean(0), cls - x.mean(0)
            x = F.normalize(x, dim=-1)
            rows = F.normalize(cls, dim=0)[None] if scope == 'cls' else x
            maps.append(F.normalize(rows @ x.mT, dim=-1))
        expected = expected + (1 - (maps[0] * maps[1]).sum(-1)).mean() / 3
    loss = ActivationMatchingLoss(1, scope, center=center)
    assert_same(loss([s], [t], mask), expected, [s.patches, s.cls])


def test_centring_separates_equal_tokens_from_different_ones():
    """Rows that share a large part are parallel, whatever else they hold."""
    common = 10 * torch.randn(1, 1, 8)
    one, other = (tokens()._replace(patches=common + torch.randn(3, 12, 8)) for _ in range(2))
    plain, centred = (ActivationMatchingLoss(1, center=c)([one], [other]) for c in (False, True))
    assert plain < 0.01
    assert centred > 0.3


@pytest.mark.parametrize('scope', ['visible', 'all'])
def test_gram_anchoring(scope):
    s, t, mask = tokens(), tokens(5), masks((0, 5), (), (9, 11))
    expected = 0.
    for n in range(3):
        keep = ~mask[n] if scope == 'visible' else torch.ones(12, dtype=bool)
        a, b = (F.normalize(x.patches[n, keep], dim=-1) for x in (s, t))
        expected = expected + (a @ a.mT - b @ b.mT).square().mean() / 3
    for form in ('linear', 'pairwise'):
        assert_same(GramAnchoringLoss(scope, form)([s], [t], mask), expected, [s.patches])


@pytest.mark.parametrize('loss', [ActivationMatchingLoss(1), ActivationMatchingLoss(1, scope='cls'),
                                  GramAnchoringLoss()], ids=['visible', 'cls', 'gram'])
def test_a_known_number_of_visible_patches_needs_no_answer_of_the_device(loss):
    s, t, mask = tokens(), tokens(), masks((0, 5), (1, 2), (9, 11))
    value = loss([s], [t], mask)
    expected = torch.autograd.grad(value, s.patches)[0]
    known = loss([s], [t], mask, visible=10)
    assert torch.equal(known, value)
    assert torch.equal(torch.autograd.grad(known, s.patches)[0], expected)
    with pytest.raises(ValueError, match='hides every token'):
        loss([s], [t], torch.ones_like(mask), visible=0)
    # tensors without values cannot answer
    s, t = (Tokens(x.patches.to('meta'), x.cls.to('meta'), x.grid) for x in (s, t))
    assert loss([s], [t], mask.to('meta'), visible=10).shape == ()
    with pytest.raises((NotImplementedError, RuntimeError)):
        loss([s], [t], mask.to('meta'))


def test_token_similarities_to_anchors():
    s, t, uniform = tokens(), tokens(), torch.rand(3, 12)
    expected = 0.
    for n in range(3):
        places = sorted(range(12), key=lambda i, n=n: uniform[n, i])[:4]
        anchors = F.normalize(t.patches[n][places], dim=-1)
        p, r = (torch.softmax(F.normalize(x.patches[n], dim=-1) @ anchors.mT / 0.07, -1)
                for x in (t, s))
        expected = expected + (p * (p.log() - r.log())).sum(-1).mean() / 3
    loss = TokenSimilarityLoss(4)
    assert_same(loss([s], [t], uniform=uniform), expected, [s.patches])
    assert loss([t], [t], uniform=uniform).item() == pytest.approx(0, abs=1e-6)
    assert torch.isfinite(TokenSimilarityLoss(99)([s], [t], uniform=uniform))  # all there are


def skewed(width, count=4000):
    """Tokens with a mean and correlated channels of very different size."""
    mix = torch.randn(width, width) * torch.logspace(1, -2, width)
    return torch.randn(count, width) @ mix + 5 * torch.randn(width)


@pytest.mark.parametrize('width', [8, 12, 7])
def test_phi_s(width):
    batches = skewed(width).view(4, 10, 100, width)
    norm = TargetStandardizer(width, 'phi_s', num_batches=4)
    for batch in batches:
        norm.observe(batch)
    norm.observe(batches[0] + 100)  # counts no more
    x = batches.flatten(0, 2)
    y = norm(x, x)[1]
    torch.testing.assert_close(y.mean(0), torch.zeros(width), atol=1e-4, rtol=0)
    torch.testing.assert_close(y.var(0, unbiased=False), torch.ones(width), atol=1e-4, rtol=0)
    # a rotation and one scale: distances keep their ratio
    phi = (x.var(0, unbiased=False).mean()).sqrt()
    torch.testing.assert_close(*((z[:50] - z[50:100]).norm(dim=1) for z in (y, x / phi)),
                               atol=1e-4, rtol=1e-4)
    # with a Hadamard matrix every channel has an equal part of every eigenvector
    if width != 7:
        vectors = torch.linalg.eigh(torch.cov(x.mT.double(), correction=0)).eigenvectors
        parts = (norm.rotation.double() @ vectors).square()
        torch.testing.assert_close(parts, torch.full_like(parts, 1 / width), atol=1e-3, rtol=0)


def test_standardised_channels():
    batches = skewed(6).view(4, 10, 100, 6)
    batches[..., 2] = 300.  # says nothing
    norm = TargetStandardizer(6, 'standardize', num_batches=4)
    for batch in batches:
        norm.observe(batch)
    x = batches.flatten(0, 2)
    x64 = x.double()
    expected = ((x64 - x64.mean(0)) / x64.std(0, unbiased=False).clamp_min(1e-12)).float()
    torch.testing.assert_close(norm(x, x)[1], expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize('kind', ['phi_s', 'standardize'])
def test_statistics_are_of_training_and_survive_saving_and_half_precision(kind):
    data = skewed(8).view(4, 1000, 8)
    whole, cut = (TargetStandardizer(8, kind, num_batches=3) for _ in range(2))
    cut.eval()
    cut.observe(data[3])  # validation is not counted
    cut.train()
    for batch in data[:2]:
        whole.observe(batch)
        cut.observe(batch)
    again = TargetStandardizer(8, kind, num_batches=3)
    again.load_state_dict(cut.state_dict())
    again.half().bfloat16()
    whole.observe(data[2])
    again.observe(data[2])
    assert whole.complete()
    for (name, a), b in zip(whole.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    again.observe(torch.full((5, 8), float('nan')))
    assert torch.equal(again.mean, whole.mean)
    unsettled = TargetStandardizer(8, kind)
    unsettled.observe(torch.full((5, 8), float('inf')))
    assert not unsettled.count


def test_before_the_statistics_are_complete_the_basis_is_the_teachers():
    data = skewed(8)
    norm = TargetStandardizer(8, 'phi_s', num_batches=2)
    norm.observe(data)
    scale = data.var(0, unbiased=False).mean().sqrt()
    torch.testing.assert_close(norm(data, data)[1], (data - data.mean(0)) / scale, atol=1e-4,
                               rtol=1e-3)
    norm.observe(data)
    assert not torch.equal(norm.rotation, torch.eye(8))


def test_both_sides_are_standardised_where_the_student_lives_in_the_teachers_space():
    s, t = tokens(), tokens()
    losses = [FeatureAlignmentLoss(normalize_target=dict(type='phi_s', num_batches=1, both=both))
              for both in (False, True)]
    for loss in losses:
        loss.connect([8], [8])
    alone, both = (loss([s], [t]) for loss in losses)
    x, y = (torch.cat([z.patches, z.cls[:, None]], 1) for z in (s, t))
    norm = losses[0].target_norms[0]
    turned = (y - y.flatten(0, 1).mean(0)) * norm.scale @ norm.rotation.mT
    assert_same(alone, (x - turned).square().mean(), [s.patches, s.cls])
    assert_same(both, (x - y).square().mean() * norm.scale**2, [s.patches, s.cls])
    assert losses[1]([t], [t]).item() == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize('kind', [FeatureAlignmentLoss, MaskedPredictionLoss])
def test_autocast_does_not_reach_the_objectives(kind):
    s, t, mask = tokens(), tokens(), masks((0, 5), (1, 2), (9, 11))
    loss = kind(normalize_target=dict(type='phi_s', num_batches=1))
    loss.connect([8], [8])
    outside = loss([s], [t], mask)
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(loss([s], [t], mask), outside)


@pytest.mark.parametrize(('make', 'message'), [
    (lambda: FeatureAlignmentLoss(layers=12).layers(12), 'has 12 blocks, 0 to 11, and no 12'),
    (lambda: FeatureAlignmentLoss(layers=1.5).layers(12), r'in \(0, 1\], got 1.5'),
    (lambda: FeatureAlignmentLoss(layers='last'), 'give block numbers'),
    (lambda: FeatureAlignmentLoss(layers=[0, 1], teacher_layers=3).layer_indices(4, 4),
     r'layers=\[0, 1\] and teacher_layers=\[3\].*one length'),
    (lambda: GramAnchoringLoss(layer_weights=[1, 1]).layer_indices(4, 4), '2 entries for 1 layers'),
    (lambda: GramAnchoringLoss(layer_weights=[0.]), 'one must be above 0'),
    (lambda: FeatureAlignmentLoss(projector='conv'), "projector='conv'.*take 'linear', 'mlp'"),
    (lambda: FeatureAlignmentLoss(projector=dict(type='linear', hidden_dims=3)), "take 'linear'"),
    (lambda: FeatureAlignmentLoss(distance=dict(cosine=1, l3=1)), 'distance must be one of'),
    (lambda: FeatureAlignmentLoss(distance=dict(mse=None)), 'distance must be one of'),
    (lambda: FeatureAlignmentLoss(normalize_target='batch'), "normalize_target='batch': take"),
    (lambda: MaskedPredictionLoss(normalize_target=dict(type='layer_norm', num_batches=2)), 'take'),
    (lambda: TargetStandardizer(4, num_batches=0), 'num_batches must be a whole number at least 1'),
    (lambda: MaskedPredictionLoss(visible_weight=-1), 'visible_weight must be a number at least 0'),
    (lambda: GramAnchoringLoss(scope='cls'), "scope must be one of.*'cls'"),
    (lambda: TokenSimilarityLoss(temperature=0), 'temperature positive')])
def test_bad_options_are_reported_in_one_line(make, message):
    with pytest.raises(ConfigError, match=message) as caught:
        make()
    assert '\n' not in str(caught.value)


def test_bad_calls():
    s, t = tokens(), tokens()
    for kind, what in ((GramAnchoringLoss, 'Gram'), (TokenSimilarityLoss, 'similarity'),
                       (ActivationMatchingLoss, 'activation')):
        with pytest.raises(ValueError, match=f'differ; .*{what}'):
            kind(layers=-1)([s], [tokens(length=9)])
    with pytest.raises(ValueError, match='draws anchors'):
        TokenSimilarityLoss()([s], [t])
    with pytest.raises(ValueError, match='call connect'):
        FeatureAlignmentLoss(normalize_target='phi_s')([s], [t])
    with pytest.raises(ValueError, match='hides every token'):
        GramAnchoringLoss()([s], [t], torch.ones(3, 12, dtype=torch.bool))
