"""How much memory a network will need for an image, before it is run."""
from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import torch

from mmvitlin.utils.machine import peak_memory
from mmvitlin.utils.subprocess import is_out_of_memory

_CURVED = 0.2  # share of the largest probe from which a quadratic term is used


@dataclass(frozen=True)
class MemoryLaw:
    """MiB above the loaded model as a function of megapixels that the network sees."""
    fixed: float
    per_megapixel: float
    per_square: float = 0.

    def __call__(self, pixels: int, count: int = 1) -> float:
        """MiB of ``count`` images of that many pixels each, run together."""
        n = pixels / 1e6
        return self.fixed + count * (self.per_megapixel * n + self.per_square * n * n)


def fit(pixels: list[int], mebibytes: list[float]) -> MemoryLaw:
    """A law fitted to measured points, smallest first; fewer than three give a line through 0.

    Heads that let all tokens attend to all need a quadratic term. A single reading is off by what
    an allocator happens to keep, so the term is used only where every three neighbours bend upwards
    by a good part of the largest reading; else a line through the three largest is taken.
    """
    n, mebibytes = np.asarray(pixels) / 1e6, np.asarray(mebibytes)
    if len(n) < 3:
        return MemoryLaw(0., float(mebibytes[-1] / n[-1]))
    bends = [np.polyfit(n[k:k + 3], mebibytes[k:k + 3], 2)[0] for k in range(len(n) - 2)]
    if min(bends) * n[-1]**2 > _CURVED * mebibytes[-1]:
        c, b, a = np.polyfit(n, mebibytes, 2)
        return MemoryLaw(max(a, 0.), max(b, 0.), c)
    slope, start = np.polyfit(n[-3:], mebibytes[-3:], 1)
    return MemoryLaw(max(start, 0.), max(slope, 0.))


def probe_sides(test_cfg: dict) -> tuple[int, ...]:
    """Sides of the square images to measure: beyond one window where windows are used."""
    crop = max(test_cfg['crop_size']) if test_cfg.get('mode') == 'slide' else 512
    return tuple(int(f * max(crop, 512)) // 64 * 64 for f in (1, 1.5, 2, 2.75))


def measure(run: Callable[[int], object], device: torch.device, sides: tuple[int, ...]
            ) -> tuple[list[int], list[float]]:
    """Peak MiB above the loaded model at square sizes, with the network itself.

    No second copy of it is made. A size that would not fit, by twice what the last one took for as
    many pixels, is not tried, nor any above it.

    Args:
        run: Runs the network on a blank image of a side.
        device: Of the network.
        sides: In pixels, smallest first.

    Returns:
        Pixels of the sizes that were measured, and MiB for each.
    """
    run(64)  # what is loaded only once
    pixels, peaks, resident = [], [], 0.
    start = psutil.Process().memory_info().rss
    for side in sides:
        if peaks and 2 * peaks[-1] * side**2 / pixels[-1] > free_mebibytes(device):
            break
        if device.type == 'cpu':
            resident = (psutil.Process().memory_info().rss - start) / 2**20
        try:
            peak = peak_memory(partial(run, side), device)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            break
        pixels.append(side**2)
        peaks.append(max(resident, 0.) + peak)
    return pixels, peaks


def free_mebibytes(device: torch.device) -> float:
    """Free memory of a device; what torch keeps for reuse counts as free."""
    if device.type != 'cuda':
        return min(psutil.virtual_memory().available, _left_to_control_group()) / 2**20
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return (torch.cuda.mem_get_info(device)[0] + kept) / 2**20


def _left_to_control_group(cgroup: Path = Path('/proc/self/cgroup'),
                           root: Path = Path('/sys/fs/cgroup')) -> float:
    """Bytes until a Linux control group of this process is full; cached files count as free.

    Containers and job schedulers set such limits. Limits of parent groups count too.
    """
    left = math.inf
    with suppress(OSError):  # no such file outside of Linux
        for line in cgroup.read_text().splitlines():
            _, controllers, path = line.split(':', 2)
            if not controllers:  # version 2
                top, names = root, ('memory.max', 'memory.current', 'inactive_file')
            elif 'memory' in controllers.split(','):
                top, names = root / 'memory', ('memory.limit_in_bytes', 'memory.usage_in_bytes',
                                               'total_inactive_file')
            else:
                continue
            own = top / path.lstrip('/')
            for group in (own, *own.parents):
                if group.is_relative_to(top):
                    left = min(left, _left_to(group, *names))
    return left


def _left_to(group: Path, limit: str, used: str, cached: str) -> float:
    try:
        total, taken = (int((group / name).read_text()) for name in (limit, used))
        stat = dict(line.split() for line in (group / 'memory.stat').read_text().splitlines())
    except (OSError, ValueError):  # not seen from inside of a container, or 'max': no limit
        return math.inf
    return max(total - taken + int(stat.get(cached, 0)), 0)
