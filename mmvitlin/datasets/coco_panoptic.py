"""COCO's panoptic annotations, checked while they are read. Needs mmdet."""
from __future__ import annotations

from mmdet.datasets import CocoPanopticDataset

from mmvitlin.datasets.checks.annotations import has_no_area, is_box, is_id, is_number
from mmvitlin.datasets.coco_instances import CheckedFile
from mmvitlin.registry import DATASETS
from mmvitlin.utils.errors import ConfigError


@DATASETS.register_module()
class CocoPanoptic(CheckedFile, CocoPanopticDataset):
    """mmdet's ``CocoPanopticDataset`` that says what is wrong with a file before training.

    Checks the file as :class:`mmvitlin.datasets.coco_instances.CocoInstances` does, and for the
    label files too. Segments without area are left out, and counted in the log; ids are given as
    SEGMENT of IMAGE. Whether a label file has the segments that are listed is seen when it is read
    (:class:`mmvitlin.datasets.transforms.panoptic.LoadPanoptic`).

    Args:
        check_files: Look for every image and label file, one listing a folder.
        **kwargs: As mmdet's.

    Raises:
        ConfigError: the annotations do not fit the images or the classes; names the file, the ids
            and the remedy.
        UnreadableFileError: the annotation file is not whole, or no COCO file.
    """

    def check(self, content: dict) -> None:
        """Look at the content of the file; see the class."""
        names = self.check_categories(content, 'isthing')
        self._check_things(content['categories'])
        images = self.check_images(content)
        self.ask_for(content, 'annotations', ('image_id', 'segments_info'))
        annotations = content['annotations']
        self.refuse('of images that it does not list', [
            a['image_id'] for a in annotations
            if not is_id(a['image_id']) or a['image_id'] not in images])
        self.refuse_doubles('annotated images', [a['image_id'] for a in annotations])
        self._check_segments(annotations, {i for i, name in names.items()
                                           if name in self.metainfo['classes']})
        files = [(i['file_name'], i['id']) for i in images.values()]
        self.look_for('images', self.data_prefix.get('img'), files)
        if annotations and self.data_prefix.get('seg'):
            self.look_for('label files', self.data_prefix['seg'],  # which mmdet names so
                          [(name.replace('.jpg', '.png'), i) for name, i in files])

    def _check_things(self, categories: list[dict]) -> None:
        classes = list(self.metainfo['classes'])
        named = list(self.metainfo.get('thing_classes') or ())
        things = [c['name'] for c in categories if c['name'] in classes and c['isthing']]
        if named != things:
            raise ConfigError(f'{self.ann_file} has the things {things}, and the data set '
                              f'{named}; give metainfo=dict(classes=(…), thing_classes=(…), '
                              'stuff_classes=(…)) as the file has them')
        if classes[:len(things)] != things:
            raise ConfigError(f'{self.ann_file} has stuff before things, and the heads count '
                              'things first; order its categories so, and the classes')

    def _check_segments(self, annotations: list[dict], known: set) -> None:
        segments = []
        for annotation in annotations:
            listed, image = annotation['segments_info'], annotation['image_id']
            if not isinstance(listed, list):
                raise ConfigError(f'{self.ann_file}: segments_info of image {image} is no list; '
                                  'correct the file')
            self.ask_for({f'segments of image {image},': listed}, f'segments of image {image},',
                         ('id', 'category_id', 'bbox', 'area'))
            self.refuse_doubles(f'segments of image {image}', [s['id'] for s in listed])
            segments += [(s, f"{s['id']} of {image}") for s in listed]

        def refuse(what: str, wrong) -> None:
            self.refuse(what, [name for s, name in segments if wrong(s)], 'segments')

        refuse('whose id is no whole number above 0, which is for unlabelled pixels',
               lambda s: not isinstance(s['id'], int) or s['id'] < 1)
        refuse('of categories that it does not list, or that are no class',
               lambda s: not is_id(s['category_id']) or s['category_id'] not in known)
        refuse('whose bbox is not four finite numbers (x, y, width, height)',
               lambda s: not is_box(s['bbox']))
        refuse('whose area is no finite number', lambda s: not is_number(s['area']))
        self.tell('have no area and are left out',
                  [name for s, name in segments if has_no_area(s)], 'segments')
