"""COCO annotations, checked while they are read. Needs mmdet."""
from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

from mmdet.datasets import CocoDataset
from mmdet.datasets.api_wrappers import COCO
from mmengine.logging import print_log

from mmvitlin.datasets.annotations import has_no_area
from mmvitlin.errors import ConfigError, UnreadableFileError
from mmvitlin.registry import DATASETS

_SHOWN = 5


def _some(found: Sequence) -> str:
    return ', '.join(map(str, found[:_SHOWN])) + (' …' if len(found) > _SHOWN else '')


@DATASETS.register_module()
class CocoInstances(CocoDataset):
    """mmdet's ``CocoDataset`` that says what is wrong with an annotation file before training.

    mmdet leaves out annotations that it cannot use without a word, takes labels in the order of
    the file's categories whatever the order of the classes, and meets a missing image when its
    turn comes. Here an annotation of a category or image that the file does not describe, a box
    that is no box, classes that the file does not have in that order, and missing image files stop
    the run; boxes without area and annotations of categories that are not among the classes are
    left out, and counted in the log. Images without annotations, and with nothing but crowds, stay
    in, unless ``filter_cfg=dict(filter_empty_gt=True)`` drops the former.

    Args:
        check_files: Look for every image file, one listing a folder.
        **kwargs: As mmdet's.

    Raises:
        ConfigError: the annotations do not fit the images or the classes; names the file, the ids
            and the remedy.
        UnreadableFileError: the annotation file is not whole, or no COCO file.
    """

    def __init__(self, *args, check_files: bool = True, **kwargs):
        self.check_files = check_files
        super().__init__(*args, **kwargs)

    def load_data_list(self) -> list[dict]:
        """See mmdet; a local file is read once, by us."""
        if '://' in self.ann_file:
            return super().load_data_list()
        content = self._read()
        self._check(content)
        self.COCOAPI = lambda _: _indexed(content)
        try:
            return super().load_data_list()
        finally:
            del self.COCOAPI

    def _read(self) -> dict:
        path = Path(self.ann_file)
        if not path.is_file():
            raise ConfigError(f'ann_file: no annotation file at {path}')
        try:
            content = json.loads(path.read_bytes())
            if self.test_mode and isinstance(content, dict):
                content.setdefault('annotations', [])  # as of images that nobody may see
            missing = [k for k in ('images', 'annotations', 'categories') if k not in content]
        except (ValueError, TypeError) as error:
            raise UnreadableFileError(f'{path} is no whole JSON file ({error}); copy or make it '
                                      'again') from error
        if missing:
            raise UnreadableFileError(f'{path} is no COCO file: it has no list of {missing}')
        return content

    def _check(self, content: dict) -> None:
        file = self.ann_file
        self._ask_for(content, 'categories', ('id', 'name'))
        self._ask_for(content, 'images', ('id', 'file_name', 'height', 'width'))
        asked = ('id', 'image_id', 'category_id', 'bbox', 'area')
        self._ask_for(content, 'annotations',  # evaluation asks for more than training
                      (*asked, 'iscrowd') if self.test_mode else asked)
        names = {c['id']: c['name'] for c in content['categories']}
        classes = list(self.metainfo['classes'])
        if absent := [c for c in classes if c not in names.values()]:
            raise ConfigError(f'{file} has no category {_some(absent)}; it has '
                              f'{list(names.values())}. Say which with metainfo=dict(classes=(…))')
        order = [n for n in names.values() if n in classes]
        if order != classes:
            raise ConfigError(f'{file} counts its categories in the order {order}; give '
                              'metainfo=dict(classes=(…)) in that order, or boxes get the names '
                              'of others')
        images = {i['id']: i for i in content['images']}
        annotations = content['annotations']
        self._refuse('of images that it does not list',
                     [a['id'] for a in annotations if a['image_id'] not in images])
        self._refuse('of categories that it does not list',
                     [a['id'] for a in annotations if a['category_id'] not in names])
        self._refuse('whose bbox is not four finite numbers (x, y, width, height)',
                     [a['id'] for a in annotations if not _is_box(a.get('bbox'))])
        if self.test_mode and any(a['id'] == 0 for a in annotations):
            raise ConfigError(f'{file} has an annotation with the id 0, which pycocotools takes '
                              'for none: finding it would count as wrong. Count ids from 1')
        if self._with_masks():
            used = [a for a in annotations if names[a['category_id']] in classes
                    and not a.get('ignore') and min(a['bbox'][2:]) >= 1]
            self._refuse('without a segmentation, and the pipeline loads masks',
                         [a['id'] for a in used if not a.get('segmentation')])
            self._refuse('whose run-length mask has another size than its image',
                         [a['id'] for a in used if not _mask_fits(a, images[a['image_id']])])
        flat = [a['id'] for a in annotations if has_no_area(a)]
        other = [a['id'] for a in annotations if names[a['category_id']] not in classes]
        for ids, what in ((flat, 'have no area'), (other, 'are of categories that are no class')):
            if ids:
                print_log(f'{file}: {len(ids)} annotations {what} and are left out (ids '
                          f'{_some(ids)})', logger='current', level=logging.WARNING)
        if self.check_files:
            self._look_for(images.values())

    def _ask_for(self, content: dict, kind: str, keys: tuple[str, ...]) -> None:
        for n, entry in enumerate(content[kind]):
            if absent := [k for k in keys if k not in entry]:
                raise ConfigError(f"{self.ann_file}: {kind} number {n} (id {entry.get('id')}) has "
                                  f'no {absent}; mend the file')

    def _with_masks(self) -> bool:
        return any(getattr(step, 'with_mask', False) for step in self.pipeline.transforms)

    def _refuse(self, what: str, ids: list) -> None:
        if ids:
            raise ConfigError(f'{self.ann_file} has {len(ids)} annotations {what} (ids '
                              f'{_some(ids)}); mend them or take them out')

    def _look_for(self, images) -> None:
        root = Path(self.data_prefix.get('img') or '.')
        if '://' in str(root):
            return
        there: dict[Path, set[str]] = {}
        lost = []
        for image in images:
            path = root / image['file_name']
            if path.parent not in there:
                there[path.parent] = ({p.name for p in path.parent.iterdir()}
                                      if path.parent.is_dir() else set())
            if path.name not in there[path.parent]:
                lost.append(f"{image['file_name']} (id {image['id']})")
        if lost:
            raise ConfigError(f'{self.ann_file} lists {len(images)} images, {len(lost)} of which '
                              f'are not in {root}: {_some(lost)}. Put them there, or take them out '
                              'of the file')


def _indexed(content: dict) -> COCO:
    """mmdet's view of annotations that are read already."""
    coco = COCO()
    coco.dataset = content
    with redirect_stdout(None):  # pycocotools tells its steps
        coco.createIndex()
    coco.img_ann_map, coco.cat_img_map = coco.imgToAnns, coco.catToImgs
    return coco


def _is_box(box) -> bool:
    return (isinstance(box, (list, tuple)) and len(box) == 4 and
            all(isinstance(v, (int, float)) and math.isfinite(v) for v in box))


def _mask_fits(annotation: dict, image: dict) -> bool:
    mask = annotation.get('segmentation')
    return not isinstance(mask, dict) or list(mask.get('size', ())) == [image['height'],
                                                                         image['width']]
