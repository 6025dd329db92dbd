"""Statistics of the first batches, where there is little to take them from."""
import pytest
import torch

from mmvitlin.models.losses.target_norm import TargetStandardizer
from tests.models.test_distillers import build


@pytest.mark.parametrize('kind', ['phi_s', 'standardize'])
def test_a_single_token_has_no_deviation_to_divide_by(kind):
    norm = TargetStandardizer(6, kind, num_batches=4, both=True)
    x = 100 * torch.randn(1, 6)
    norm.observe(x)
    prediction, target = norm(x + 1, x)
    assert (prediction - target).abs().max() < 1.1
    norm.observe(torch.randn(9, 6))
    assert (norm.scale != 1).all()


def test_each_of_several_layers_is_standardised_by_its_own_statistics():
    model = build(mask_ratio=0., objectives=dict(ladder=dict(
        type='mmvitlin.FeatureAlignmentLoss', layers=[1, 3], projector='linear', tokens='patches',
        normalize_target='standardize')))
    images = torch.randn(2, 3, 64, 64)
    loss = model(images, mode='loss')['loss_ladder']
    objective, expected = model.objectives['ladder'], []
    with torch.no_grad():
        student, teacher = (net.forward_tokens(images, (1, 3))
                            for net in (model.backbone, model.teacher.network))
    for n, (own, target) in enumerate(zip(student, teacher, strict=True)):
        target = target.patches.flatten(0, 1)
        standard = (target - target.mean(0)) / target.std(0, unbiased=False)
        own = objective.projectors[n](own.patches.flatten(0, 1))
        expected.append((own - standard).square().mean())
    torch.testing.assert_close(loss, sum(expected) / 2, rtol=1e-4, atol=1e-4)
    first, last = (norm.scale for norm in objective.target_norms)
    assert ((first / last).log().abs() > 0.1).all()  # layers of one distribution would not tell


def test_a_run_that_needs_fewer_batches_than_were_seen_rotates():
    norm, whole = (TargetStandardizer(6, 'phi_s', num_batches=n) for n in (4, 2))
    for batch in torch.randn(2, 40, 6) @ torch.randn(6, 6):
        norm.observe(batch)
        whole.observe(batch)
    again = TargetStandardizer(6, 'phi_s', num_batches=2)
    again.load_state_dict(norm.state_dict())
    assert again.complete()
    torch.testing.assert_close(again.rotation, whole.rotation)
    torch.testing.assert_close(again.mean, whole.mean)
