"""Linear layers on a CPU through the faster of torch's two libraries."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

_ENOUGH_ROWS = 192  # below, setting oneDNN up costs more than it gains


def _onednn_serves(x: Tensor, weight: Tensor) -> bool:
    return (x.device.type == 'cpu' and x.dtype == weight.dtype == torch.float32
            and x.numel() >= _ENOUGH_ROWS * weight.shape[1] and not torch.is_grad_enabled()
            and not torch.is_autocast_enabled('cpu') and not torch.compiler.is_compiling()
            and torch.backends.mkldnn.is_available()
            and hasattr(torch.ops.mkldnn, '_linear_pointwise'))


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """As ``F.linear``; float32 inference on a CPU goes through oneDNN.

    ``F.linear`` takes MKL for float32, which on processors not made by Intel stays below what
    their vector units can do.

    Args:
        x: (…, K).
        weight: (N, K).
        bias: (N,) or None.

    Returns:
        (…, N).
    """
    if _onednn_serves(x, weight):
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, 'none', [], '')
    return F.linear(x, weight, bias)


class FastLinear(TorchFunctionMode):
    """Context in which every ``F.linear``, other libraries' too, is :func:`linear`."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is F.linear:
            return linear(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))
