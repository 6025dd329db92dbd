import os
import signal
import time

import pytest

from mmvitlin.analysis.fresh import MeasurementError, in_fresh_process


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
def test_how_it_ended_is_told(function, args, words):
    with pytest.raises(MeasurementError, match=words):
        in_fresh_process(function, *args)


def test_a_time_limit():
    start = time.monotonic()
    with pytest.raises(MeasurementError, match='over the time limit'):
        in_fresh_process(time.sleep, 60, seconds=0.5)
    assert time.monotonic() - start < 30
