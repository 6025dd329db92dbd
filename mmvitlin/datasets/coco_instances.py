"""COCO annotations, checked while they are read. Needs mmdet."""
from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout
from pathlib import Path

from mmdet.datasets import CocoDataset
from mmengine.logging import print_log

from mmvitlin.datasets.checks.annotations import (
    covers,
    has_no_area,
    is_beside_polygons,
    is_box,
    is_corners,
    is_id,
    is_mask,
    is_number,
    is_outside,
    number_from_one,
    reaches_beyond,
    reaches_far,
    short_polygons,
)
from mmvitlin.registry import DATASETS
from mmvitlin.utils.errors import ConfigError, UnreadableFileError

_SHOWN = 5


def some(items: Sequence) -> str:
    """The first few, for a message."""
    return ', '.join(map(str, items[:_SHOWN])) + (' …' if len(items) > _SHOWN else '')


class CheckedFile:
    """Base of data sets of mmdet that check their COCO file before they use it.

    Subclasses give ``check``, which looks at the content of the file.

    Args:
        check_files: Look for every image file, one listing a folder.
        **kwargs: As mmdet's.
    """

    def __init__(self, *args, check_files: bool = True, **kwargs):
        self.check_files = check_files
        super().__init__(*args, **kwargs)

    def load_data_list(self) -> list[dict]:
        """See mmdet; a local file is read once, here."""
        if '://' in self.ann_file:
            return super().load_data_list()
        content = self._read()
        self.check(content)
        usual = type(self).COCOAPI
        self.COCOAPI = lambda _: _indexed(content, usual)
        try:
            return super().load_data_list()
        finally:
            del self.COCOAPI

    def check(self, content: dict) -> None:
        """Look at the content of the file.

        Raises:
            ConfigError: see the class.
        """
        raise NotImplementedError

    def _read(self) -> dict:
        path = Path(self.ann_file)
        if not path.is_file():
            raise ConfigError(f'ann_file: no annotation file at {path}')
        try:
            content = json.loads(path.read_bytes())
            if isinstance(content, list):
                raise UnreadableFileError(f'{path} is no COCO file: it holds a list, as files of '
                                          'predictions do; give the annotations')
            if self.test_mode and isinstance(content, dict):
                content.setdefault('annotations', [])  # as of test sets without labels
            missing = [k for k in ('images', 'annotations', 'categories')
                       if not isinstance(content.get(k), list)]
        except (ValueError, TypeError, AttributeError) as error:
            raise UnreadableFileError(f'{path} is no whole JSON file ({error}); copy or make it '
                                      'again') from error
        if missing:
            raise UnreadableFileError(f'{path} is no COCO file: it has no list of {missing}')
        return content

    def check_categories(self, content: dict, *more: str) -> dict[int, str]:
        """Id → name of the categories, which must have the classes in their order."""
        self.ask_for(content, 'categories', ('id', 'name', *more))
        self.refuse_doubles('categories', [c['id'] for c in content['categories']])
        names = {c['id']: c['name'] for c in content['categories']}
        classes = list(self.metainfo['classes'])
        if absent := [c for c in classes if c not in names.values()]:
            raise ConfigError(f'{self.ann_file} has no category {some(absent)}; it has '
                              f'{list(names.values())}. Say which with metainfo=dict(classes=(…))')
        order = [n for n in names.values() if n in classes]
        if doubled := [name for name, count in Counter(order).items() if count > 1]:
            raise ConfigError(f"{self.ann_file} has several categories '{doubled[0]}'; make them "
                              'one, or give them different names')
        if order != classes:
            raise ConfigError(f'{self.ann_file} counts its categories in the order {order}; give '
                              'metainfo=dict(classes=(…)) in that order, or boxes get the names '
                              'of others')
        return names

    def check_images(self, content: dict) -> dict[int, dict]:
        """Id → image."""
        self.ask_for(content, 'images', ('id', 'file_name', 'height', 'width'))
        images = content['images']
        self.refuse('whose id is neither a number nor a text',
                    [i['id'] for i in images if not is_id(i['id'])], 'images')
        self.refuse_doubles('images', [i['id'] for i in images])
        self.refuse('whose file_name is no name',
                    [i['id'] for i in images
                     if not isinstance(i['file_name'], str) or not i['file_name']], 'images')
        self.refuse('whose height and width are no positive whole numbers',
                    [i['id'] for i in images if not all(
                        is_number(i[k]) and i[k] >= 1 and i[k] == int(i[k])
                        for k in ('height', 'width'))], 'images')
        names = Counter(i['file_name'] for i in images)
        self.tell('share their file with others, and each has only its own annotations',
                  [i['id'] for i in images if names[i['file_name']] > 1], 'images')
        return {i['id']: i for i in images}

    def ask_for(self, content: dict, kind: str, keys: tuple[str, ...]) -> None:
        """Refuse entries of a list of the file that have not these keys."""
        for n, entry in enumerate(content[kind]):
            if not isinstance(entry, dict):
                raise ConfigError(f'{self.ann_file}: {kind} number {n} is no object but '
                                  f'{entry!r:.40}; correct the file')
            if absent := [k for k in keys if k not in entry]:
                raise ConfigError(f"{self.ann_file}: {kind} number {n} (id {entry.get('id')}) has "
                                  f'no {absent}; correct the file')

    def refuse(self, what: str, ids: list, kind: str = 'annotations') -> None:
        """Stop if there are such ids."""
        if ids:
            raise ConfigError(f'{self.ann_file} has {len(ids)} {kind} {what} (ids '
                              f'{some(ids)}); correct them or take them out')

    def refuse_doubles(self, kind: str, ids: Iterable) -> None:
        """Stop if an id occurs twice."""
        try:
            doubled = [i for i, count in Counter(ids).items() if count > 1]
        except TypeError as error:  # a list, which nothing can refer to
            raise ConfigError(f'{self.ann_file}: the id of one of its {kind} is neither a number '
                              f'nor a text ({error}); correct the file') from error
        self.refuse('whose id others have too', doubled, kind)

    def tell(self, what: str, ids: list, kind: str = 'annotations') -> None:
        """Count in the log what is left out."""
        if ids:
            print_log(f'{self.ann_file}: {len(ids)} {kind} {what} (ids {some(ids)})',
                      logger='current', level=logging.WARNING)

    def look_for(self, what: str, folder: str | None, names: list[tuple[str, object]]) -> None:
        """Look for files, given as (name, id) of their images, by one listing a folder."""
        root = Path(folder or '.')
        if not self.check_files or '://' in str(root):
            return
        listings: dict[Path, set[str]] = {}
        absent = []
        for name, number in names:
            path = root / name
            if path.parent not in listings:
                listings[path.parent] = ({p.name for p in path.parent.iterdir()}
                                         if path.parent.is_dir() else set())
            if path.name not in listings[path.parent]:
                absent.append(f'{name} (id {number})')
        if absent:
            raise ConfigError(f'{self.ann_file} lists {len(names)} {what}, {len(absent)} of which '
                              f'are not in {root}: {some(absent)}. Put them there, or take them '
                              'out of the file')


