"""The guide to several machines as it stands, with a small network on two processes."""
import json
import os
import shlex
import socket
import subprocess
import sys

import pytest

from mmvitlin.datasets.streets import write_streets
from mmvitlin.engine.runner.config import load_config
from tests.conftest import ROOT
from tests.integration.test_guides import ADVENTURER, SMALL, lines_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def checkout(tmp_path_factory):
    """A checkout whose ``configs/seg/cityscapes_1024.py`` is small."""
    folder = tmp_path_factory.mktemp('checkout')
    write_streets(folder / 'streets', dict(train=4, val=2), (64, 128), workers=1)
    (folder / 'tools').symlink_to(ROOT / 'tools')
    (folder / 'configs/seg').mkdir(parents=True)
    load_config('mmvitlin::seg/cityscapes_1024.py', {**SMALL, **ADVENTURER}).dump(
        folder / 'configs/seg/cityscapes_1024.py')
    return folder


def start(line, folder, processes, port, **more):
    """Start a command of the page with so many processes in the place of its eight."""
    assignments, words = [], shlex.split(line)
    while '=' in words[0]:
        assignments.append(words.pop(0).split('='))
    env = {**os.environ, **dict(assignments), 'PORT': str(port), 'OMP_NUM_THREADS': '1',
           'PYTHONPATH': str(ROOT), 'MASTER_ADDR': '127.0.0.1', **more,
           'PATH': f'{os.path.dirname(sys.executable)}:{os.environ["PATH"]}'}
    words = [processes if word == '8' else word.replace('80000', '2') for word in words]
    return subprocess.Popen(['bash', *words], cwd=folder, env=env, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)


def finish(*running):
    for process in running:
        output, _ = process.communicate(timeout=600)
        assert process.returncode == 0, output[-4000:]


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def test_one_machine_and_two(checkout):
    train, test, on_two = lines_of('several_machines')
    finish(start(train, checkout, '2', free_port()))
    finish(start(test, checkout, '2', free_port()))
    work = checkout / 'work_dirs/cityscapes_1024'
    assert json.loads((work / 'test_result.json').read_text())['metrics']
    (work / 'iter_2.pth').unlink()
    port = free_port()
    assert 'NODE_RANK=0' in on_two
    finish(*(start(on_two, checkout, '1', port, NODE_RANK=rank) for rank in '01'))
    assert (work / 'iter_2.pth').is_file()
