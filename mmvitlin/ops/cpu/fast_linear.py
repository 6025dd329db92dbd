"""Linear layers and patch embeddings on a CPU, in the fastest way that torch has."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

_ENOUGH_ROWS = 192  # below, setting oneDNN up costs more than it gains
_STRIP_NUMBERS = 2**17  # of an image that are cut into patches at a time


def infers_on_cpu(x: Tensor) -> bool:
    """Whether ``x`` is on a CPU, without gradients, and no graph is made of its operators."""
    return (x.device.type == 'cpu' and not torch.is_grad_enabled()
            and not torch.compiler.is_compiling() and not torch.jit.is_tracing())


def _onednn_serves(x: Tensor, weight: Tensor) -> bool:
    return (infers_on_cpu(x) and x.dtype == weight.dtype == torch.float32
            and x.numel() >= _ENOUGH_ROWS * weight.shape[1]
            and not torch.is_autocast_enabled('cpu')
            and torch.backends.mkldnn.is_available()
            and hasattr(torch.ops.mkldnn, '_linear_pointwise'))


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """As ``F.linear``; float32 inference on a CPU goes through oneDNN.

    ``F.linear`` takes MKL for float32, which does not use the full vector units of processors that
    are not Intel's.

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


def conv_patches(images: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolution whose stride is its kernel; inference on a CPU as a product, strip by strip.

    oneDNN's convolution of a large image in bfloat16 takes a slow path there and hundreds of
    megabytes.

    Args:
        images: (B, C, H, W), sides multiples of the kernel's.
        weight: (N, C, kh, kw).
        bias: (N,) or None.

    Returns:
        (B, N, H / kh, W / kw).
    """
    kernel = weight.shape[2:]
    if not infers_on_cpu(images):
        return F.conv2d(images, weight, bias, kernel)
    (batch, channels, height, width), (kh, kw) = images.shape, kernel
    rows, columns = height // kh, width // kw
    step = max(_STRIP_NUMBERS // max(batch * channels * kh * width, 1), 1)
    out, flat = None, weight.flatten(1)
    for at in range(0, rows, step):
        strip = images[:, :, at * kh:(at + step) * kh].unflatten(2, (-1, kh)).unflatten(4, (-1, kw))
        part = linear(strip.permute(0, 2, 4, 1, 3, 5).flatten(3), flat, bias)  # B r w N
        if out is None:
            out = part.new_empty(batch, rows, columns, len(weight))
        out[:, at:at + step] = part
    return out.permute(0, 3, 1, 2)


class FastLinear(TorchFunctionMode):
    """Context in which every ``F.linear``, other libraries' too, is :func:`linear`."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """See :class:`torch.overrides.TorchFunctionMode`."""
        if func is F.linear:
            return linear(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


class FastPatches(FastLinear):
    """For a patch embedding: its convolution is :func:`conv_patches`, its linear layers fast."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """See :class:`torch.overrides.TorchFunctionMode`."""
        if func is F.conv2d and _cuts(*args, **(kwargs or {})):
            return _patches(*args, **(kwargs or {}))
        return super().__torch_function__(func, types, args, kwargs)


def _patches(input: Tensor, weight: Tensor, bias: Tensor | None = None, *_, **__) -> Tensor:
    return conv_patches(input, weight, bias)


def _cuts(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride=1, padding=0,
          dilation=1, groups=1) -> bool:
    """Whether a convolution's windows tile the images."""
    kernel = tuple(weight.shape[2:])
    return (input.ndim == 4 and min(kernel) > 1 and groups == 1 and padding in (0, (0, 0))
            and dilation in (1, (1, 1))
            and kernel == (tuple(stride) if isinstance(stride, (tuple, list)) else (stride, ) * 2)
            and all(n and n % k == 0 for n, k in zip(input.shape[2:], kernel, strict=True)))
