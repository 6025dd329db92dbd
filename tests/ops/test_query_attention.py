"""Attention with masked queries against its plain forms, values and every gradient."""
import pytest
import torch

from mmvitlin.ops.query_attention import (
    query_attention,
    query_attention_reference,
    query_linear_attention,
    query_linear_attention_reference,
)


def inputs(positive):
    torch.manual_seed(3)
    made = [torch.randn(2, 3, 23, n, dtype=torch.float64) for n in (6, 6, 5)]
    if positive:
        made[:2] = [t.exp() for t in made[:2]]
    mask = torch.rand(2, 4, 23) > 0.6
    mask[..., 0] = True  # a query sees something
    mask[0, 1, 1:] = False  # and one nothing else
    return [t.requires_grad_() for t in made], mask


@pytest.mark.parametrize(('fast', 'reference', 'options'), [
    (query_attention, query_attention_reference, {}),
    (query_attention, query_attention_reference, dict(scale=0.7)),
    (query_linear_attention, query_linear_attention_reference, {}),
    (query_linear_attention, query_linear_attention_reference, dict(normalize=False))])
def test_values_and_gradients(fast, reference, options):
    made, mask = inputs(positive=fast is query_linear_attention)
    expected = reference(*made, mask, **options)
    weights = torch.randn_like(expected)
    expected_grads = torch.autograd.grad((expected * weights).sum(), made)
    actual = fast(*made, mask, **options)
    gradients = torch.autograd.grad((actual * weights).sum(), made)
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)
    for result, other in zip(gradients, expected_grads, strict=True):
        torch.testing.assert_close(result, other, rtol=1e-5, atol=1e-5)
    # what is masked has no part in the masked rows
    plain, hidden = made[2].detach(), mask[0, 2].logical_not().nonzero()[0, 0]
    changed = plain.clone()
    changed[0, :, hidden] += 1
    with torch.no_grad():
        before, after = (fast(*made[:2], v, mask, **options) for v in (plain, changed))
    assert torch.equal(before[0, :, 2], after[0, :, 2])
    assert not torch.equal(before[0, :, 5], after[0, :, 5])
