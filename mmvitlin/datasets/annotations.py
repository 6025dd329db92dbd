"""What can be wrong with the COCO annotations of one image, beyond what stops a run at once."""
from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

_SLACK = 2.  # pixels by which a box may differ from its mask's: polygons are rounded


def annotations_by_image(path: str | Path) -> dict[int, list[dict]]:
    """Raw annotations of a COCO file: image id → its annotations."""
    found: dict[int, list[dict]] = defaultdict(list)
    for annotation in json.loads(Path(path).read_bytes()).get('annotations', []):
        if 'bbox' in annotation:  # else of panoptic segments, which lie in images
            found[annotation['image_id']].append(annotation)
    return found


def has_no_area(annotation: dict) -> bool:
    """Whether mmdet leaves the annotation out as too small: below one pixel, or of no area."""
    return min(annotation['bbox'][2:]) < 1 or annotation.get('area', 1) <= 0


def faults(annotations: list[dict], height: int, width: int) -> Iterator[tuple[str, str]]:
    """(kind, words) of what is wrong with the annotations of an image of that size."""
    seen: dict[tuple, int] = {}
    for annotation in annotations:
        name, box = annotation.get('id'), annotation['bbox']
        x, y, w, h = box
        if has_no_area(annotation):
            yield 'box without area', (f'annotation {name} is {w:g}x{h:g} pixels with an area of '
                                       f"{annotation.get('area', w * h):g}; it is left out")
            continue
        if x >= width or y >= height or x + w <= 0 or y + h <= 0:
            yield 'box outside', (f'annotation {name}, {[round(v, 1) for v in box]}, lies outside '
                                  f'of {width}x{height} pixels; it is left out')
            continue
        same = (annotation['category_id'], *box)
        if same in seen:
            yield 'annotated twice', f'annotations {seen[same]} and {name} are the same box'
        seen[same] = name
        if annotation.get('segmentation') and not annotation.get('iscrowd'):
            if (found := _mask_box(annotation['segmentation'], height, width)) is None:
                yield 'mask', f'the mask of annotation {name} cannot be decoded'
            elif (far := _apart(box, found)) > _SLACK:
                yield 'mask beside box', (f'the mask of annotation {name} ends {far:.0f} pixels '
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
    except Exception:  # pycocotools raises whatever comes
        return None


def _apart(box: list[float], other: list[float]) -> float:
    """Greatest distance between the edges of two boxes."""
    (x, y, w, h), (u, v, p, q) = box, other
    return max(abs(x - u), abs(y - v), abs(x + w - u - p), abs(y + h - v - q))
