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
