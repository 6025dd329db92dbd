"""Formulas of our operators against the products that torch counts inside them."""
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode, flop_registry

import mmvitlin.ops.flops  # noqa: F401
from mmvitlin.ops import linear_attention, ssd_chunked
from mmvitlin.ops.ssd import chunked


def counted(call):
    with FlopCounterMode(display=False) as counter:
        out = call()
    return counter.get_total_flops(), out


def scan_inputs(batch=2, length=256, heads=4, width=8, groups=2, state=16):
    x, B, C = (torch.randn(batch, length, n, m) for n, m in (
        (heads, width), (groups, state), (groups, state)))
    return x, torch.rand(batch, length, heads), -torch.rand(heads), B, C


def test_the_scan_counts_as_its_products():
    args = scan_inputs()
    whole, (y, states) = counted(lambda: torch.ops.mmvitlin.ssd_chunked(*args, 64, True))
    inside, _ = counted(lambda: chunked._scan._init_fn(*args, 64, True))
    assert whole == inside == 2 * 2 * 256 * (2 * 64 * 16 + 4 * 8 * (64 + 2 * 16))
    backward = (torch.randn_like(y), *args, states, 64)
    whole, _ = counted(lambda: torch.ops.mmvitlin.ssd_chunked_backward(*backward))
    inside, _ = counted(lambda: chunked._scan_backward._init_fn(*backward))
    assert whole == inside > 0


def test_backends_of_the_scan_count_alike():
    x, dt, A, B, C = (t.to('meta') for t in scan_inputs(width=64, state=64))
    eager, (_, states) = counted(lambda: torch.ops.mmvitlin.ssd_chunked(x, dt, A, B, C, 64, True))
    flops, _ = counted(lambda: torch.ops.mmvitlin.ssd_fused(x, dt, A, B, C, None, 64, True))
    assert eager == flops
    eager, _ = counted(lambda: torch.ops.mmvitlin.ssd_chunked_backward(
        x, x, dt, A, B, C, states, 64))
    flops, _ = counted(lambda: torch.ops.mmvitlin.ssd_fused_backward(
        x, x, dt, A, B, C, None, states, 64))
    assert eager == flops


@pytest.mark.parametrize('normalize', [True, False])
def test_linear_attention_counts_as_its_products(normalize):
    q, k = (torch.rand(2, 3, 50, 16) for _ in 'qk')
    v = torch.randn(2, 3, 50, 24)
    eager, _ = counted(lambda: linear_attention(q, k, v, normalize, backend='torch'))
    flops, _ = counted(lambda: torch.ops.mmvitlin.linear_attention(
        *(t.to('meta') for t in (q, k, v)), normalize, 'none'))
    assert flops == eager == 2 * 3 * 50 * 16 * (4 * 24 + 2 * normalize)


def test_training_counts_the_backward_pass():
    x, dt, A, B, C = (t.to('meta').requires_grad_() for t in scan_inputs())
    forward, y = counted(lambda: ssd_chunked(x, dt, A, B, C))
    both, _ = counted(lambda: ssd_chunked(x, dt, A, B, C).sum().backward())
    assert forward * 3 < both < forward * 4


def test_every_operator_has_a_formula():
    operators = {name.split('::')[1].split('.')[0] for name in torch._C._dispatch_get_all_op_names()
                 if name.startswith('mmvitlin::')}
    assert len(operators) >= 10
    assert [n for n in operators if getattr(torch.ops.mmvitlin, n) not in flop_registry] == []
