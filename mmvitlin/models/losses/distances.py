"""Distances of features, token by token."""
from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from mmvitlin.ops.precision import no_autocast
from mmvitlin.utils.errors import ConfigError
from mmvitlin.utils.numbers import number

DISTANCES = ('mse', 'cosine', 'smooth_l1')


def distance_weights(distance: str | dict[str, float]) -> dict[str, float]:
    """Name → weight of a distance, or of a mix such as ``dict(cosine=0.9, smooth_l1=0.1)``.

    Entries of None are left out, so that a child config drops one.

    Raises:
        ConfigError: an unknown name, or nothing is left.
    """
    given = {distance: 1.} if isinstance(distance, str) else distance
    mix = {name: weight for name, weight in given.items() if weight is not None} \
        if isinstance(given, Mapping) else {}
    if not mix or mix.keys() - set(DISTANCES):
        raise ConfigError(f"distance must be one of {DISTANCES}, or a mix of them such as "
                          f"dict(cosine=0.9, smooth_l1=0.1), got {distance!r}")
    for name, weight in mix.items():
        number(f'distance.{name}', weight, least=0)
    if not any(mix.values()):
        raise ConfigError(f'distance: one weight must be above 0, got {mix}')
    return mix


def mean_square(x: Tensor, dim: int | None = None) -> Tensor:
    """Mean of squares, over everything or one dimension, in float32 at least; the values in between
    are never written, nor a wider copy of ``x``."""
    if dim is None and x.device.type == 'cpu' and x.ndim:  # long sums lose digits there
        return mean_square(x, -1).mean()
    with no_autocast(x):
        norm = torch.linalg.vector_norm(x, dim=dim,
                                        dtype=torch.promote_types(x.dtype, torch.float32))
    return norm.square() / (x.numel() if dim is None else x.shape[dim])


def token_distance(prediction: Tensor, target: Tensor, mix: dict[str, float],
                   beta: float = 1.) -> Tensor:
    """Weighted sum of distances of each token.

    'mse' is the mean square over channels, 'smooth_l1' the mean over channels of ``½ x² / β``
    below β and ``|x| − ½ β`` above, 'cosine' one minus the cosine.

    Args:
        prediction: (..., C).
        target: (..., C).
        mix: Name → weight, see :func:`distance_weights`.
        beta: β.

    Returns:
        (...), float32.
    """
    each = {
        'mse': lambda: mean_square(prediction - target, -1).float(),
        'cosine': lambda: 1 - F.cosine_similarity(prediction.float(), target.float(), dim=-1),
        'smooth_l1': lambda: F.smooth_l1_loss(prediction.float(), target.float(),
                                              reduction='none', beta=beta).mean(-1),
    }
    return sum(weight * each[name]() for name, weight in mix.items())
