"""The page that sets two networks side by side."""
from importlib.util import find_spec

import numpy as np
import pytest

from mmvitlin.apis import SegInferencer
from mmvitlin.apis.web import SideBySide, build_page, table
from mmvitlin.utils.errors import ConfigError
from tests.apis.pictures import picture


@pytest.fixture(scope='module')
def pair(segmentor):
    return SideBySide({name: SegInferencer(*segmentor, scale='original')
                       for name in ('teacher', 'student')})


def test_maps_times_and_memory(pair):
    image = picture(60, 120)
    shown, info = pair.segment('student', image, 240)
    assert shown.shape == (120, 240, 3)
    assert info['size'] == '120×240'
    assert info['ms'] > 0
    assert sum(info['classes'].values()) == pytest.approx(100)
    assert list(info['classes'].values()) == sorted(info['classes'].values(), reverse=True)
    assert pair.segment('student', picture(30, 2000), 1600)[0].shape[1] == 1280
    info['load'] = dict(info['load'], disturbed=False)
    text = table(dict(teacher=dict(info, ms=20., peak_mib=None), student=dict(info, ms=10.)))
    assert 'student takes 1/2.0 of the time of teacher' in text
    assert '| – |' in text
    busy = dict(info, ms=10., load=dict(info['load'], disturbed=True, others=0.9, waiting=0.4))
    text = table(dict(teacher=dict(info, ms=20.), student=busy))
    assert 'Times are not compared (disturbed: other processes took 0.9 of' in text
    assert 'of the time of' not in text


def test_memory_is_measured_when_all_is_loaded(pair, monkeypatch):
    done = []
    infer = pair.networks['student']
    usual = infer.predict
    monkeypatch.setattr(infer, 'predict', lambda data: done.append('run') or usual(data))
    monkeypatch.setattr('mmvitlin.apis.web.peak_memory',
                        lambda run, device: done.append('measured') or 1.)
    pair.segment('student', picture(30, 60), 64)
    assert done[:2] == ['run', 'measured']


def test_the_place_looks_like_itself(pair):
    at = pair.similarity('teacher', picture(64, 128), 128, (0.5, 0.25))
    assert at.shape == (64, 128, 3)
    y, x = 32, 32 + 5  # beside the mark, inside of the token
    red, green, blue = at[y, x].astype(int)
    assert red > 80 > max(green, blue)  # a cosine of 1


def test_no_network():
    with pytest.raises(ConfigError, match='at least one network'):
        SideBySide({})


@pytest.mark.skipif(find_spec('gradio') is not None, reason='gradio is installed')
def test_the_page_says_what_it_needs(pair):
    with pytest.raises(ConfigError, match=r"pip install 'mmvitlin\[app\]'"):
        build_page(pair)


def test_the_page(pair):
    pytest.importorskip('gradio', reason="the page is made with gradio: pip install '.[app]'")
    page = build_page(pair)
    segment, look = (f.fn for f in page.fns.values())
    left, right, text = segment(picture(64, 128), 'teacher', 'student', 128)
    assert np.array_equal(left, right)
    assert '**student**' in text
    event = type('Event', (), dict(index=[10, 20]))
    assert len(look(picture(64, 128), 'teacher', 'student', 128, event)) == 2
    with pytest.raises(Exception, match='drop an image first'):
        segment(None, 'teacher', 'student', 128)
