"""Full-size score maps that are never held as a whole: rows are computed on demand.

A row source has a size, channels and ``rows(a, b)``, which gives the scores of a strip. Sources
wrap one another: a coarse map is resized, cropped, flipped, resized again, and only the requested
strip is computed on each level.
"""
from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mmvitlin.ops.precision import no_autocast


class RowSource(ABC):
    """Scores of an image, row by row.

    Attributes:
        size: (H, W).
        channels: C.
    """
    size: tuple[int, int]
    channels: int

    @property
    def are_probabilities(self) -> bool:
        """Whether scores are sums of probabilities, not logits; known once rows were read."""
        source = getattr(self, 'source', None)
        return source is not None and source.are_probabilities

    @abstractmethod
    def rows(self, a: int, b: int) -> Tensor:
        """(C, b − a, W), the rows a to b − 1, float32 at least."""

    @abstractmethod
    def cost(self) -> float:
        """Numbers that are held while one row is made, on all levels together, with the row."""

    def strips(self, mebibytes: float, cost: float | None = None
               ) -> Iterator[tuple[int, int, Tensor]]:
        """(a, b, rows) over the whole height, in strips whose making holds about that many MiB.

        The strip before, which the caller may still have, is counted too.

        Args:
            mebibytes: Bound.
            cost: Numbers held for a row, where it is not :meth:`cost`.
        """
        height, width = self.size
        held = (self.cost() if cost is None else cost) + self.channels * width
        step = max(int(mebibytes * 2**18 / held), 1)
        for a in range(0, height, step):
            b = min(a + step, height)
            yield a, b, self.rows(a, b)


