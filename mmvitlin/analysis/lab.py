"""The speed laboratory: many networks, sizes and precisions, measured so that a sceptic accepts.

Each cell of the grid is measured in processes of its own: first the peak memory and one run of each
network alone, then the time of all that can run, taken in turn. A cell that runs out of memory or
time is a row like any other. What is done is kept, so an interrupted run goes on.
"""
from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import torch

from mmvitlin.analysis.flops import Counts, attainable_ms, count, machine_limits
from mmvitlin.analysis.fresh import MeasurementError, in_fresh_process
from mmvitlin.analysis.latency import machine, peak_memory, time_interleaved
from mmvitlin.analysis.subjects import DTYPES, Built, Subject
from mmvitlin.engine.hooks.result import command_line, versions
from mmvitlin.errors import ConfigError


@dataclass
class Grid:
    """What is measured.

    Attributes:
        subjects: The networks.
        shapes: (height, width) of the images.
        batch_sizes: Images at a time.
        precisions: Of 'fp32', 'tf32', 'bf16', 'fp16'.
        part: 'backbone', 'head', 'post' or 'whole'.
        mode: 'inference' or 'train'.
        compiled: Also through ``torch.compile``.
        device: 'cpu' or a CUDA device.
        threads: Of a CPU; None for torch's own choice.
        rounds: Runs of each network that are counted, at most.
        seconds: Time for counting a cell; at least three runs of each are made.
        time_limit: Seconds that one run of one network may take; beyond, its row says so.
        memory: Measure peak memory.
    """
    subjects: Sequence[Subject]
    shapes: Sequence[tuple[int, int]]
    batch_sizes: Sequence[int] = (1, )
    precisions: Sequence[str] = ('fp32', )
    part: str = 'backbone'
    mode: str = 'inference'
    compiled: bool = False
    device: str = 'cpu'
    threads: int | None = None
    rounds: int = 20
    seconds: float = 10.
    time_limit: float = 120.
    memory: bool = True

    def cells(self) -> list[dict]:
        """Size, batch and precision of each cell, small to large."""
        shapes = sorted(self.shapes, key=lambda s: s[0] * s[1])
        return [dict(shape=list(shape), batch=batch, precision=precision)
                for precision, shape, batch in itertools.product(self.precisions, shapes,
                                                                 self.batch_sizes)]

    def runs(self) -> list[tuple[Subject, bool]]:
        """Networks, and whether compiled."""
        return [(s, c) for s in self.subjects for c in ([False, True] if self.compiled else
                                                        [False])]


def key_of(grid: Grid, cell: dict, subject: Subject, compiled: bool) -> str:
    """Name of a row; the same measurement has the same name in every file."""
    return '|'.join([subject.name, grid.part, grid.mode, '{}x{}'.format(*cell['shape']),
                     f"batch {cell['batch']}", cell['precision'],
                     'compiled' if compiled else 'eager', grid.device])


def measure(grid: Grid, out: Path, progress: Callable[[str], None] = print) -> dict:
    """Measure what the file does not hold yet.

    Args:
        grid: What to measure.
        out: JSON file; results are added to it cell by cell.
        progress: Told each row in a line.

    Returns:
        The file's content: machine, versions, date, command, 'limits' of the machine by
        precision, and 'rows' by :func:`key_of`: 'status' ('ok', 'out of memory', 'over the
        time limit' or 'failed: …'), 'ms' (median, p10, p90, rounds), 'peak_mib' above the
        loaded model, 'flops', 'bytes', 'attainable_ms' and 'fraction' (attainable over
        measured), 'tokens' of 16×16 pixels, 'images_per_second'.

    Raises:
        ConfigError: two subjects of one name, or a precision that is not known.
    """
    names = [s.name for s in grid.subjects]
    if len(set(names)) < len(names):
        raise ConfigError(f'two subjects have one name: {sorted(names)}; rows would be mixed')
    if unknown := sorted(set(grid.precisions) - set(DTYPES)):
        raise ConfigError(f'precisions {unknown} are none of {sorted(DTYPES)}')
    results = json.loads(out.read_text()) if out.is_file() else dict(rows={}, limits={})
    cells = grid.cells()
    for done, cell in enumerate(cells):
        wanted = [(s, c) for s, c in grid.runs()
                  if key_of(grid, cell, s, c) not in results['rows']]
        if not wanted:
            continue
        progress(f"[{done + 1}/{len(cells)}] {'x'.join(map(str, cell['shape']))}, batch "
                 f"{cell['batch']}, {cell['precision']}")
        for (subject, compiled), row in zip(wanted, _measure_cell(grid, cell, wanted),
                                            strict=True):
            results['rows'][key_of(grid, cell, subject, compiled)] = row
            progress(f"    {subject.name}{', compiled' if compiled else ''}: {_in_words(row)}")
        if cell['precision'] not in results['limits']:
            results['limits'][cell['precision']] = _worker('limits', grid, cell, [], 600)
        _add_fractions(results)
        results.update(machine=machine(), versions=versions(), command=command_line(),
                       date=datetime.now(timezone.utc).isoformat(timespec='seconds'))
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(results, indent=1) + '\n')
    return results


