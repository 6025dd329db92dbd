"""Runs as command lines name them."""
import re

import pytest

from mmvitlin.experiments.run_folders import networks_of, of_seed, seeds_of, with_tuned
from mmvitlin.utils.errors import ConfigError


@pytest.fixture
def leave(tmp_path, monkeypatch):
    """A function that leaves a config and a checkpoint in a folder below the current one."""
    monkeypatch.chdir(tmp_path)

    def write(name):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / 'a.py').write_text('')
        (folder / 'iter_1.pth').write_bytes(b'')
        (folder / 'last_checkpoint').write_text('iter_1.pth')
    return write


def test_networks(leave):
    leave('seed0/lr=3')
    assert networks_of(['seed0/lr=3', 'b=seed0/lr=3', 'configs/c.py,d.pth', 'e=c.py,d.pth']) == {
        'lr=3': ('seed0/lr=3/a.py', 'seed0/lr=3/iter_1.pth'),
        'b': ('seed0/lr=3/a.py', 'seed0/lr=3/iter_1.pth'),
        'c': ('configs/c.py', 'd.pth'), 'e': ('c.py', 'd.pth')}


def test_networks_of_seeds(leave):
    for name in ('shared/t', 'seed0/s', 'seed7/s'):
        leave(name)
    assert networks_of(['shared/t', 'x=seed{seed}/s', 'y=c.py,{seed}.pth'], [0, 7]) == {
        't': ('shared/t/a.py', 'shared/t/iter_1.pth'),
        'x/0': ('seed0/s/a.py', 'seed0/s/iter_1.pth'),
        'x/7': ('seed7/s/a.py', 'seed7/s/iter_1.pth'),
        'y/0': ('c.py', '0.pth'), 'y/7': ('c.py', '7.pth')}


@pytest.mark.parametrize(('texts', 'seeds', 'message'), [
    (['none'], None, "'none' is no work directory of a run, and no CONFIG,CHECKPOINT"),
    (['a=r', 'a=c.py,d.pth'], None, "two networks are called 'a'; name them: NAME="),
    (['seed{seed}/r'], None, '--seeds gives {seed} its values'),
    (['r'], [0], '--seeds gives {seed} its values'),
    (['empty'], None, 'no run left its config in empty'),
])
def test_networks_that_are_none(leave, tmp_path, texts, seeds, message):
    leave('r')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ConfigError, match=re.escape(message)):
        networks_of(texts, seeds)


def test_seeds():
    assert seeds_of(['a'], None) == [None]
    assert seeds_of(['a', 'b{seed}'], [3, 4]) == [3, 4]
    assert of_seed('{seed}/{seed}', 3) == '3/3'
    assert of_seed('{seed}', None) == '{seed}'


def test_students_and_what_was_made_of_them(leave):
    for name in ('[w]/d-b', '[w]/d-a=1', '[w]/d-c', '[w]/other'):
        leave(name)
    assert with_tuned(['[w]/d-a=1', 'n=[w]/d-b:t', 'm=[w]/other:u=1']) == [
        (None, '[w]/d-a=1', ''), ('n', '[w]/d-b', 't'), ('m', '[w]/other', 'u=1')]
    assert with_tuned(['first=[w]/d-c:e', '[w]/d-*:[w]/t-*']) == [
        ('first', '[w]/d-c', 'e'), ('a=1', '[w]/d-a=1', '[w]/t-a=1'),
        ('b', '[w]/d-b', '[w]/t-b')]
    for text, message in (('x=[w]/d-*', 'may have one *, which then is the name'),
                          ('[w]/*-*', 'may have one *, which then is the name'),
                          ('v/d-*', 'no folder is called v/d-*')):
        with pytest.raises(ConfigError, match=re.escape(message)):
            with_tuned([text])
