"""Measuring in a fresh process."""
from __future__ import annotations

import multiprocessing
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch

# messages of the CPU's allocator, C++, CUDA and its libraries
_FULL = ("can't allocate memory", 'bad_alloc', 'out of memory', 'alloc_failed',
         'not enough memory')
_LOCK = threading.Lock()


class MeasurementError(RuntimeError):
    """A measurement that did not finish.

    Its message is 'out of memory', 'over the time limit', or 'failed: …' with the reason.
    """


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error of any library is an out-of-memory error."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(
        sign in str(error).lower() for sign in _FULL)


def in_fresh_process(function: Callable, *args, seconds: float | None = None,
                     preload: Sequence[str] | None = None):
    """Call a function of a module in a process of its own.

    Processes are forked from one that has only imported, so each starts clean and fast.

    Args:
        function: Importable by name. The caller's script is imported again only for a function of
            its own, and must then guard what it runs with ``if __name__ == '__main__'``.
        *args: Plain values.
        seconds: Time it may take; None for no limit.
        preload: Modules that the process to fork from imports; the function's by default. Those of
            a program's first call are used for all.

    Returns:
        What the function returns.

    Raises:
        MeasurementError: it ran out of memory or time, or raised.
    """
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(list(preload or {function.__module__} - {'__main__'}))
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(function, args, sender))
    with nullcontext() if function.__module__ == '__main__' else _hidden_main():
        process.start()
    sender.close()
    try:
        if not receiver.poll(seconds):
            raise MeasurementError('over the time limit')
        problem, result = receiver.recv()
    except EOFError:
        process.join()
        if process.exitcode == -signal.SIGKILL:  # by the kernel: out of memory
            raise MeasurementError('out of memory') from None
        raise MeasurementError(f'failed: ended with status {process.exitcode}') from None
    finally:
        process.kill()
        process.join()
    if problem is not None:
        raise MeasurementError(problem)
    return result


@contextmanager
def _hidden_main() -> Iterator[None]:
    """Keep multiprocessing from running the caller's script once more, which may have no guard."""
    with _LOCK:
        main = sys.modules['__main__']
        spec, file = main.__spec__, main.__dict__.pop('__file__', None)
        main.__spec__ = None
        try:
            yield
        finally:
            main.__spec__ = spec
            if file is not None:
                main.__file__ = file


def _answer(function: Callable, args: tuple, connection) -> None:
    """In the fresh process."""
    warnings.simplefilter('ignore')
    problem = result = None
    try:
        result = function(*args)
    except Exception as error:  # passed to the caller
        words = f'{type(error).__name__}: {error}'
        problem = 'out of memory' if is_out_of_memory(error) else f'failed: {words[:300]}'
    connection.send((problem, result))