def _wide(x: Tensor) -> Tensor:
    """Half precision as float32: what follows adds and compares."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


class MapRows(RowSource):
    """A map (C, H, W) in memory.

    Args:
        scores: The map.
        probabilities: They are sums of probabilities, not logits.
    """

    def __init__(self, scores: Tensor, probabilities: bool = False):
        self.scores, self.probabilities = scores, probabilities
        self.channels, *self.size = scores.shape

    @property
    def are_probabilities(self) -> bool:
        """See :class:`RowSource`."""
        return self.probabilities

    def rows(self, a: int, b: int) -> Tensor:
        """See :class:`RowSource`."""
        return _wide(self.scores[:, a:b])

    def cost(self) -> float:
        """See :class:`RowSource`."""
        return self.channels * self.size[1]


class ResizedRows(RowSource):
    """A source resized bilinearly, as ``F.interpolate`` does to the whole.

    Args:
        source: What is resized.
        size: (H, W) afterwards.
        align_corners: As ``F.interpolate``'s.
    """

    def __init__(self, source: RowSource, size: Sequence[int], align_corners: bool = False):
        self.source, self.align_corners = source, align_corners
        self.size, self.channels = tuple(int(n) for n in size), source.channels

    def cost(self) -> float:
        """See :class:`RowSource`."""
        (height, width), (h, w) = self.size, self.source.size
        if (height, width) == (h, w):
            return self.source.cost()
        per_row = max(h / height, 1 / height)  # source rows for one row of this
        return self.channels * (width + 3 * w) + per_row * self.source.cost()

    def rows(self, a: int, b: int) -> Tensor:
        """See :class:`RowSource`."""
        (height, width), (h, w) = self.size, self.source.size
        if (height, width) == (h, w):
            return self.source.rows(a, b)
        upper, lower, share = self._neighbours(a, b)
        lo, hi = int(upper[0]), int(lower[-1]) + 1
        block = self.source.rows(lo, hi)
        device = block.device
        mixed = torch.lerp(block[:, (upper - lo).to(device)], block[:, (lower - lo).to(device)],
                           share.to(block)[:, None])
        return _resize(mixed, (b - a, width), self.align_corners)

    def _neighbours(self, a: int, b: int) -> tuple[Tensor, Tensor, Tensor]:
        """Source rows above and below each row, and the share of the lower one."""
        height, h = self.size[0], self.source.size[0]
        row = torch.arange(a, b, dtype=torch.float32)
        if self.align_corners:
            at = row * ((h - 1) / (height - 1) if height > 1 else 0.)
        else:
            at = ((row + 0.5) * (h / height) - 0.5).clamp_(min=0)
        upper = at.long().clamp_(max=h - 1)
        return upper, (upper + 1).clamp_(max=h - 1), at - upper


def _resize(x: Tensor, size: tuple[int, int], align_corners: bool) -> Tensor:
    if tuple(x.shape[1:]) == size:
        return x
    return F.interpolate(x[None], size, mode='bilinear', align_corners=align_corners)[0]


class CroppedRows(RowSource):
    """A source without its borders: (left, right, top, bottom) pixels."""

    def __init__(self, source: RowSource, padding: Sequence[int]):
        self.left, right, self.top, bottom = padding
        height, width = source.size
        self.source, self.channels = source, source.channels
        self.size = (height - self.top - bottom, width - self.left - right)

    def cost(self) -> float:
        """See :class:`RowSource`."""
        return self.source.cost()

    def rows(self, a: int, b: int) -> Tensor:
        """See :class:`RowSource`."""
        block = self.source.rows(a + self.top, b + self.top)
        return block[:, :, self.left:self.left + self.size[1]]


class FlippedRows(RowSource):
    """A source mirrored.

    Raises:
        ValueError: a direction other than 'horizontal' and 'vertical'.
    """

    def __init__(self, source: RowSource, direction: str):
        if direction not in ('horizontal', 'vertical'):
            raise ValueError(f"flip_direction must be 'horizontal' or 'vertical', got {direction}")
        self.source, self.direction = source, direction
        self.size, self.channels = source.size, source.channels

    def cost(self) -> float:
        """See :class:`RowSource`."""
        return self.source.cost() + self.channels * self.size[1]

    def rows(self, a: int, b: int) -> Tensor:
        """See :class:`RowSource`."""
        if self.direction == 'horizontal':
            return self.source.rows(a, b).flip(2)
        height = self.size[0]
        return self.source.rows(height - b, height - a).flip(1)


class MaskClassRows(RowSource):
    """Per-pixel class scores from mask logits and classes of queries, as Mask2Former's.

    Args:
        masks: Source of the Q mask logits.
        classes: (Q, C) class probabilities.
    """

    def __init__(self, masks: RowSource, classes: Tensor):
        self.masks, self.classes = masks, _wide(classes)
        self.size, self.channels = masks.size, classes.shape[1]

    @property
    def are_probabilities(self) -> bool:
        """See :class:`RowSource`."""
        return True

    def cost(self) -> float:
        """See :class:`RowSource`."""
        return self.masks.cost() + (self.masks.channels + self.channels) * self.size[1]

    def rows(self, a: int, b: int) -> Tensor:
        """See :class:`RowSource`."""
        masks = self.masks.rows(a, b).sigmoid()
        with no_autocast(masks):
            return torch.einsum('qc,qhw->chw', self.classes, masks)


class WindowRows(RowSource):
    """Mean of overlapping windows, computed row of windows by row of windows.

    Windows are run when their first row is read, and dropped when rows behind them are.

    Args:
        size: (H, W) of the image.
        crop: (height, width) of a window.
        stride: (vertical, horizontal).
        channels: C.
        run: (y1, y2, x1, x2) to the source of that window's scores.
        keep: Drop nothing, for callers that read rows again.
    """

    def __init__(self, size: tuple[int, int], crop: tuple[int, int], stride: tuple[int, int],
                 channels: int, run: Callable[[int, int, int, int], RowSource],
                 keep: bool = False):
        self.size, self.channels, self.run, self.keep = size, channels, run, keep
        self.bands = _spans(size[0], crop[0], stride[0])
        self.columns = _spans(size[1], crop[1], stride[1])
        self.there: dict[int, list[RowSource]] = {}
        count = torch.zeros(size[1])
        for x1, x2 in self.columns:
            count[x1:x2] += 1
        self.across = count
        self.source: RowSource | None = None  # any window, for what it says of all

    def cost(self) -> float:
        """See :class:`RowSource`; runs the uppermost windows if none was run, to ask one."""
        window, across = self.source or self._band(0)[0], self.columns[0][1] - self.columns[0][0]
        return self.channels * (self.size[1] + across) + window.cost()  # with the window before

    def _band(self, n: int) -> list[RowSource]:
        if n not in self.there:
            y1, y2 = self.bands[n]
            self.there[n] = [self.run(y1, y2, x1, x2) for x1, x2 in self.columns]
            self.source = self.there[n][0]
        return self.there[n]

    def rows(self, a: int, b: int) -> Tensor:
        """See :class:`RowSource`."""
        total, down = None, torch.zeros(b - a)
        for n, (y1, y2) in enumerate(self.bands):
            top, bottom = max(a, y1), min(b, y2)
            if top >= bottom:
                if y2 <= a and not self.keep:
                    self.there.pop(n, None)
                continue
            down[top - a:bottom - a] += 1
            for (x1, x2), window in zip(self.columns, self._band(n), strict=True):
                part = window.rows(top - y1, bottom - y1)
                if total is None:
                    total = part.new_zeros(self.channels, b - a, self.size[1])
                total[:, top - a:bottom - a, x1:x2] += part
        return total.div_((down[:, None] * self.across).to(total.device))


def _spans(length: int, crop: int, stride: int) -> list[tuple[int, int]]:
    """Windows over one side: the last is moved back inside."""
    count = max(length - crop + stride - 1, 0) // stride + 1
    ends = [min(n * stride + crop, length) for n in range(count)]
    return [(max(end - crop, 0), end) for end in ends]
