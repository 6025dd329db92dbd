"""Scenes on disk, in the layouts that the OpenMMLab data sets read."""
from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from mmvitlin.datasets.streets.classes import OBJECTS, THINGS, TRAIN_ID
from mmvitlin.datasets.streets.scene import Rendered, render_object, render_scene

_SPLITS = {'train': 0, 'val': 1, 'test': 2}
_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1]


def encode_mask(mask: np.ndarray) -> dict:
    """COCO's uncompressed run-length encoding of a bool mask (H, W), column by column."""
    flat = mask.flatten(order='F')
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.concatenate([[0], edges, [flat.size]]))
    counts = runs.tolist() if not flat[0] else [0, *runs.tolist()]
    return dict(size=list(mask.shape), counts=counts)


def annotations_of(scene: Rendered) -> list[dict]:
    """COCO annotations of the visible part of every thing, from the drawn pixels."""
    annotations = []
    for number in np.unique(scene.instances[scene.instances > 0]):
        mask = scene.instances == number
        rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = [cols[0], rows[0], cols[-1] - cols[0] + 1, rows[-1] - rows[0] + 1]
        cls = int(scene.labels[mask][0])
        annotations.append(dict(
            category_id=cls - TRAIN_ID[THINGS[0]] + 1, bbox=[int(v) for v in box],
            area=int(mask.sum()), iscrowd=0, segmentation=encode_mask(mask)))
    return annotations


def _write_scene(root: Path, split: str, seed: int, size: tuple[int, int], index: int) -> dict:
    scene = render_scene((seed, _SPLITS[split], index), *size)
    stem = f'streets_{index:06d}_000019'
    image = Path('leftImg8bit') / split / 'streets' / f'{stem}_leftImg8bit.png'
    fine = root / 'gtFine' / split / 'streets'
    for path, picture in ((root / image, scene.image),
                          (fine / f'{stem}_gtFine_labelTrainIds.png', scene.labels),
                          (fine / f'{stem}_gtFine_labelIds.png', scene.label_ids()),
                          (fine / f'{stem}_gtFine_instanceIds.png', scene.instance_ids())):
        if not cv2.imwrite(str(path), picture, _PNG):
            raise OSError(f'cannot write {path}; is the disk full?')
    return dict(image=dict(id=index, file_name=str(image.relative_to(f'leftImg8bit/{split}')),
                           height=size[0], width=size[1]), annotations=annotations_of(scene))


def _write_object(root: Path, seed: int, size: int, job: tuple[str, str, int]) -> None:
    split, kind, index = job
    picture = render_object(kind, (seed, 7 + _SPLITS[split], OBJECTS.index(kind), index), size)
    path = root / 'objects' / split / kind.replace(' ', '_') / f'{index:05d}.jpg'
    if not cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, 92]):
        raise OSError(f'cannot write {path}; is the disk full?')


def _coco(parts: list[dict]) -> dict:
    annotations = [dict(a, image_id=p['image']['id']) for p in parts for a in p['annotations']]
    return dict(images=[p['image'] for p in parts],
                annotations=[dict(a, id=i) for i, a in enumerate(annotations, 1)],
                categories=[dict(id=i, name=name) for i, name in enumerate(THINGS, 1)])


def write_streets(root: str | Path,
                  counts: dict[str, int],
                  size: tuple[int, int] = (512, 1024),
                  objects: dict[str, int] | None = None,
                  object_size: int = 224,
                  seed: int = 0,
                  workers: int = 2,
                  progress: Callable[[str], None] = lambda what: None) -> None:
    """Write scenes in the Cityscapes layout, COCO annotations and a folder of objects.

    ``leftImg8bit/{split}/streets/*_leftImg8bit.png``,
    ``gtFine/{split}/streets/*_gtFine_{labelTrainIds,labelIds,instanceIds}.png``,
    ``annotations/instancesonly_filtered_gtFine_{split}.json`` (8 categories, run-length masks), and
    ``objects/{split}/{class}/*.jpg`` for classification.

    Args:
        root: Folder; made if absent.
        counts: Split → number of scenes; splits are train, val and test.
        size: (height, width) in pixels.
        objects: Split → number of images a class.
        object_size: Side of an object image in pixels.
        seed: The same seed and size give the same bytes, with any number of workers.
        workers: Processes.
        progress: Called with a name for every set of files written.

    Raises:
        ValueError: an unknown split.
        OSError: a file cannot be written.
    """
    root, objects = Path(root), objects or {}
    if unknown := sorted({*counts, *objects} - set(_SPLITS)):
        raise ValueError(f'unknown splits {unknown}; choose from {sorted(_SPLITS)}')
    for split in counts:
        for kind in ('leftImg8bit', 'gtFine'):
            (root / kind / split / 'streets').mkdir(parents=True, exist_ok=True)
    (root / 'annotations').mkdir(parents=True, exist_ok=True)
    jobs = [(s, kind, i) for s, n in objects.items() for kind in OBJECTS for i in range(n)]
    for split, kind, _ in jobs:
        (root / 'objects' / split / kind.replace(' ', '_')).mkdir(parents=True, exist_ok=True)
    with multiprocessing.get_context('spawn').Pool(workers, _one_thread) as pool:
        for split, count in counts.items():
            parts = []
            write = partial(_write_scene, root, split, seed, tuple(size))
            for part in pool.imap(write, range(count), chunksize=4):
                parts.append(part)
                progress(split)
            path = root / 'annotations' / f'instancesonly_filtered_gtFine_{split}.json'
            path.write_text(json.dumps(_coco(parts)))
        for _ in pool.imap(partial(_write_object, root, seed, object_size), jobs, chunksize=8):
            progress('objects')


def _one_thread() -> None:
    cv2.setNumThreads(1)
