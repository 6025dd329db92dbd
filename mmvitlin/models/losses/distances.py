"""Distances of features, token by token."""
from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from mmvitlin.utils.errors import ConfigError

DISTANCES = ('mse', 'cosine', 'smooth_l1')


def distance_weights(distance: str | dict[str, float]) -> dict[str, float]:
    """Name → weight of a distance, or of a mix such as ``dict(cosine=0.9, smooth_l1=0.1)``.

    Entries of None are left out, so that a child config drops one.

    Raises:
        ConfigError: an unknown name, or nothing is left.
    """
    mix = {distance: 1.} if isinstance(distance, str) else {
        name: weight for name, weight in dict(distance).items() if weight is not None}
    if not mix or mix.keys() - set(DISTANCES):
        raise ConfigError(f"distance must be one of {DISTANCES}, or a mix of them such as "
                          f"dict(cosine=0.9, smooth_l1=0.1), got {distance!r}")
    if not all(0 <= weight < math.inf for weight in mix.values()) or not any(mix.values()):
        raise ConfigError(f'distance: weights must be numbers from 0, and one above, got {mix}')
    return mix


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
    prediction, target = prediction.float(), target.float()
    each = {
        'mse': lambda: (prediction - target).square().mean(-1),
        'cosine': lambda: 1 - F.cosine_similarity(prediction, target, dim=-1),
        'smooth_l1': lambda: F.smooth_l1_loss(prediction, target, reduction='none',
                                              beta=beta).mean(-1),
    }
    return sum(weight * each[name]() for name, weight in mix.items())
