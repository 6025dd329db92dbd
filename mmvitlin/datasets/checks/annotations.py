"""Checks of COCO annotations that do not need mmdet."""
from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

_SLACK = 2.  # pixels by which a box may differ from its mask's: polygons are rounded
_LEAST = 6  # numbers of a polygon
_FAR = 10  # sides of its image that a polygon may reach beyond it


def annotations_by_image(path: str | Path) -> dict[int, list[dict]]:
    """Raw annotations of a COCO file: image id → its annotations."""
    by_image: dict[int, list[dict]] = defaultdict(list)
    for annotation in json.loads(Path(path).read_bytes()).get('annotations', []):
        if 'bbox' in annotation:  # else of panoptic segments, which lie in images
            by_image[annotation['image_id']].append(annotation)
    return by_image


def number_from_one(annotations: list[dict]) -> bool:
    """Give the annotation with the id 0 the first free number; whether there was one.

    pycocotools (up to 2.0.11) notes beside each detection the id of the annotation that it matched,
    0 for none, so this one counts as missed, and its detection as wrong. mmdet's own converter of
    Cityscapes starts at 0.
    """
    first = next((a for a in annotations if a.get('id') == 0), None)
    if first is not None:
        first['id'] = max(a['id'] for a in annotations) + 1
    return first is not None


def is_number(value) -> bool:
    """Whether a value of a file is a finite number."""
    return (isinstance(value, (int, float)) and not isinstance(value, bool)
            and abs(value) < 1e15)  # neither NaN, nor what a tensor has no place for


def is_id(value) -> bool:
    """Whether a value of a file can name an image or a category."""
    return isinstance(value, (int, str)) and not isinstance(value, bool)


def is_box(box) -> bool:
    """Whether a value of a file is four finite numbers."""
    return isinstance(box, (list, tuple)) and len(box) == 4 and all(map(is_number, box))


def has_no_area(annotation: dict) -> bool:
    """Whether mmdet leaves the annotation out as too small: below one pixel, or of no area."""
    return min(annotation['bbox'][2:]) < 1 or annotation.get('area', 1) <= 0


def reaches_beyond(annotation: dict, height: int, width: int) -> bool:
    """Whether a box ends more than rounding beyond its image."""
    x, y, w, h = annotation['bbox']
    return min(x, y) < -_SLACK or x + w > width + _SLACK or y + h > height + _SLACK


def is_corners(annotation: dict, height: int, width: int) -> bool:
    """Whether a box would lie in its image if it were (left, top, right, bottom)."""
    left, top, right, bottom = annotation['bbox']
    return 0 <= left <= right <= width + _SLACK and 0 <= top <= bottom <= height + _SLACK


def is_outside(annotation: dict, height: int, width: int) -> bool:
    """Whether mmdet leaves the annotation out as its box lies beside the image."""
    x, y, w, h = annotation['bbox']
    return x >= width or y >= height or x + w <= 0 or y + h <= 0


def is_mask(segmentation) -> bool:
    """Whether a value of a file has the form of polygons or of a run-length mask."""
    if isinstance(segmentation, dict):
        size = segmentation.get('size')
        return (isinstance(segmentation.get('counts'), (list, str))
                and isinstance(size, (list, tuple)) and len(size) == 2)
    try:  # one sum finds letters, None and NaN among thousands of numbers
        return isinstance(segmentation, list) and all(
            isinstance(p, list) and is_number(sum(p)) for p in segmentation)
    except TypeError:
        return False


def reaches_far(segmentation, height: int, width: int) -> bool:
    """Whether a polygon reaches so far outside its image that drawing it takes all memory."""
    if isinstance(segmentation, dict):
        return False
    most = _FAR * max(height, width)
    return any(p and (max(p) > most or min(p) < -most) for p in segmentation)


def is_beside_polygons(annotation: dict) -> bool:
    """Whether polygons end far from their box: by a quarter of its longer side, and 2 pixels."""
    polygons = annotation.get('segmentation')
    if not isinstance(polygons, list) or not all(polygons or [[]]):
        return False
    x, y, w, h = annotation['bbox']
    edges = [f(f(p[n::2]) for p in polygons) for f in (min, max) for n in (0, 1)]
    gap = max(abs(a - b) for a, b in zip(edges, (x, y, x + w, y + h), strict=True))
    return gap > max(_SLACK, max(w, h) / 4)