def _in_words(row: dict) -> str:
    if row['status'] != 'ok':
        return row['status']
    peak = f", {row['peak_mib']:.0f} MiB" if row.get('peak_mib') is not None else ''
    return f"{row['ms']['median']:.1f} ms ({row['ms']['p10']:.1f}–{row['ms']['p90']:.1f}){peak}"


def _measure_cell(grid: Grid, cell: dict, wanted: list[tuple[Subject, bool]]) -> list[dict]:
    """Rows of a cell: each network alone, then those that can run in turn."""
    rows = []
    for run in wanted:
        # the limit is for one run: building, warming and counting operations come on top
        rows.append(_worker('alone', grid, cell, [run], 4 * grid.time_limit + 120))
    able = [n for n, row in enumerate(rows) if row['status'] == 'ok']
    if able:
        limit = 60 + len(able) * (60 + 8 * grid.time_limit) + grid.seconds
        times = _worker('together', grid, cell, [wanted[n] for n in able], limit)
        for n, name in enumerate(able):
            if times.get('status', 'ok') == 'ok':
                row = rows[name]
                row['ms'] = times['ms'][n]
                row['images_per_second'] = round(1e3 * cell['batch'] / row['ms']['median'], 3)
            else:  # together they do not fit; alone they did
                rows[name]['status'] = times['status']
    return rows


def _worker(task: str, grid: Grid, cell: dict, runs: list[tuple[Subject, bool]],
            seconds: float) -> dict:
    """What a fresh process measures, or how it ended."""
    message = dict(task=task, cell=cell, part=grid.part, mode=grid.mode, device=grid.device,
                   threads=grid.threads, rounds=grid.rounds, seconds=grid.seconds,
                   time_limit=grid.time_limit, memory=grid.memory,
                   runs=[[s.as_dict(), c] for s, c in runs])
    try:
        return in_fresh_process(_work, message, seconds=seconds)
    except MeasurementError as error:
        return dict(status=str(error))


def _work(message: dict) -> dict:
    """What :func:`_worker` asks for."""
    cell, device = message['cell'], message['device']
    if message['threads']:
        torch.set_num_threads(message['threads'])
    torch.backends.cuda.matmul.allow_tf32 = cell['precision'] == 'tf32'
    torch.backends.cudnn.allow_tf32 = cell['precision'] == 'tf32'
    dtype = DTYPES[cell['precision']]
    if message['task'] == 'limits':
        return machine_limits(device, dtype)
    torch.manual_seed(0)
    built = [Built(Subject(**s), cell['shape'], device, c) for s, c in message['runs']]
    images = torch.randn(cell['batch'], 3, *cell['shape'], device=device)
    calls = {str(n): b.call(message['part'], images, message['mode'], cell['precision'])
             for n, b in enumerate(built)}
    if message['task'] == 'together':
        times = time_interleaved(calls, device, 'stable', message['rounds'], message['seconds'])
        return dict(ms=[times[str(n)] for n in range(len(built))])
    counts = _counts(built[0], message['part'], images.shape, dtype)
    row = dict(status='ok', peak_mib=None, tokens=cell['shape'][0] * cell['shape'][1] // 256,
               flops=counts.flops * (3 if message['mode'] == 'train' else 1),
               bytes=counts.bytes * (3 if message['mode'] == 'train' else 1),
               precision=cell['precision'])
    start = time.perf_counter()
    if message['memory']:
        row['peak_mib'] = round(peak_memory(calls['0'], device), 1)
    else:
        calls['0']()
    if time.perf_counter() - start > message['time_limit'] and not built[0].compiled:
        row['status'] = 'over the time limit'
    return row


