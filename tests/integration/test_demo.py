"""What the demo runs where its pretrained teacher can be fetched, and where it cannot."""
import runpy
from pathlib import Path

import pytest

from mmvitlin.experiments.recipe import load_recipe, load_report
from mmvitlin.utils.errors import ConfigError
from tests.conftest import ROOT

RECIPES = ROOT / 'configs/recipes'


@pytest.fixture
def runnable():
    return runpy.run_path(str(ROOT / 'tools/demo.py'))['runnable']


def refuse(name):
    raise ConfigError('no index can be reached; give the file')


def test_without_the_teacher_the_offline_form_runs(runnable, monkeypatch, capsys):
    monkeypatch.setitem(runnable.__globals__, 'fetch', refuse)
    recipe, folder = runnable(RECIPES / 'streets_pretrained.py', Path('w/demo'))
    assert (recipe, folder) == (RECIPES / 'streets_demo.py', Path('w/demo-offline'))
    assert load_recipe(recipe)
    assert not load_report(recipe).pretrained
    shown = capsys.readouterr().out
    assert 'no index can be reached' in shown
    assert 'streets_demo.py runs' in shown


def test_with_it_the_given_recipe_runs(runnable, monkeypatch):
    expected = RECIPES / 'streets_pretrained.py', Path('w/demo')
    fetched = []
    monkeypatch.setitem(runnable.__globals__, 'fetch', fetched.append)
    assert runnable(*expected) == expected
    assert fetched == ['vit-small-14_saliency']
    monkeypatch.setitem(runnable.__globals__, 'fetch', refuse)  # the offline form needs none
    assert runnable(RECIPES / 'streets_demo.py', Path('w')) == (RECIPES / 'streets_demo.py',
                                                               Path('w'))


def test_scenes_are_drawn_once_and_others_are_refused(tmp_path, monkeypatch):
    draw = runpy.run_path(str(ROOT / 'tools/demo.py'))['draw']
    drawn, recipe = [], load_recipe(RECIPES / 'streets_pretrained.py')

    def write(folder, counts, size, seed):
        drawn.append((counts, seed))
        folder.mkdir()
    monkeypatch.setitem(draw.__globals__, 'write_streets', write)
    for _ in range(2):
        draw(tmp_path / 'a', (240, 60), 3, recipe)
    assert drawn == [(dict(train=240, val=60), 3)]
    for scenes, seed in (((240, 60), 0), ((300, 60), 3)):
        with pytest.raises(ConfigError, match='holds other scenes .*give another --work-dir'):
            draw(tmp_path / 'a', scenes, seed, recipe)
    with pytest.raises(ConfigError, match='labelled scenes .* are among 211 .* got 100'):
        draw(tmp_path / 'b', (100, 60), 0, recipe)
