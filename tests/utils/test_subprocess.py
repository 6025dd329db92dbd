import os
import signal
import subprocess
import sys
import time

import pytest

from mmvitlin.utils.subprocess import MeasurementError, in_fresh_process
from tests.conftest import ROOT


def add(a, b):
    return a + b, os.getpid()


def too_large():
    raise MemoryError


def wrong(text):
    raise ValueError(text)


def killed(number):
    os.kill(os.getpid(), number)


def test_it_answers_from_another_process():
    total, process = in_fresh_process(add, 2, 3)
    assert total == 5
    assert process != os.getpid()
    assert in_fresh_process(add, 2, 3)[1] != process


@pytest.mark.parametrize(('function', 'args', 'words'), [
    (too_large, (), '^out of memory$'),
    (wrong, ('seven', ), '^failed: ValueError: seven$'),
    (killed, (signal.SIGKILL, ), '^out of memory$'),
    (killed, (signal.SIGTERM, ), '^failed: ended with status -15$'),
])
def test_how_it_ended_is_reported(function, args, words):
    with pytest.raises(MeasurementError, match=words):
        in_fresh_process(function, *args)


def test_a_time_limit():
    start = time.monotonic()
    with pytest.raises(MeasurementError, match='over the time limit'):
        in_fresh_process(time.sleep, 60, seconds=0.5)
    assert time.monotonic() - start < 30


UNGUARDED = """from mmvitlin.utils.subprocess import in_fresh_process
print(in_fresh_process(max, 2, 3), __file__.endswith('script.py'))
"""
GUARDED = """from mmvitlin.utils.subprocess import in_fresh_process
def larger(a, b):
    return max(a, b)
if __name__ == '__main__':
    print(in_fresh_process(larger, 2, 3), __file__.endswith('script.py'))
"""


@pytest.mark.parametrize('script', [UNGUARDED, GUARDED])
def test_an_unguarded_script_is_not_run_again(tmp_path, script):
    (tmp_path / 'script.py').write_text(script)
    done = subprocess.run([sys.executable, '-W', 'ignore', str(tmp_path / 'script.py')],
                          env=dict(os.environ, PYTHONPATH=str(ROOT)), capture_output=True,
                          text=True)
    assert done.stdout.splitlines() == ['3 True'], done.stderr[-2000:]
