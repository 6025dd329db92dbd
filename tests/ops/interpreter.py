"""Triton's interpreter, made fit for our kernels and those of other packages.

It must be chosen before Triton is imported, so tests in it run in a process of their own.
"""
import builtins
import os
import subprocess
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import torch

from tests.conftest import ROOT

SWITCHED_ON = os.environ.get('TRITON_INTERPRET') == '1'


def run_file_in_it(file: str, fewest: int, *options: str) -> None:
    """Run the tests of a file in it; at least so many must pass."""
    done = subprocess.run([sys.executable, '-m', 'pytest', '-q', '-x', '-p', 'no:cacheprovider',
                           file, *options], env=dict(os.environ, TRITON_INTERPRET='1'), cwd=ROOT,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    assert done.stdout.split()[0].count('.') >= fewest, done.stdout  # tests that ran


def repair(monkeypatch) -> None:
    """Two faults of Triton's interpreter (3.5 and 3.6).

    It keeps scalars as arrays of one element, which NumPy from 2.4 on no longer turns into loop
    bounds, and multiplies bfloat16 as integers.
    """
    import triton.language as tl
    from triton.runtime import interpreter
    patch, dot = interpreter._patch_lang_tensor, interpreter.InterpreterBuilder.create_dot

    def patched(tensor, *scope):  # there is none before 3.6
        patch(tensor, *scope)
        bind = scope[0].set_attr if scope else setattr
        bind(tensor, '__index__', lambda self: self.handle.data.item())

    def widened(handle):
        if handle.dtype.scalar != tl.bfloat16:
            return handle
        values = interpreter._convert_float(handle.data, tl.bfloat16, tl.float32, None)
        return interpreter.TensorHandle(values.view('float32'), tl.float32)

    monkeypatch.setattr(interpreter, '_patch_lang_tensor', patched)
    monkeypatch.setattr(interpreter.InterpreterBuilder, 'create_dot',
                        lambda self, a, b, *rest: dot(self, widened(a), widened(b), *rest))


class _Index(int):
    """A loop's variable, which compiled kernels may cast."""

    def to(self, dtype):
        return self


def repair_for_packages(monkeypatch) -> None:
    """What kernels of other packages ask for beyond ours: a device, and timings to choose by."""
    from triton.runtime.autotuner import Autotuner
    repair(monkeypatch)
    monkeypatch.setattr(Autotuner, '_bench', lambda self, *args, config, **meta: [1.] * 3)
    monkeypatch.setattr(torch.cuda, 'device', lambda *_: nullcontext())
    monkeypatch.setattr(torch.cuda, 'get_device_properties',
                        lambda *_: SimpleNamespace(multi_processor_count=8, major=9, minor=0))
    for name, module in list(sys.modules.items()):
        if name.startswith('fla.'):
            monkeypatch.setattr(module, 'range', lambda *ends: map(_Index, builtins.range(*ends)),
                                raising=False)
