"""Annotation files in COCO format: what is refused, what is left out, what is trained through."""
import json
import re

import pytest
import torch
from mmengine.registry import DATASETS, init_default_scope

from mmvitlin.compat import detection
from mmvitlin.engine.rules import check
from mmvitlin.engine.runner.config import load_config
from mmvitlin.engine.runner.launch import train
from mmvitlin.utils.errors import ConfigError, UnreadableFileError
from tests.detecting import ANNOTATIONS, STREETS, small


@pytest.fixture
def annotations(streets, tmp_path):
    """A function that writes a changed annotation file and builds its data set."""
    if detection.lacking():
        pytest.skip('needs mmdet and the compiled ops: make setup-full')
    content = json.loads((streets / ANNOTATIONS).read_text())
    init_default_scope('mmdet')

    def build(change, **kwargs):
        path = tmp_path / 'changed.json'
        path.write_text(change if isinstance(change, str) else json.dumps(change(content)
                                                                          or content))
        cfg = load_config(STREETS, {'data_root': str(streets)}).train_dataloader.dataset
        return DATASETS.build({**cfg, 'ann_file': str(path), 'filter_cfg': None, **kwargs})

    return build


def _lose_an_image(content):
    content['images'][1]['file_name'] = 'streets/gone.png'


def _unknown_category(content):
    content['annotations'][2]['category_id'] = 99


def _unknown_image(content):
    content['annotations'][2]['image_id'] = 99


def _not_a_number(content):
    content['annotations'][2]['bbox'] = [0, 0, float('nan'), 4]


def _no_mask(content):
    content['annotations'][2]['segmentation'] = []


def _mask_of_another_size(content):
    content['annotations'][2]['segmentation']['size'] = [10, 10]


def _no_area(content):
    del content['annotations'][2]['area']


def _image_twice(content):
    content['images'][2]['id'] = 1


def _annotation_twice(content):
    content['annotations'][2]['id'] = content['annotations'][3]['id']


def _id_of_letters(content):
    content['annotations'][2]['id'] = 'a3'


def _area_of_letters(content):
    content['annotations'][2]['area'] = '12'
    content['annotations'][3]['area'] = None


def _image_of_letters(content):
    content['images'][1] = 'streets/0.png'


def _no_file_name(content):
    content['images'][1]['file_name'] = None


def _no_height(content):
    content['images'][1]['height'] = 0


def _list_of_categories(content):
    content['annotations'][2]['category_id'] = [1]


def _mask_of_letters(content):
    content['annotations'][2]['segmentation'] = 'a mask'


def _one_flat_polygon(content):
    content['annotations'][2]['segmentation'] = [1, 1, 9, 1, 9, 9]


def _polygon_of_nothing(content):
    content['annotations'][2]['segmentation'] = [[1, 1, 9, None, 9, 9]]


def _endless_polygon(content):
    content['annotations'][2]['segmentation'] = [[1, 1, 1e9, 1, 9, 9]]


def _broken_mask(content):
    content['annotations'][2]['segmentation']['counts'] = '!!zz'


