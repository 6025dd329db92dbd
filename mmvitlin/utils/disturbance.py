"""Whether a measurement had the cores to itself."""
from __future__ import annotations

import os
import resource
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import torch

MOST_WAITING = 0.05  # of the time of all threads, runnable but without a core
MOST_MISSING = 0.1   # of the cores that the threads need, taken by others
MOST_SPREAD = 1.3    # times the median: what the slowest tenth of its runs may take
_SURE = 5.           # milliseconds beyond the median that are not the clock's
_SHORTEST = 0.3      # seconds in which the kernel's 10 ms ticks say something


@dataclass
class Counters:
    """What the kernel counted up to a moment, in seconds.

    Attributes:
        wall: The clock.
        process: CPU time of this process, all its threads.
        busy: CPU time of all processes on the cores that this process may use, steal included; None
            where the system does not say.
        steal: Of that, what a hypervisor gave to other machines.
        waiting: Time that threads of this process could run and had no core; None where the kernel
            does not say.
        switches: Times that a thread was made to leave its core.
    """
    wall: float
    process: float
    busy: float | None
    steal: float
    waiting: float | None
    switches: int


def cores() -> list[int]:
    """Numbers of the cores that this process may use."""
    if hasattr(os, 'sched_getaffinity'):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def read_counters() -> Counters:
    """Counters of this process and its cores, now."""
    times = [t for n, t in enumerate(psutil.cpu_times(percpu=True)) if n in cores()]
    idle = ('idle', 'iowait', 'guest', 'guest_nice')  # guests are in user and nice already
    busy = sum(v for t in times for k, v in t._asdict().items() if k not in idle)
    return Counters(wall=time.perf_counter(), process=time.process_time(), busy=busy or None,
                    steal=sum(getattr(t, 'steal', 0.) for t in times), waiting=_waiting(),
                    switches=resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw)


def _waiting() -> float | None:
    total = 0
    try:
        for task in Path('/proc/self/task').iterdir():
            total += int((task / 'schedstat').read_text().split()[1])
    except (OSError, IndexError, ValueError):  # a thread that just ended, a kernel without it
        return None
    return total / 1e9


@dataclass
class Load:
    """What a process got of the machine during a measurement.

    Attributes:
        seconds: Length of the measurement.
        threads: That the process computes with.
        cores: That it may use.
        share: CPU time of the process over that of its threads' cores.
        waiting: Share of its threads' time in which they waited for a core, or None.
        others: Cores that other processes took, on average, or None.
        steal: Cores that a hypervisor took.
        switches: Times that a thread was made to leave its core.
        disturbed: Others took what the threads needed.
    """
    seconds: float
    threads: int
    cores: int
    share: float
    waiting: float | None
    others: float | None
    steal: float
    switches: int
    disturbed: bool

    def as_dict(self) -> dict:
        """Plain values."""
        return asdict(self)


def load_between(before: Counters, after: Counters, threads: int, core_count: int) -> Load:
    """What a process got between two readings of the counters.

    Disturbed is a measurement whose threads waited for cores more than :data:`MOST_WAITING` of
    their time, or to which others left less than 1 − :data:`MOST_MISSING` of the cores that its
    threads need. Threads in excess of the cores wait for one another, which is no disturbance.

    Args:
        before: From :func:`read_counters`, when it began.
        after: When it ended.
        threads: That it computes with.
        core_count: Cores that it may use.
    """
    wall = max(after.wall - before.wall, 1e-9)
    needed = min(threads, core_count)
    process = after.process - before.process
    steal = (after.steal - before.steal) / wall
    others = waiting = None
    if before.busy is not None and after.busy is not None and wall >= _SHORTEST:
        others = max(after.busy - before.busy - process, 0.) / wall
    if before.waiting is not None and after.waiting is not None:
        waiting = max(after.waiting - before.waiting, 0.) / (wall * needed)
    missing = 0. if others is None else needed - (core_count - others)
    disturbed = missing > MOST_MISSING * needed
    if waiting is not None and threads <= core_count:
        disturbed = disturbed or waiting > MOST_WAITING
    return Load(round(wall, 3), threads, core_count, round(process / (wall * needed), 3),
                waiting and round(waiting, 3), others and round(others, 3), round(steal, 3),
                after.switches - before.switches, disturbed)


def with_spread(load: dict, *times: dict) -> dict:
    """The load of a measurement, disturbed also where runs of one network differ.

    What comes and goes within a measurement, or slows the machine's clock, does not show in the
    counters, but some of the runs take longer: of three or more the slowest tenth more than
    :data:`MOST_SPREAD` times their median.

    Args:
        load: :meth:`Load.as_dict`.
        *times: Of each network: 'median' and 'p90' in milliseconds, and 'rounds'.

    Returns:
        Load with 'spread', the largest of p90 / median.
    """
    spread = max((t['p90'] / t['median'] for t in times if t['rounds'] >= 3
                  and t['p90'] > t['median'] + _SURE), default=1.)
    return dict(load, spread=round(spread, 2),
                disturbed=load['disturbed'] or spread > MOST_SPREAD)


class Watch:
    """Counts what a block of code got of the machine; ``load`` holds it afterwards.

    Args:
        threads: That the block computes with.
    """

    def __init__(self, threads: int):
        self.threads = threads
        self.load: Load | None = None

    def __enter__(self) -> Watch:
        self._before = read_counters()
        return self

    def __exit__(self, *_) -> None:
        self.load = load_between(self._before, read_counters(), self.threads, len(cores()))


def computing_threads(device: torch.device | str) -> int:
    """Threads of this process that a network on the device keeps busy."""
    return torch.get_num_threads() if torch.device(device).type == 'cpu' else 1


def in_words(load: dict) -> str:
    """Why a measurement with this load is not to be trusted, in a few words."""
    reasons = []
    if load['others'] is not None and load['others'] >= 0.05:
        reasons.append(f"other processes took {load['others']:.1f} of {load['cores']} cores")
    if load['waiting'] is not None and load['waiting'] > MOST_WAITING:
        reasons.append(f"its threads waited {100 * load['waiting']:.0f}% of the time")
    if load.get('spread', 0) > MOST_SPREAD:
        reasons.append(f"its slowest runs took {load['spread']:.1f} times the median")
    return 'disturbed: ' + ', '.join(reasons or ['the cores were not free'])