@DATASETS.register_module()
class CocoInstances(CheckedFile, CocoDataset):
    """mmdet's ``CocoDataset`` that says what is wrong with an annotation file before training.

    mmdet silently leaves out annotations that it cannot use, takes labels in the order of the
    file's categories and not of the classes, lets the last of several images with one id replace
    the others, and meets a missing image or a broken mask only when it is loaded. Here ids that
    occur twice, an annotation of a category or image that the file does not describe, an invalid
    box, an area that is not a number, masks that cannot be read, classes that the file does not
    have in that order, and missing image files stop the run; boxes without area or beside their
    image, polygons of fewer than three points and annotations of categories that are not among the
    classes are left out, and counted in the log. Images without annotations, and with nothing but
    crowds, stay in, unless ``filter_cfg=dict(filter_empty_gt=True)`` drops the former.

    Args:
        check_files: Look for every image file, one listing a folder.
        **kwargs: As mmdet's.

    Raises:
        ConfigError: the annotations do not fit the images or the classes; names the file, the ids
            and the remedy.
        UnreadableFileError: the annotation file is not whole, or no COCO file.
    """

    def check(self, content: dict) -> None:
        """Look at the content of the file; see the class."""
        names, images = self.check_categories(content), self.check_images(content)
        required = ('id', 'image_id', 'category_id', 'bbox', 'area')
        self.ask_for(content, 'annotations',  # evaluation asks for more than training
                     (*required, 'iscrowd') if self.test_mode else required)
        annotations = content['annotations']
        self.refuse_doubles('annotations', [a['id'] for a in annotations])
        self.refuse('whose id is no whole number',
                    [a['id'] for a in annotations if not isinstance(a['id'], int)])
        for key, known, what in (('image_id', images, 'images'),
                                 ('category_id', names, 'categories')):
            self.refuse(f'of {what} that it does not list',
                        [a['id'] for a in annotations
                         if not is_id(a[key]) or a[key] not in known])
        self.refuse('whose bbox is not four finite numbers (x, y, width, height)',
                    [a['id'] for a in annotations if not is_box(a['bbox'])])
        self.refuse('whose area is no finite number',
                    [a['id'] for a in annotations if not is_number(a['area'])])
        sizes = {i: (image['height'], image['width']) for i, image in images.items()}
        self._check_places(annotations, sizes)
        classes = set(self.metainfo['classes'])
        flat = [a['id'] for a in annotations if has_no_area(a)]
        outside = [a['id'] for a in annotations
                   if not has_no_area(a) and is_outside(a, *sizes[a['image_id']])]
        other = [a['id'] for a in annotations if names[a['category_id']] not in classes]
        self.tell('have no area and are left out', flat)
        self.tell('have boxes outside of their image and are left out', outside)
        self.tell('are of categories that are no class and are left out', other)
        if any(getattr(step, 'with_mask', False) for step in self.pipeline.transforms):
            unused = set(other)
            if not self.test_mode:  # evaluation reads the masks of what training leaves out
                unused.update(flat, outside, (a['id'] for a in annotations if a.get('ignore')))
            self._check_masks([a for a in annotations if a['id'] not in unused], sizes)
        self.look_for('images', self.data_prefix.get('img'),
                      [(i['file_name'], i['id']) for i in images.values()])

    def _check_places(self, annotations: list[dict], sizes: dict[object, tuple[int, int]]) -> None:
        """Boxes are (x, y, width, height) in pixels."""
        if annotations and all(0 <= v <= 1 for a in annotations for v in a['bbox']):
            raise ConfigError(f"{self.ann_file}: every bbox has numbers from 0 to 1, as shares of "
                              'an image; COCO\'s are (x, y, width, height) in pixels')
        beyond = [a['id'] for a in annotations if reaches_beyond(a, *sizes[a['image_id']])]
        if beyond and all(is_corners(a, *sizes[a['image_id']]) for a in annotations):
            raise ConfigError(
                f'{self.ann_file}: {len(beyond)} of {len(annotations)} boxes end outside of their '
                'images, and all would be inside as (left, top, right, bottom); COCO\'s are '
                '(x, y, width, height): write right - left and bottom - top')
        self.tell(f'of {len(annotations)} have boxes that end outside of their image; bbox is '
                  '(x, y, width, height)', beyond)

    def _check_masks(self, annotations: list[dict], sizes: dict[int, tuple[int, int]]) -> None:
        def refuse(what: str, wrong) -> None:
            self.refuse(what, [a['id'] for a in annotations if wrong(a)])

        refuse('without a segmentation, and the pipeline loads masks',
               lambda a: not a.get('segmentation'))
        refuse('whose segmentation is neither a list of polygons nor a run-length mask',
               lambda a: not is_mask(a['segmentation']))
        refuse('with polygons far outside of their image',
               lambda a: reaches_far(a['segmentation'], *sizes[a['image_id']]))
        refuse('whose run-length mask has another size than its image',
               lambda a: isinstance(a['segmentation'], dict) and tuple(
                   a['segmentation']['size']) != sizes[a['image_id']])
        refuse('whose run-length mask cannot be decoded, or does not fill its image',
               lambda a: not covers(a['segmentation'], *sizes[a['image_id']]))
        self.tell(f'of {len(annotations)} have a box that lies beside their polygons, as boxes of '
                  'another image size do; training takes the boxes as they are',
                  [a['id'] for a in annotations
                   if not short_polygons(a['segmentation']) and is_beside_polygons(a)])
        short = [a for a in annotations if short_polygons(a['segmentation'])]
        if self.test_mode:
            self.refuse('with polygons of fewer than three points, which pycocotools takes for '
                        'boxes', [a['id'] for a in short])
        empty = [a['id'] for a in short
                 if short_polygons(a['segmentation']) == len(a['segmentation'])]
        self.tell('have no polygon of three points or more and are ignored, as crowds are', empty)
        self.tell('have polygons of fewer than three points beside others, and these polygons are '
                  'left out', [a['id'] for a in short if a['id'] not in set(empty)])


def _indexed(content: dict, api: type):
    """mmdet's view of annotations that are read already."""
    number_from_one(content.get('annotations') or [])
    coco = api()
    coco.dataset = content
    with redirect_stdout(None):  # pycocotools prints its steps
        coco.createIndex()
    coco.img_ann_map, coco.cat_img_map = coco.imgToAnns, coco.catToImgs
    return coco
