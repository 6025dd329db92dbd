"""Changes of an image's colours."""
from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness

from mmvitlin.registry import TRANSFORMS
from mmvitlin.utils.errors import ConfigError

_GREY = np.array([0.114, 0.587, 0.299])  # of B, G, R, as Pillow's 'L' (ITU-R 601)


@TRANSFORMS.register_module()
class MatrixColorJitter(BaseTransform):
    """mmpretrain's ``ColorJitter`` of brightness, contrast and saturation as one product.

    Each of the three is affine in the colour of a pixel, so that all of them, in their random
    order, are one matrix 3x4. Factors and order are drawn as ``ColorJitter`` draws them. Values
    differ from it where a step in between would leave 0 to 255: here only the last step clips and
    rounds.

    Args:
        brightness: Factors are drawn from 1 − brightness to 1 + brightness, or from (low, high).
        contrast: Likewise, about the mean of the grey image.
        saturation: Likewise, about each pixel's grey.

    Raises:
        ConfigError: an invalid range, or one that goes below 0.
    """

    def __init__(self,
                 brightness: float | Sequence[float] = 0.,
                 contrast: float | Sequence[float] = 0.,
                 saturation: float | Sequence[float] = 0.):
        self.ranges = [_range(name, value) for name, value in (
            ('brightness', brightness), ('contrast', contrast), ('saturation', saturation))]

    @cache_randomness
    def _draw(self) -> tuple[np.ndarray, list[float | None]]:
        """Order of the steps, and their factors; None for a step that does nothing."""
        order = np.random.permutation(4)  # the fourth is ColorJitter's hue
        return order, [None if limits is None else np.random.uniform(*limits)
                       for limits in self.ranges]

    def transform(self, results: dict) -> dict:
        """Change 'img' (H, W, 3), uint8, BGR."""
        image = np.ascontiguousarray(results['img'])
        mean = np.array(cv2.mean(image)[:3])
        results['img'] = cv2.transform(image, color_matrix(*self._draw(), mean))
        return results


def color_matrix(order: Sequence[int], factors: Sequence[float | None], mean: np.ndarray
                 ) -> np.ndarray:
    """Matrix (3, 4) of steps on colours (B, G, R, 1).

    Args:
        order: 0 brightness, 1 contrast, 2 saturation; others are left out.
        factors: Of these three, None for a step to be left out.
        mean: Colour (3, ) of the image before.
    """
    matrix = np.eye(3, 4)
    for step in order:
        factor = factors[step] if step < 3 else None
        if factor is None:
            continue
        grey = _GREY @ matrix  # of a colour: what its grey is now
        matrix *= factor
        if step == 1:
            matrix[:, 3] += (1 - factor) * (grey[:3] @ mean + grey[3])
        elif step == 2:
            matrix += (1 - factor) * grey
    return matrix


def _range(name: str, value: float | Sequence[float]) -> tuple[float, float] | None:
    low, high = (1 - value, 1 + value) if isinstance(value, (int, float)) else value
    if not 0 <= low <= high:
        raise ConfigError(f'MatrixColorJitter: {name}={value} gives factors from {low} to {high}; '
                          'they must not be negative')
    return None if low == high == 1 else (low, high)
