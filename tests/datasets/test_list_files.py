"""Lists of the files of a split, as editors, scripts and other systems leave them."""
import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from mmvitlin.engine.rules import check
from mmvitlin.utils.errors import ConfigError
from tests.datasets.folders import problems_of, seg_config, seg_folder

LABELS = {name: np.resize([0, 1], (6, 8)) for name in ('a', 'b', 'c d', 'Ä')}
TWO = ('background', 'crack')


def listed(tmp_path, content):
    seg_folder(tmp_path, LABELS)
    (tmp_path / 'images/train/sub').mkdir()
    Image.new('RGB', (8, 6)).save(tmp_path / 'images/train/sub/a.png')
    (tmp_path / 'train.txt').write_bytes(content)
    return seg_config(tmp_path, TWO, ann_file='train.txt')


@pytest.mark.parametrize('content', [b'a\nb\n', b'a\r\nb\r\n', b'a\nb', b'a \n b\n',
                                     'c d\nÄ\n'.encode(), b'a\r\nb'])
def test_lists_that_are_right(content, tmp_path):
    cfg = listed(tmp_path, content)
    check(cfg, 'data', loaders=('train_dataloader', ))
    assert not problems_of(cfg)


@pytest.mark.parametrize(('content', 'words'), [
    (b'a\n\nb\n', 'line 2: is blank'),
    (b'a\nb\n\n', 'line 3: is blank'),
    (b'a\n   \r\nb', 'line 2: is blank'),
    (b'\xef\xbb\xbfa\nb\n', 'line 1: begins with a byte order mark'),
    ('a\nb\n'.encode('utf-16'), 'line 1: begins with the mark of UTF-16'),
    ('a\nÄ\n'.encode('latin-1'), 'line 2: is not UTF-8'),
    (b'a\rb\r', 'line 1: holds line ends of another system'),
    (b'a\tb\n', r"line 1: 'a\\tb' holds a tab"),
    (b'a\nnone\n', 'line 2: there is no file .*images/train/none.png$'),
    (b'a.png\nb\n', r"line 1: .*the suffix '.png' is added"),
    (b'A\nb\n', "line 1: .*but 'a.png': names must agree in upper and lower case"),
    (b'sub\\a\n', r'line 1: there is no file .*; write / for .$'),
    (b'a labels/a\n', 'line 1: there is no file .*; one name a line, without what follows'),
    (b'../train/sub/../../../a\n', "line 1: .* stands for one file, .*a.png, as the image and as "
     'its label'),
    (b'\n\n', 'the file lists nothing'),
    (b'x\ny\nz\nw\nv\n', 'line 1: .*; line 2: .*; line 3: .*; and 2 more lines'),
])
def test_a_list_with_a_fault(content, words, tmp_path):
    cfg = listed(tmp_path, content)
    with pytest.raises(ConfigError, match=rf'train_dataloader.dataset.ann_file: .*train.txt: '
                       f'{words}') as raised:
        check(cfg, 'data', loaders=('train_dataloader', ))
    assert '\n' not in str(raised.value)


def test_an_image_of_the_list_whose_label_is_missing_or_of_another_suffix(tmp_path):
    cfg = listed(tmp_path, b'a\nb\n')
    (tmp_path / 'labels/train/b.png').rename(tmp_path / 'labels/train/b.tif')
    with pytest.raises(ConfigError, match="line 2: there is no file .*labels/train/b.png, but "
                       "'b.tif'"):
        check(cfg, 'data', loaders=('train_dataloader', ))


def test_a_name_that_is_listed_twice_is_a_warning(tmp_path):
    cfg = listed(tmp_path, b'a\nb\na\n')
    check(cfg, 'data', loaders=('train_dataloader', ))
    (level, detail), = problems_of(cfg)['list']
    assert level == 'warning'
    assert "line 3: 'a' is listed in line 1 already" in detail


@pytest.mark.parametrize(('content', 'words'), [
    ('a.png 0\n\nb.png 1\n', 'line 2: is blank'),
    ('a.png\t0\n', 'has no class number after a blank .a tab is none'),
    ('a.png 0\nb.png\n', "line 2: 'b.png' has no class number"),
    ('a.png dog\n', "the class of 'a.png' is 'dog'; it must be a number"),
    ('a.png 2\n', "the class of 'a.png' is 2, but there are 2 classes"),
    ('a.png -1\n', "is '-1'; it must be a number from 0"),
    ('c.png 0\n', 'there is no file .*c.png'),
])
def test_lists_of_images_and_their_classes(content, words, tmp_path):
    for name in 'ab':
        Image.new('RGB', (4, 4)).save(tmp_path / f'{name}.png')
    (tmp_path / 'train.txt').write_text(content)
    cfg = Config(dict(default_scope='mmpretrain', train_dataloader=dict(dataset=dict(
        type='CustomDataset', data_root=str(tmp_path), ann_file='train.txt', data_prefix='',
        metainfo=dict(classes=TWO), pipeline=[]))))
    with pytest.raises(ConfigError, match=rf'train.txt: .*{words}'):
        check(cfg, 'data', loaders=('train_dataloader', ))


def test_a_list_of_images_without_classes_with_blanks_at_the_ends_of_lines(tmp_path):
    Image.new('RGB', (4, 4)).save(tmp_path / 'a.png')
    (tmp_path / 'train.txt').write_text('a.png \n')
    cfg = Config(dict(default_scope='mmpretrain', train_dataloader=dict(dataset=dict(
        type='CustomDataset', data_root=str(tmp_path), ann_file='train.txt', data_prefix='',
        with_label=False, pipeline=[]))))
    with pytest.raises(ConfigError, match="line 1: 'a.png ' begins or ends with blanks"):
        check(cfg, 'data', loaders=('train_dataloader', ))
