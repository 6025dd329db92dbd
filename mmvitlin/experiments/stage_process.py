"""Processes that run stages: their output, locks on folders, GPUs, and ending with the caller."""
from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

from mmvitlin.utils.device import visible_gpus
from mmvitlin.utils.optional import OptionalModule

filelock = OptionalModule('filelock', 'experiments')


class Children(set):
    """Running processes; none outlives the recipe, also when it is ended by SIGTERM."""

    def __enter__(self) -> Children:
        self._before = None
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        return self

    def __exit__(self, *_) -> None:
        for process in list(self):
            process.terminate()
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)


class Locks(dict):
    """Locks on the folders of stages that this process runs, also across machines that share
    them."""

    def claim(self, folder: Path) -> bool:
        """Lock the folder; whether this process has it now."""
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / '.lock')
        with suppress(filelock.Timeout):
            lock.acquire(timeout=0)
            self[folder] = lock
        return folder in self

    def free(self, folder: Path) -> None:
        """Release the folder."""
        self.pop(folder).release()

    def __enter__(self) -> Locks:
        return self

    def __exit__(self, *_) -> None:
        for folder in list(self):
            self.free(folder)


class Gpus:
    """Assigns GPUs to stages where there are several: each gets the one with the fewest stages."""

    def __init__(self):
        names = visible_gpus()
        self._stages: dict[str, set[Path]] = {n: set() for n in names} if len(names) > 1 else {}

    def take(self, folder: Path) -> str | None:
        """The stage's ``CUDA_VISIBLE_DEVICES``; None to leave it as it is."""
        name = min(self._stages, key=lambda n: len(self._stages[n]), default=None)
        if name is not None:
            self._stages[name].add(folder)
        return name

    def leave(self, folder: Path) -> None:
        """The stage has ended."""
        for stages in self._stages.values():
            stages.discard(folder)


_PROGRESS = re.compile(r'Iter\(train\) \[ *(\d+)/(\d+)\].*?eta: (\S+).*? loss: (\S+)')


def run_logged(command: list[str], log: Path, name: str = '', threads: int | None = None,
               children: set | None = None, gpu: str | None = None) -> tuple[int, str]:
    """Run a stage: its output goes to the log, its progress to the terminal.

    Args:
        command: What to run.
        log: File that is added to.
        name: Before its progress.
        threads: Of the CPU; as many as there are if None.
        children: Has the process while it runs.
        gpu: Its ``CUDA_VISIBLE_DEVICES``; the caller's if None.

    Returns:
        Exit status and the last line of its output.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    last, env = '', dict(os.environ, PYTHONUNBUFFERED='1', PYTHONWARNINGS='ignore')
    if threads is not None:
        env['OMP_NUM_THREADS'] = str(threads)
    if gpu is not None:
        env['CUDA_VISIBLE_DEVICES'] = gpu
    with log.open('a', buffering=1) as file, subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1,
            env=env) as process:
        if children is not None:
            children.add(process)
        for line in process.stdout:
            file.write(line)
            last = line.strip() or last
            if match := _PROGRESS.search(line):
                done, total, eta, loss = match.groups()
                print(f'    {name:14s} {done:>6}/{total} iterations, loss {loss}, {eta} left',
                      flush=True)
            elif any(name in line for name in ('mIoU:', 'accuracy/top1', 'bbox_mAP:')):
                print(f"    {name:14s} {line[line.rfind(']') + 1:].strip()}", flush=True)
    if children is not None:
        children.discard(process)
    return process.returncode, last
