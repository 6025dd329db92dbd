"""Resizing and pooling, for graphs that are exported."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from mmvitlin.models.layers.position import bicubic_weights


class SymbolicSizes(TorchFunctionMode):
    """Resizing and pooling in forms that hold for any size, where sizes are symbolic.

    Bilinear resizing and adaptive average pooling become matrix products: torch decomposes its own
    resizing into index arithmetic that takes minutes to trace, and has no form of its pooling for
    unknown sizes. Maxima of tiles do not depend on whether the last tile is whole. Calls with plain
    sizes are left as they are, but for the antialiased bicubic resizing of learned positions:
    onnxruntime would repeat it in every run, and OpenVINO take minutes for it when it loads.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """See :class:`torch.overrides.TorchFunctionMode`."""
        kwargs = kwargs or {}
        if func is F.interpolate and _mode(*args, **kwargs) == 'bilinear':
            return _interpolate(*args, **kwargs)
        if func is F.interpolate and _mode(*args, **kwargs) == 'bicubic' and \
                kwargs.get('antialias'):
            return _bicubic(*args, **kwargs)
        if func is F.adaptive_avg_pool2d:
            return _pool(*args, **kwargs)
        if func is F.max_pool2d:
            return _largest(*args, **kwargs)
        return func(*args, **kwargs)


def _mode(input, size=None, scale_factor=None, mode='nearest', *_, **__) -> str:
    return mode


def _interpolate(input: Tensor, size=None, scale_factor=None, mode='nearest', align_corners=None,
                 **kwargs) -> Tensor:
    sizes = (*input.shape[-2:], *(size if isinstance(size, (tuple, list)) else (size, )))
    if size is None or kwargs.get('antialias') or \
            not any(isinstance(n, torch.SymInt) for n in sizes):
        return F.interpolate(input, size, scale_factor, mode, align_corners, **kwargs)
    size = sizes[2:] if len(sizes) == 4 else (size, size)
    rows, columns = (bilinear_weights(old, new, input, bool(align_corners))
                     for old, new in zip(input.shape[-2:], size, strict=True))
    return rows @ input @ columns.mT


def _bicubic(input: Tensor, size=None, *args, **kwargs) -> Tensor:
    if not isinstance(size, (tuple, list)) or kwargs.get('align_corners'):
        return F.interpolate(input, size, *args, **kwargs)
    sizes = *input.shape[-2:], *size
    if not any(isinstance(n, torch.SymInt) for n in sizes) and sizes[:2] == sizes[2:]:
        return input
    rows, columns = (bicubic_weights(old, new, input)
                     for old, new in zip(input.shape[-2:], size, strict=True))
    return rows @ input @ columns.mT


def bilinear_weights(old: int, new: int, like: Tensor, align_corners: bool) -> Tensor:
    """(new, old), each row with the shares of two neighbours."""
    places = torch.arange(new, device=like.device, dtype=like.dtype)
    sources = torch.arange(old, device=like.device, dtype=like.dtype)
    if align_corners:
        at = places * (sources[-1:] / places[-1:].clamp(min=1))
    else:
        at = ((places + 0.5) * ((sources[-1:] + 1) / (places[-1:] + 1)) - 0.5).clamp(min=0)
    at = torch.minimum(at, sources[-1:])
    return (1 - (at[:, None] - sources).abs()).clamp(min=0)


def _pool(input: Tensor, output_size) -> Tensor:
    size = output_size if isinstance(output_size, (tuple, list)) else (output_size, output_size)
    if None in size or not any(isinstance(n, torch.SymInt) for n in input.shape[-2:]):
        return F.adaptive_avg_pool2d(input, output_size)
    rows, columns = (pooling_weights(old, bins, input)
                     for old, bins in zip(input.shape[-2:], size, strict=True))
    return rows @ input @ columns.mT


def pooling_weights(old: int, bins: int, like: Tensor) -> Tensor:
    """(bins, old): bin i is the mean from ⌊i · old / bins⌋ up to ⌈(i + 1) · old / bins⌉."""
    places = torch.arange(old, device=like.device)
    first = torch.arange(bins, device=like.device) * (places[-1:] + 1)
    start = torch.div(first, bins, rounding_mode='floor')
    end = torch.div(first + places[-1:] + bins, bins, rounding_mode='floor')
    inside = ((places >= start[:, None]) & (places < end[:, None])).to(like.dtype)
    return inside / inside.sum(1, keepdim=True)


def _largest(input: Tensor, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False,
             return_indices=False) -> Tensor:
    tiles = isinstance(kernel_size, int) and stride in (None, kernel_size) and padding == 0 \
        and dilation == 1 and ceil_mode and not return_indices
    if not tiles or not any(isinstance(n, torch.SymInt) for n in input.shape[-2:]):
        return F.max_pool2d(input, kernel_size, stride, padding, dilation, ceil_mode,
                            return_indices)
    height, width = input.shape[-2:]
    rows, columns = ((n + kernel_size - 1) // kernel_size for n in (height, width))
    padded = F.pad(input, (0, columns * kernel_size - width, 0, rows * kernel_size - height),
                   value=float('-inf'))
    return padded.reshape(*input.shape[:-2], rows, kernel_size, columns, kernel_size).amax((-3, -1))
