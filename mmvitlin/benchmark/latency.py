"""Time and memory of networks, side by side on one machine."""
from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial

import numpy as np
import torch
import torch.nn as nn

from mmvitlin.utils.disturbance import Watch, computing_threads, in_words, with_spread
from mmvitlin.utils.machine import peak_memory, resident_memory
from mmvitlin.utils.subprocess import in_fresh_process


def _sync(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def time_interleaved(calls: dict[str, Callable[[], object]],
                     device: torch.device | str = 'cpu',
                     warmup: int | str = 2,
                     rounds: int = 20,
                     seconds: float = 10.,
                     watch: Watch | None = None) -> dict[str, dict[str, float]]:
    """Time several calls in turn, so that drift of the machine hits all alike.

    Args:
        calls: Name → what to run.
        device: Where they run; synchronised around each call.
        warmup: Calls of each before counting; 'stable' for as many as it takes until two in a row
            differ by less than a tenth, two to eight.
        rounds: Most rounds counted.
        seconds: Budget of the counting; at least three rounds are run.
        watch: Counts what the process got of the machine meanwhile, without the warming up.

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
    with watch or nullcontext():
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
                     repeats: int = 2,
                     **timing) -> dict[str, dict[str, dict]]:
    """Inference time of backbones at several image sizes, batch 1, float32.

    A size whose measurement other processes disturbed is measured again.

    Args:
        models: Name → backbone; put in eval mode and moved to the device.
        shapes: (height, width) in pixels.
        device: Where to run.
        progress: Called with a line for each result.
        repeats: Times that a disturbed size is measured again, at most.
        **timing: See :func:`time_interleaved`.

    Returns:
        'HxW' → name → times, see :func:`time_interleaved`, with 'load', see
        :class:`mmvitlin.utils.disturbance.Load`.
    """
    table = {}
    for net in models.values():
        net.eval().to(device)
    for height, width in shapes:
        images = torch.randn(1, 3, height, width, device=device)
        calls = {n: partial(net, images) for n, net in models.items()}
        with torch.inference_mode():
            row = time_watched(calls, device, repeats, **timing)
        table[f'{height}x{width}'] = row
        progress(f'  {height}x{width}: ' + ', '.join(
            f"{n} {t['median']:.0f} ms" + f" ({in_words(t['load'])})" * t['load']['disturbed']
            for n, t in row.items()))
    return table


def time_watched(calls: dict[str, Callable[[], object]], device: torch.device | str = 'cpu',
                 repeats: int = 2, **timing) -> dict[str, dict]:
    """:func:`time_interleaved`, again where other processes disturbed it.

    Args:
        calls: Name → what to run.
        device: Where they run.
        repeats: Times that it is measured again, at most.
        **timing: See :func:`time_interleaved`.

    Returns:
        As there, with 'load', see :class:`mmvitlin.utils.disturbance.Load`.
    """
    def once() -> tuple[dict, dict]:
        watch = Watch(computing_threads(device))
        times = time_interleaved(calls, device, watch=watch, **timing)
        own = watch.load.as_dict()
        timed = {name: dict(values, load=with_spread(own, values))
                 for name, values in times.items()}
        return timed, with_spread(own, *times.values())

    return least_disturbed(once, repeats)[0]


def least_disturbed(run: Callable[[], tuple[object, dict]], repeats: int,
                    pause: float = 2.) -> tuple[object, dict]:
    """Measure, and again while it is disturbed.

    Args:
        run: Gives a result and its load, see :class:`mmvitlin.utils.disturbance.Load`.
        repeats: Times that it is run again, at most.
        pause: Seconds before each of them, for what disturbs to pass.

    Returns:
        The first undisturbed result and its load, or else those to which others left most and
        whose runs differ least.
    """
    tried = [run()]
    while tried[-1][1]['disturbed'] and len(tried) <= repeats:
        time.sleep(pause)
        tried.append(run())
    if not tried[-1][1]['disturbed']:
        return tried[-1]
    return min(tried, key=lambda result: (result[1]['waiting'] or 0) + (result[1]['others'] or 0)
               + result[1].get('spread', 1))


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


def _peak_of(cfg: dict, shapes: Sequence[tuple[int, int]]) -> dict[str, float]:
    from mmengine.registry import MODELS
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    net = MODELS.build(cfg).eval().to(device)
    table, resident = {}, 0.
    with torch.inference_mode():
        net(torch.randn(1, 3, 64, 64, device=device))
        loaded = resident_memory('VmRSS')
        for height, width in shapes:
            images = torch.randn(1, 3, height, width, device=device)
            if device == 'cpu':
                # freed after earlier shapes, but not returned to the system
                resident = resident_memory('VmRSS') - loaded
            peak = peak_memory(partial(net, images), device)
            table[f'{height}x{width}'] = round(resident + peak, 1)
    return table
