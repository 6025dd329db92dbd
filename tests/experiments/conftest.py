"""A recipe whose training is replaced; configs are named by their paths in the repository."""
import json

import pytest
import torch

from mmvitlin.experiments import recipe, running, stage_record
from tests.conftest import ROOT

TWO = ("stages = [dict(name='a', config='a.py', output='student.pth'),\n"
       "          dict(name='b', config='b.py', inputs={'model.checkpoint': 'a'}),\n"
       "          dict(name='c', config='c.py')]")


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture
def stages(tmp_path):
    (tmp_path / 'r.py').write_text(TWO)
    return recipe.load_recipe(tmp_path / 'r.py')


@pytest.fixture
def ran(monkeypatch):
    """Replaces training: writes what a run writes, or fails where told to."""
    commands = []

    def run(command, log, name, threads, children, gpu=None):
        commands.append(command)
        run.gpus[log.parent.name] = gpu
        run.threads[log.parent.name] = threads
        folder = log.parent
        status = run.failing.get(folder.name, 0)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / 'last_checkpoint').write_text(str(folder / 'iter_9.pth'))
        (folder / 'iter_9.pth').write_text('weights')
        (folder / 'student.pth').write_text(f'weights by {command}')
        if not status:
            seed = int(command[command.index('--seed') + 1])
            metrics = {} if folder.name == 'a' else {'mIoU': 30. + seed}
            (folder / 'result.json').write_text(json.dumps(
                dict(metrics=metrics, iterations=9, seconds=1.5)))
        return status, 'error: the disk is full'

    run.failing, run.threads, run.gpus = {}, {}, {}
    monkeypatch.setattr(running, 'run_logged', run)
    monkeypatch.setattr(recipe, 'refuse_absent', lambda stages: None)
    monkeypatch.setattr(stage_record, 'half_dtype', lambda: torch.bfloat16)
    return commands, run
