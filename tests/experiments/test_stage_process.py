"""Processes of stages: what they say, on which GPU they run, that none outlives its caller."""
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mmvitlin.experiments import running
from mmvitlin.experiments.stage_process import Gpus, run_logged


def test_what_a_stage_says_goes_to_its_log_and_its_progress_to_the_terminal(tmp_path, capsys):
    words = ('Iter(train) [ 50/400]  lr: 1e-3  eta: 0:01:02  time: 0.2  loss: 1.5  x: 2\n'
             'Iter(val) [3/3]    aAcc: 50.0  mIoU: 12.3\n')
    code = f'import sys; print({words!r}); print("error: no", file=sys.stderr); sys.exit(2)'
    status, last = run_logged([sys.executable, '-c', code], tmp_path / 'a' / 'train.log')
    assert (status, last) == (2, 'error: no')
    shown = capsys.readouterr().out
    assert '50/400 iterations, loss 1.5, 0:01:02 left' in shown
    assert 'mIoU: 12.3' in shown
    assert words in (tmp_path / 'a' / 'train.log').read_text()


def test_stages_side_by_side_are_assigned_to_the_gpus(stages, ran, tmp_path, monkeypatch):
    running.run_recipe(stages, tmp_path / '1', jobs=2)
    assert set(ran[1].gpus.values()) == {None}
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '5, GPU-7')
    barrier, one_alone = threading.Barrier(2), ran[1]

    def together(command, log, *rest):
        barrier.wait(120)
        return one_alone(command, log, *rest)

    monkeypatch.setattr(running, 'run_logged', together)
    running.run_recipe([replace(s, inputs={}) for s in stages[:2]], tmp_path / '2', jobs=2)
    assert one_alone.gpus == {'a': '5', 'b': 'GPU-7', 'c': None}
    log = tmp_path / 'x' / 'train.log'
    seen = 'import os; print(os.environ.get("CUDA_VISIBLE_DEVICES"))'
    for gpu, expected in (('3', '3'), (None, '5, GPU-7')):
        assert run_logged([sys.executable, '-c', seen], log, gpu=gpu) == (0, expected)
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES')
    gpus, places = Gpus(), [Path(n) for n in 'abc']
    assert [gpus.take(place) for place in places] == ['0', '1', '0']
    gpus.leave(places[0])
    gpus.leave(places[2])
    assert gpus.take(places[0]) == '0'
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 1)
    assert Gpus().take(places[0]) is None


def test_no_stage_outlives_a_killed_recipe(tmp_path):
    child = f"import os, time; open(r'{tmp_path}/pid', 'w').write(str(os.getpid())); time.sleep(60)"
    script = (f'from mmvitlin.experiments import running\nimport sys\n'
              f'running._command = lambda *a: [sys.executable, "-c", {child!r}]\n'
              f'running.run_recipe([running.Stage("a", "a.py")], r"{tmp_path}/w")')
    parent = subprocess.Popen([sys.executable, '-W', 'ignore', '-c', script])
    pid = tmp_path / 'pid'
    for _ in range(1200):  # a busy machine takes its time to import
        if pid.is_file() and pid.read_text():
            break
        time.sleep(0.1)
    parent.terminate()
    assert parent.wait(120) == 143
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
