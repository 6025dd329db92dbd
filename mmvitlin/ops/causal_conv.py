"""Short causal depthwise convolution along the tokens."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmvitlin.ops.precision import no_autocast


def causal_depthwise_conv1d(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Causal depthwise convolution over tokens, channels last.

    ``y[t] = bias + Σ_k weight[k] x[t - K + 1 + k]`` with zeros before the first token,
    written as K shifted multiply-adds: the sequence stays channels-last, where
    ``F.conv1d`` would transpose it twice.

    Args:
        x: (B, L, C).
        weight: (C, 1, K), the layout of ``nn.Conv1d(C, C, K, groups=C)``.
        bias: (C,) or None.

    Returns:
        (B, L, C), in the type of ``x``; sums are kept in the wider of the types of ``x`` and
        ``weight``, as a fused kernel does in mixed precision.
    """
    taps = weight.shape[-1]
    length = x.shape[1]
    with no_autocast(x):  # which would keep a widened copy of x for every tap
        padded = F.pad(x, (0, 0, taps - 1, 0))
        columns = weight[:, 0].t()
        y = padded[:, :length] * columns[0]
        if bias is not None:
            y = y + bias
        for k in range(1, taps):
            y = torch.addcmul(y, padded[:, k:k + length], columns[k])
        return y.to(x.dtype)