def short_polygons(segmentation) -> int:
    """Polygons that mmdet leaves out: without three points, or with half of one."""
    if isinstance(segmentation, dict):
        return 0
    return sum(len(p) < _LEAST or len(p) % 2 for p in segmentation)


def covers(segmentation, height: int, width: int) -> bool:
    """Whether a run-length mask can be decoded and has as many pixels as its image.

    Polygons are accepted.
    """
    if not isinstance(segmentation, dict):
        return True
    counts = segmentation['counts']
    if isinstance(counts, str):
        runs = _runs(counts.encode())
    else:
        runs = np.array(counts) if all(isinstance(n, int) for n in counts) else None
    return runs is not None and bool((runs >= 0).all()) and runs.sum() == height * width


def _runs(text: bytes) -> np.ndarray | None:
    """Lengths of the runs in pycocotools' packed form, None where it is broken.

    A byte less 48 holds five bits, lowest first; 32 says that another follows, and 16 in the last
    that the number is negative. From the fourth run on they are differences to the last but one.
    """
    parts = np.frombuffer(text, np.uint8).astype(np.int64) - 48
    if not len(parts) or parts.min() < 0 or parts.max() > 63 or parts[-1] & 32:
        return None
    last = np.flatnonzero(parts & 32 == 0)
    first = np.append(0, last[:-1] + 1)
    place = np.arange(len(parts)) - np.repeat(first, last - first + 1)
    if place.max() > 6:  # more than 32 bits
        return None
    runs = np.add.reduceat((parts & 31) << 5 * place, first)
    runs -= np.where(parts[last] & 16, 1 << 5 * (place[last] + 1), 0)
    runs[1::2], runs[2::2] = np.cumsum(runs[1::2]), np.cumsum(runs[2::2])
    return runs


def faults(annotations: list[dict], height: int, width: int, masks: bool = False
           ) -> Iterator[tuple[str, str]]:
    """(kind, words) of what is wrong with the annotations of an image of that size.

    Args:
        annotations: Raw ones of a COCO file.
        height: Of the image.
        width: Of the image.
        masks: Whether every annotation needs one.
    """
    seen: dict[tuple, int] = {}
    for annotation in annotations:
        name, box = annotation.get('id'), annotation['bbox']
        w, h = box[2:]
        if has_no_area(annotation):
            yield 'box without area', (f'annotation {name} is {w:g}x{h:g} pixels with an area of '
                                       f"{annotation.get('area', w * h):g}; it is left out")
            continue
        if is_outside(annotation, height, width):
            yield 'box outside', (f'annotation {name}, {[round(v, 1) for v in box]}, lies outside '
                                  f'of {width}x{height} pixels; it is left out')
            continue
        if reaches_beyond(annotation, height, width):
            yield 'box beyond its image', (
                f'annotation {name}, {[round(v, 1) for v in box]}, ends outside of '
                f'{width}x{height} pixels; bbox is (x, y, width, height)')
        same = (annotation['category_id'], *box)
        if same in seen:
            yield 'annotated twice', f'annotations {seen[same]} and {name} are the same box'
        seen[same] = name
        if masks and not annotation.get('segmentation'):
            yield 'mask', f'annotation {name} has no segmentation, and the pipeline loads masks'
        elif annotation.get('segmentation') and not annotation.get('iscrowd'):
            if (extent := _mask_box(annotation['segmentation'], height, width)) is None:
                yield 'mask', f'the mask of annotation {name} cannot be decoded'
            elif (gap := _apart(box, extent)) > _SLACK:
                yield 'mask beside box', (f'the mask of annotation {name} ends {gap:.0f} pixels '
                                          'from its box')


def _mask_box(segmentation, height: int, width: int) -> list[float] | None:
    """(x, y, width, height) of a mask, None where it is not one."""
    from pycocotools import mask as masks  # comes with mmdet
    try:
        if isinstance(segmentation, list):
            return list(masks.toBbox(masks.merge(masks.frPyObjects(segmentation, height, width))))
        if isinstance(segmentation['counts'], list):
            segmentation = masks.frPyObjects(segmentation, height, width)
        return list(masks.toBbox(segmentation))
    except Exception:  # pycocotools raises many types
        return None


def _apart(box: list[float], other: list[float]) -> float:
    """Greatest distance between the edges of two boxes."""
    (x, y, w, h), (u, v, p, q) = box, other
    return max(abs(x - u), abs(y - v), abs(x + w - u - p), abs(y + h - v - q))
