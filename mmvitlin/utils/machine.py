"""The machine of a measurement, and the memory of this process."""
from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import torch


def machine(device: torch.device | str | None = None, threads: int | None = None
            ) -> dict[str, object]:
    """Description of the machine for a measurement.

    Args:
        device: The one that was used; None for the first GPU, where there is one.
        threads: Of the CPU; None for torch's.
    """
    gpu = None
    if torch.cuda.is_available() and (device is None or torch.device(device).type == 'cuda'):
        gpu = torch.cuda.get_device_name(device)
    name = 'unknown processor'
    info = Path('/proc/cpuinfo')
    if info.is_file():
        name = next((line.split(':', 1)[1].strip() for line in info.read_text().splitlines()
                     if line.startswith('model name')), name)
    return dict(processor=name, threads=threads or torch.get_num_threads(),
                cores=os.cpu_count(), gpu=gpu)


def resident_memory(field: str) -> float:
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f'/proc/self/status has no {field}')


def process_peak() -> float:
    """Peak resident memory of this process, in MiB, since :func:`peak_memory` last reset it."""
    return resident_memory('VmHWM')


def peak_memory(call: Callable[[], object], device: torch.device | str = 'cpu') -> float:
    """Highest memory while ``call`` runs, above what was held before, in MiB.

    On CUDA the allocator's. On CPU the process's resident memory, whose peak is reset first; freed
    memory is returned to the system before, so that it is not reused.
    """
    if torch.device(device).type == 'cuda':
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        torch.cuda.synchronize(device)
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    gc.collect()
    with suppress(OSError, AttributeError):  # other C libraries than glibc have none
        ctypes.CDLL(None).malloc_trim(0)
    before = resident_memory('VmRSS')
    Path('/proc/self/clear_refs').write_text('5')  # resets VmHWM
    call()
    return resident_memory('VmHWM') - before


def undisturbed(rows: Sequence[dict]) -> list[dict]:
    """Rows that nothing disturbed, see :mod:`mmvitlin.utils.disturbance`: only these are
    compared."""
    return [r for r in rows if not (r.get('load') or {}).get('disturbed')]
