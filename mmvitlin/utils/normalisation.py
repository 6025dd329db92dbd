"""Normalisation of images, and comparing two of them."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Normalisation:
    """``(image − mean) / std`` in every channel, of images from 0 to 255.

    Attributes:
        mean: Of the channels, in the order in which a network sees them.
        std: Likewise.
        rgb: Whether that order is RGB; None where it is not known.
    """
    mean: tuple[float, ...]
    std: tuple[float, ...]
    rgb: bool | None = None

    @classmethod
    def of_config(cls, settings: Mapping) -> Normalisation | None:
        """From the config of a data preprocessor or of a step ``Normalize``; None where it gives no
        mean and deviation."""
        return cls._of(settings, takes_rgb(settings))

    @classmethod
    def of_meta(cls, meta: Mapping) -> Normalisation | None:
        """From a checkpoint's meta; None where it has none."""
        values = meta.get('normalisation') or {}
        fetched = True if 'teacher' in meta else None  # of which older files do not say so
        return cls._of(values, values.get('rgb', fetched))

    @classmethod
    def of_preprocessor(cls, module: nn.Module | None) -> Normalisation | None:
        """From an OpenMMLab data preprocessor; None where it does not normalise, or has no
        values (it was built on the meta device)."""
        values = [getattr(module, name, None) for name in ('mean', 'std')]
        if not all(isinstance(value, Tensor) and not value.is_meta for value in values):
            return None
        rgb = getattr(module, '_channel_conversion', getattr(module, 'to_rgb', None))
        return cls(*(tuple(map(float, value.flatten())) for value in values),
                   None if rgb is None else bool(rgb))

    @classmethod
    def _of(cls, values: Mapping, rgb: bool | None) -> Normalisation | None:
        mean, std = values.get('mean'), values.get('std')
        if not isinstance(mean, (list, tuple)) or not isinstance(std, (list, tuple)):
            return None
        return cls(tuple(mean), tuple(std), rgb)

    def to_meta(self) -> dict[str, list[float] | bool]:
        """Plain values for a checkpoint's meta, rounded to four digits."""
        values = {name: [round(float(v), 4) for v in getattr(self, name)]
                  for name in ('mean', 'std')}
        return values if self.rgb is None else dict(values, rgb=self.rgb)

    def differences(self, other: Normalisation) -> list[str]:
        """Which of 'mean', 'std' and 'rgb' differ; an unknown value differs from none."""
        names = [name for name in ('mean', 'std')
                 if not near(getattr(self, name), getattr(other, name))]
        return names + ['rgb'] * (None not in (self.rgb, other.rgb) and self.rgb != other.rgb)

    def convert(self, images: Tensor, to: Normalisation) -> Tensor:
        """Images (B, C, H, W) with this normalisation converted to another."""
        mean, std = _columns(self, images.device, images.dtype)
        new_mean, new_std = _columns(to, images.device, images.dtype)
        return (images * std + (mean - new_mean)) / new_std


def takes_rgb(settings: Mapping) -> bool:
    """Whether a data preprocessor's config turns BGR to RGB."""
    return bool(settings.get('bgr_to_rgb') or settings.get('to_rgb'))


def near(values, others, tolerance: float = 0.5) -> bool:
    """Whether two lists of means or deviations are the same but for rounding."""
    return isinstance(values, (list, tuple)) and len(values) == len(others) and all(
        isinstance(a, (int, float)) and abs(a - b) <= tolerance
        for a, b in zip(values, others, strict=True))


@lru_cache(maxsize=32)  # a copy from the host would make every step wait for the device
def _columns(normalisation: Normalisation, device: torch.device, dtype: torch.dtype
             ) -> tuple[Tensor, Tensor]:
    return tuple(torch.tensor(values, dtype=torch.float32).to(device, dtype).view(-1, 1, 1)
                 for values in (normalisation.mean, normalisation.std))
