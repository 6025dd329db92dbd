"""Time and memory of networks, side by side on one machine."""
from __future__ import annotations

import ctypes
import gc
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn

from mmvitlin.analysis.fresh import in_fresh_process


def machine(device: torch.device | str | None = None, threads: int | None = None
            ) -> dict[str, object]:
    """What a time was measured on.

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


def _sync(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def time_interleaved(calls: dict[str, Callable[[], object]],
                     device: torch.device | str = 'cpu',
                     warmup: int | str = 2,
                     rounds: int = 20,
                     seconds: float = 10.) -> dict[str, dict[str, float]]:
    """Time several calls in turn, so that drift of the machine hits all alike.

    Args:
        calls: Name → what to run.
        device: Where they run; synchronised around each call.
        warmup: Calls of each before counting; 'stable' for as many as it takes until two in a row
            differ by less than a tenth, two to eight.
        rounds: Most rounds counted.
        seconds: Budget of the counting; at least three rounds are run.

    Returns:
        Name → median, p10, p90 in milliseconds, and the number of rounds.
    """
    device = torch.device(device)
    taken: dict[str, list[float]] = {name: [] for name in calls}
    if warmup == 'stable':
        for call in calls.values():
            _until_stable(call, device)
    for _ in range(warmup if isinstance(warmup, int) else 0):
        for call in calls.values():
            call()
    end = time.perf_counter() + seconds
    for n in range(rounds):
        if n >= 3 and time.perf_counter() > end:
            break
        for name, call in calls.items():
            _sync(device)
            start = time.perf_counter()
            call()
            _sync(device)
            taken[name].append(1e3 * (time.perf_counter() - start))
    return {
        name: dict(median=round(float(np.median(v)), 2), p10=round(float(np.quantile(v, .1)), 2),
                   p90=round(float(np.quantile(v, .9)), 2), rounds=len(v))
        for name, v in taken.items()
    }


def _until_stable(call: Callable[[], object], device: torch.device) -> None:
    last = float('inf')
    for _ in range(8):
        _sync(device)
        start = time.perf_counter()
        call()
        _sync(device)
        taken = time.perf_counter() - start
        if abs(taken - last) < 0.1 * last:
            return
        last = taken


def backbone_latency(models: dict[str, nn.Module],
                     shapes: Sequence[tuple[int, int]],
                     device: torch.device | str = 'cpu',
                     progress: Callable[[str], None] = print,
                     **timing) -> dict[str, dict[str, dict[str, float]]]:
    """Inference time of backbones at several image sizes, batch 1, float32.

    Args:
        models: Name → backbone; put in eval mode and moved to the device.
        shapes: (height, width) in pixels.
        device: Where to run.
        progress: Told each result in a line.
        **timing: See :func:`time_interleaved`.

    Returns:
        'HxW' → name → times, see :func:`time_interleaved`.
    """
    table = {}
    for net in models.values():
        net.eval().to(device)
    for height, width in shapes:
        images = torch.randn(1, 3, height, width, device=device)
        with torch.inference_mode():
            row = time_interleaved({n: partial(net, images) for n, net in models.items()},
                                   device, **timing)
        table[f'{height}x{width}'] = row
        progress(f'  {height}x{width}: ' +
                 ', '.join(f"{n} {t['median']:.0f} ms" for n, t in row.items()))
    return table


def backbone_memory(cfg: dict, shapes: Sequence[tuple[int, int]]) -> dict[str, float]:
    """Peak memory of a backbone's inference above the loaded model, in a fresh process.

    On CPU the resident peak, which the kernel is asked to reset before each shape; on CUDA
    the allocator's.

    Args:
        cfg: Config of the backbone, plain values only.
        shapes: (height, width), measured from small to large.

    Returns:
        'HxW' → MiB.

    Raises:
        MeasurementError: the process failed.
    """
    ordered = sorted((tuple(s) for s in shapes), key=lambda s: s[0] * s[1])
    return in_fresh_process(_peak_of, cfg, ordered)


def _status(field: str) -> float:
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f'/proc/self/status has no {field}')


def peak_memory(call: Callable[[], object], device: torch.device | str = 'cpu') -> float:
    """Highest memory while ``call`` runs, above what was held before, in MiB.

    On CUDA the allocator's. On CPU the process's resident memory, whose peak the kernel is asked
    to forget first, and freed memory is given back before, so that none of it serves again.
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
    before = _status('VmRSS')
    Path('/proc/self/clear_refs').write_text('5')  # resets VmHWM
    call()
    return _status('VmHWM') - before


def _peak_of(cfg: dict, shapes: Sequence[tuple[int, int]]) -> dict[str, float]:
    from mmengine.registry import MODELS
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    net = MODELS.build(cfg).eval().to(device)
    table, held = {}, 0.
    with torch.inference_mode():
        net(torch.randn(1, 3, 64, 64, device=device))
        loaded = _status('VmRSS')
        for height, width in shapes:
            images = torch.randn(1, 3, height, width, device=device)
            if device == 'cpu':
                held = _status('VmRSS') - loaded  # freed by earlier shapes, not given back
            peak = peak_memory(partial(net, images), device)
            table[f'{height}x{width}'] = round(held + peak, 1)
    return table