def _counts(built: Built, part: str, shape: Sequence[int], dtype: torch.dtype) -> Counts:
    """Operations of the timed part; nothing where it cannot be counted from shapes."""
    net = built.network
    if part in ('head', 'post') or built.is_model and part == 'whole' \
            and not hasattr(net, 'decode_head'):
        return Counts()
    timed = net.backbone if built.is_model and part == 'backbone' else net
    try:
        return count(timed, tuple(shape), 2 if dtype in (torch.bfloat16, torch.float16) else 4)
    except (RuntimeError, NotImplementedError):  # an operator without a meta kernel
        return Counts()


def _add_fractions(results: dict) -> None:
    for row in results['rows'].values():
        limits = results['limits'].get(row.get('precision'), {})
        if row['status'] == 'ok' and row.get('flops') and 'flops' in limits:
            least = attainable_ms(Counts(row['flops'], row['bytes']), limits)
            row.update(attainable_ms=round(least, 3),
                       fraction=round(least / row['ms']['median'], 3))


def series(results: dict) -> dict[str, list[dict]]:
    """Rows that ran, by everything but their size: name → rows, small to large."""
    found: dict[str, list[dict]] = {}
    for key, row in results['rows'].items():
        name, part, mode, shape, *rest = key.split('|')
        if row['status'] == 'ok':
            label = ' · '.join([name, part, mode, *rest])
            found.setdefault(label, []).append(dict(row, shape=shape))
    return {k: sorted(v, key=lambda r: r['tokens']) for k, v in found.items()}


def growth(rows: Sequence[dict]) -> float | None:
    """Exponent of time in tokens, fitted over the last two octaves; None for too few sizes."""
    last = rows[-1]['tokens']
    kept = [r for r in rows if r['tokens'] * 4 >= last]
    if len({r['tokens'] for r in kept}) < 2:
        return None
    x = np.log([r['tokens'] for r in kept])
    y = np.log([r['ms']['median'] for r in kept])
    return round(float(np.polyfit(x, y, 1)[0]), 3)


def crossover(a: Sequence[dict], b: Sequence[dict]) -> float | None:
    """Tokens from which ``a`` is faster than ``b``, between measured sizes on log axes.

    Returns:
        The number; 0 if ``a`` is faster throughout; None if it is not at the largest size.
    """
    other = {r['tokens']: r['ms']['median'] for r in b}
    points = [(r['tokens'], np.log(r['ms']['median'] / other[r['tokens']])) for r in a
              if r['tokens'] in other]
    if not points or points[-1][1] >= 0:
        return None
    for (t0, r0), (t1, r1) in reversed(list(itertools.pairwise(points))):
        if r0 >= 0 > r1:
            share = r0 / (r0 - r1)
            return round(float(np.exp(np.log(t0) + share * np.log(t1 / t0))))
    return 0


def changed(old: dict, new: dict, margin: float = 0.02) -> list[dict]:
    """Rows of both files that differ: key, old and new ms, ratio.

    Two times differ where their spreads (10–90%) stay apart by more than ``margin``, a fraction
    of the old median: the spread within a run does not tell how runs vary.
    """
    found = []
    for key, row in new['rows'].items():
        before = old['rows'].get(key)
        if before is None or row['status'] != 'ok' or before['status'] != 'ok':
            if before is not None and before['status'] != row['status']:
                found.append(dict(key=key, old=before['status'], new=row['status'], ratio=None))
            continue
        a, b = before['ms'], row['ms']
        if max(b['p10'] - a['p90'], a['p10'] - b['p90']) > margin * a['median']:
            found.append(dict(key=key, old=a['median'], new=b['median'],
                              ratio=round(b['median'] / a['median'], 3)))
    return found