def _mask_of_half_the_image(content):
    mask = content['annotations'][2]['segmentation']
    mask['counts'] = [mask['size'][0] * mask['size'][1] // 2]


def _fewer_categories(content):
    content['categories'] = content['categories'][:3]


def _another_order(content):
    content['categories'] = content['categories'][::-1]


def _corners(content):
    for a in content['annotations']:
        x, y, w, h = a['bbox']
        a['bbox'] = [x, y, x + w, y + h]


def _shares(content):
    for a in content['annotations']:
        x, y, w, h = a['bbox']
        a['bbox'] = [x / 128, y / 64, w / 128, h / 64]


def _category_twice(content):
    content['categories'].append(dict(id=99, name='car'))


@pytest.mark.parametrize(('change', 'words'), [
    (_corners, r'\d+ of 55 boxes end outside of their images, and all would be inside as \(left'),
    (_shares, 'every bbox has numbers from 0 to 1, as shares of an image'),
    (_category_twice, "has several categories 'car'; make them one"),
    (_lose_an_image, r'lists 6 images, 1 of which are not in .*: streets/gone.png \(id 1\)'),
    (_unknown_category, r'1 annotations of categories that it does not list \(ids 3\)'),
    (_unknown_image, r'1 annotations of images that it does not list \(ids 3\)'),
    (_not_a_number, r'bbox is not four finite numbers .* \(ids 3\)'),
    (_no_mask, r'without a segmentation, and the pipeline loads masks \(ids 3\)'),
    (_mask_of_another_size, r'run-length mask has another size than its image \(ids 3\)'),
    (_no_area, r"annotations number 2 \(id 3\) has no \['area'\]"),
    (_image_twice, r'1 images whose id others have too \(ids 1\)'),
    (_annotation_twice, r'1 annotations whose id others have too \(ids 4\)'),
    (_id_of_letters, r'1 annotations whose id is no whole number \(ids a3\)'),
    (_area_of_letters, r'2 annotations whose area is no finite number \(ids 3, 4\)'),
    (_image_of_letters, r"images number 1 is no object but 'streets/0.png'"),
    (_no_file_name, r'1 images whose file_name is no name \(ids 1\)'),
    (_no_height, r'1 images whose height and width are no positive .* \(ids 1\)'),
    (_list_of_categories, r'1 annotations of categories that it does not list \(ids 3\)'),
    (_mask_of_letters, r'neither a list of polygons nor a run-length mask \(ids 3\)'),
    (_one_flat_polygon, r'neither a list of polygons nor a run-length mask \(ids 3\)'),
    (_polygon_of_nothing, r'neither a list of polygons nor a run-length mask \(ids 3\)'),
    (_endless_polygon, r'with polygons far outside of their image \(ids 3\)'),
    (_broken_mask, r'cannot be decoded, or does not fill its image \(ids 3\)'),
    (_mask_of_half_the_image, r'cannot be decoded, or does not fill its image \(ids 3\)'),
    (_fewer_categories, "has no category truck, bus.* it has .*'person', 'rider', 'car'"),
    (_another_order, r"in the order \['bicycle'.*metainfo=dict\(classes"),
])
def test_a_bad_annotation_file_is_refused_by_name_and_id(annotations, change, words):
    with pytest.raises(ConfigError, match=f'(?s)changed.json.*{words}'):
        annotations(change)


def test_what_is_left_out_is_counted(annotations, monkeypatch):
    from mmvitlin.datasets import coco_instances
    messages = []
    monkeypatch.setattr(coco_instances, 'print_log', lambda text, **_: messages.append(text))

    def change(content):
        first, second, third = content['annotations'][:3]
        first['bbox'] = [5000, 5000, 20, 20]
        second['segmentation'] = [[1, 1, 5, 5]]
        third['segmentation'] = [[1, 1, 5, 5], [1, 1, 9, 1, 9, 9]]

    whole, data = annotations(lambda _: None), annotations(change)
    log = ' '.join(messages)
    for words in (r'1 annotations have boxes outside of their image and are left out \(ids 1\)',
                  r'1 annotations have no polygon of three points or more .* \(ids 2\)',
                  r'1 annotations have polygons of fewer than three points beside .* \(ids 3\)'):
        assert re.search(words, log), words
    counts = [sum(len(d.get_data_info(n)['instances']) for n in range(6)) for d in (whole, data)]
    assert counts[0] - counts[1] == 1
    with pytest.raises(ConfigError, match=r'2 annotations with polygons of fewer .*\(ids 2, 3\)'):
        annotations(change, test_mode=True)


def test_an_image_of_another_size_than_its_annotations(annotations):
    def change(content):
        content['images'][1]['height'] *= 2
        for one in content['annotations']:
            if one['image_id'] == content['images'][1]['id']:
                one['segmentation'] = [[1, 1, 9, 1, 9, 9]]

    data = annotations(change)
    number = next(n for n in range(6) if data.get_data_info(n)['img_id'] == 1)
    with pytest.raises(UnreadableFileError, match=r'\(id 1\) is 64x128 pixels, and its annotations '
                                                  'are for 128x128'):
        data[number]


def test_what_only_evaluation_asks_for(annotations):
    def without(content):
        for a in content['annotations']:
            a.pop('iscrowd', None)

    def unlabelled(content):
        content.pop('annotations', None)

    assert len(annotations(without)) == 6
    with pytest.raises(ConfigError, match="has no .'iscrowd'."):
        annotations(without, test_mode=True)
    assert len(annotations(unlabelled, test_mode=True)) == 6  # images that nobody may see


def test_annotations_numbered_from_zero_are_read(annotations):
    """As mmdet's converter of Cityscapes writes them; the evaluator is tested with the metrics."""
    def from_zero(content):
        for n, annotation in enumerate(content['annotations']):
            annotation['id'] = n

    for test_mode in (False, True):
        data = annotations(from_zero, test_mode=test_mode)
        assert sum(len(data.get_data_info(n)['instances']) for n in range(6)) == sum(
            len(again.get_data_info(n)['instances']) for again in [annotations(lambda _: None)]
            for n in range(6))


@pytest.mark.parametrize('text', ['{"images": [', '[]', '{"images": [], "annotations": []}'])
def test_a_file_that_is_no_coco_file(annotations, text):
    with pytest.raises(UnreadableFileError, match='changed.json is no') as raised:
        annotations(text)
    assert ('holds a list, as files of predictions do' in str(raised.value)) == (text == '[]')


def test_boxes_of_another_image_size_are_reported(annotations, monkeypatch):
    from mmvitlin.datasets import coco_instances
    messages = []
    monkeypatch.setattr(coco_instances, 'print_log', lambda words, **kwargs: messages.append(words))

    def halved(content):
        for a in content['annotations']:
            x, y, w, h = a['bbox']
            a['segmentation'] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
            if a['id'] != content['annotations'][0]['id']:
                a['bbox'] = [v / 2 + 2 for v in a['bbox']]

    annotations(halved)
    words, = (text for text in messages if 'lies beside their polygons' in text)
    assert '(ids 1,' not in words  # the first one is as it was
    assert ' another image size' in words


def test_masks_that_are_missing_are_reported_by_their_annotation(annotations):
    from mmengine.dataset import Compose

    from mmvitlin.datasets.checks.checking import Part, check

    def without(content):
        content['annotations'][0].pop('segmentation')

    steps = Compose([dict(type='mmvitlin.LoadImage'), dict(
        type='LoadAnnotations', with_bbox=True, with_mask=True)])
    part = Part('train', 'train_dataloader', annotations(without, pipeline=[]), steps, 8, 255)
    problems = [problem for seen in check([part], 1) for problem in seen.problems
                if problem.level == 'error']
    assert problems[0].kind == 'mask'
    assert 'has no segmentation, and the pipeline loads masks' in problems[0].detail
    assert all('.png' in problem.detail for problem in problems)


def test_a_head_of_other_classes(streets):
    if detection.lacking():
        pytest.skip('needs mmdet and the compiled ops: make setup-full')
    cfg = load_config(STREETS, {'data_root': str(streets),
                                'model.roi_head.bbox_head.num_classes': 7,
                                'model.roi_head.mask_head.num_classes': 7})
    with pytest.raises(ConfigError, match='roi_head.bbox_head.num_classes is 7, but train.* has 8'):
        check(cfg)
    cfg.model.roi_head.mask_head.num_classes = 8
    with pytest.raises(ConfigError, match='the heads count different classes'):
        check(cfg)


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['empty', 'flat', 'crowd'])
def test_awkward_images_are_trained_through(streets, tmp_path, annotations, kind, caplog):
    """Images without annotations, with boxes without area, with nothing but crowds."""
    def change(content):
        if kind == 'empty':
            content['annotations'] = [a for a in content['annotations'] if a['image_id'] > 2]
        for a in content['annotations'][:-1]:
            if kind == 'flat':
                a['bbox'][2] = 0
            elif kind == 'crowd':
                a['iscrowd'] = 1

    data = annotations(change)
    assert len(data) == 6
    if kind != 'crowd':
        assert data.get_data_info(0)['instances'] == []
    cfg = small(streets, tmp_path / 'run', **{
        'train_dataloader.dataset.ann_file': str(tmp_path / 'changed.json'),
        'train_dataloader.dataset.filter_cfg': None, 'train_dataloader.batch_size': 6,
        'train_cfg.max_iters': 1, 'train_cfg.val_interval': 5})
    runner = train(cfg)
    assert runner.iter == 1
    assert all(torch.isfinite(p).all() for p in runner.model.parameters())
