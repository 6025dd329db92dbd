"""Objectives weighted by the size of their gradients."""
import pytest
import torch

from mmvitlin.models.distillers.balance import GradientBalance
from mmvitlin.utils.errors import ConfigError
from tests.models.test_distillers import BOTH, build


def test_each_objective_has_its_share_of_the_gradient():
    """Losses a · x and b · x² of one tensor, whose gradients are known."""
    balance = GradientBalance(('one', 'two'), dict(two=0.5), momentum=0.)
    x = torch.full((4, ), 3., requires_grad=True)
    losses = dict(one=2 * x.sum(), two=7 * x.square().sum())  # gradients 2 and 42 in each entry
    weights = balance(losses, dict(one=[x], two=[x]))
    assert weights['one'].item() == 1
    assert weights['two'].item() == pytest.approx(0.5 * 2 / 42)
    first, second = (torch.autograd.grad(weights[n] * losses[n], x)[0].norm() for n in losses)
    assert second.item() == pytest.approx(0.5 * first.item())


def test_norms_are_averaged_and_kept():
    balance = GradientBalance(('one', 'two'), momentum=0.75)
    x = torch.ones(1, requires_grad=True)
    expected = [0., 0.]
    for slope in (1., 5., 2.):
        weights = balance(dict(one=x.sum(), two=slope * x.sum()), dict(one=[x], two=[x]))
        expected = [0.75 * w + 0.25 * n for w, n in zip(expected, (1., slope), strict=True)]
    torch.testing.assert_close(balance.norms, torch.tensor(expected))
    assert weights['two'].item() == pytest.approx(expected[0] / expected[1])
    again = GradientBalance(('one', 'two'), momentum=0.75)
    again.load_state_dict(balance.state_dict())
    again.half().eval()  # measures nothing, and loses no digit
    assert torch.equal(again.norms, balance.norms)
    losses = dict(one=x.sum(), two=9 * x.sum())
    assert again(losses, dict(one=[x], two=[x]))['two'].item() == weights['two'].item()
    balance(dict(one=x.sum() * float('nan'), two=x.sum()), dict(one=[x], two=[x]))
    torch.testing.assert_close(balance.norms, torch.tensor(expected))


def test_small_gradients_of_half_precision_tokens_are_not_lost():
    x = torch.ones(2**16, dtype=torch.float16, requires_grad=True)
    balance = GradientBalance(('one', 'two'), momentum=0.)
    losses = dict(one=1e-3 * x.float().mean(), two=1e-2 * x.float().mean())
    assert balance(losses, dict(one=[x], two=[x]))['two'].item() == pytest.approx(0.1, rel=1e-2)


@pytest.mark.parametrize('off', ['one', 'two'])
def test_an_objective_without_weight_turns_off_no_other(off):
    balance = GradientBalance(('one', 'two', 'three'), dict(three=3.), momentum=0.)
    x = torch.ones(4, requires_grad=True)
    losses = dict(one=2 * x.sum(), two=5 * x.sum(), three=x.sum())
    losses[off] = 0. * losses[off]
    weights = balance(losses, dict.fromkeys(losses, [x]))
    first = {'one': 5, 'two': 2}[off]  # gradient of the first that is left
    assert weights[off] == weights[{'one': 'two', 'two': 'one'}[off]] == 1
    assert weights['three'].item() == pytest.approx(3 * first)


def test_layers_of_frozen_stages_do_not_count():
    balance = GradientBalance(('one', 'two'), momentum=0.)
    x, frozen = torch.ones(4, requires_grad=True), torch.ones(4)
    losses = dict(one=(x + frozen).sum(), two=4 * x.sum())
    weights = balance(losses, dict(one=[frozen, x], two=[x]))
    assert weights['two'].item() == pytest.approx(0.25)
    with pytest.raises(ConfigError, match='objectives.one reads only layers of frozen stages'):
        balance(losses, dict(one=[frozen], two=[x]))


def test_a_distiller_balances_by_the_gradient_at_the_tokens_and_runs_no_block_backwards():
    model = build(balance=dict(shares=dict(mask=2.), momentum=0.))
    images = torch.randn(2, 3, 64, 64)
    ran = []
    for block in model.backbone.layers:
        block.register_full_backward_hook(lambda *_: ran.append(1))
    losses = model(images, mode='loss', step_seed=3)
    assert not ran
    assert {'loss_activation', 'loss_mask', 'weight_activation', 'weight_mask'} == set(losses)
    assert losses['weight_activation'].item() == 1
    # by hand: the same step without balance, gradients at the tokens through views of them
    model.balance = None
    tokens = {}
    forward = model.backbone.forward_tokens

    def watched(*args):
        for n, t in enumerate(forward(*args)):
            tokens[n] = t._replace(patches=t.patches.detach().requires_grad_())
        return list(tokens.values())

    model.backbone.forward_tokens = watched
    plain = model(images, mode='loss', step_seed=3)
    leaves = [t.patches for t in tokens.values()]
    norms = {name: sum(g.square().sum() for g in torch.autograd.grad(
        plain[f'loss_{name}'], leaves, retain_graph=True, allow_unused=True)
        if g is not None).sqrt() for name in BOTH}
    expected = 2 * norms['activation'] / norms['mask']
    torch.testing.assert_close(losses['weight_mask'], expected)
    torch.testing.assert_close(losses['loss_mask'], expected * plain['loss_mask'])


def test_only_losses_are_summed():
    """mmengine adds up every entry whose name holds 'loss'."""
    model = build(objectives=dict(gram_loss=dict(type='mmvitlin.GramAnchoringLoss'),
                                  mask=BOTH['mask']), balance={})
    losses = model(torch.randn(2, 3, 64, 64), mode='loss')
    total, _ = model.parse_losses(losses)
    torch.testing.assert_close(total, losses['loss_gram_loss'] + losses['loss_mask'])


def test_what_cannot_be_balanced():
    with pytest.raises(ConfigError, match=r"balance.shares: \['style'\] are no objectives"):
        build(balance=dict(shares=dict(style=1.)))
    with pytest.raises(ConfigError, match='must be a number above 0'):
        build(balance=dict(shares=dict(mask=0.)))
    with pytest.raises(ConfigError, match='balance.momentum must be'):
        build(balance=dict(momentum=1.))
    # a dropped objective may keep its share, and one alone has nothing to be balanced with
    assert build(objectives={**BOTH, 'mask': None}, balance=dict(shares=dict(mask=2.))
                 ).balance is None
