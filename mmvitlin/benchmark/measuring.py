"""The speed benchmark: many networks, sizes and precisions, measured under equal conditions.

Each cell of the grid is measured in processes of its own: first the peak memory and one run of each
network alone, then the time of all that can run, taken in turn. A cell that runs out of memory or
time is a row like any other. What is done is kept, so an interrupted run resumes; a row is
continued only where network, code, libraries and threads are those that it was measured with.
"""
from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from mmvitlin.benchmark.flops import Counts, attainable_ms
from mmvitlin.benchmark.grid import Grid, key_of
from mmvitlin.benchmark.latency import least_disturbed
from mmvitlin.benchmark.measuring_process import PATIENCE, PENDING, run_task, with_time
from mmvitlin.benchmark.provenance import libraries, made_of
from mmvitlin.benchmark.subjects import Subject
from mmvitlin.engine.hooks.result import command_line, versions
from mmvitlin.utils import disturbance
from mmvitlin.utils.errors import ConfigError
from mmvitlin.utils.files import write_whole
from mmvitlin.utils.machine import machine, undisturbed
from mmvitlin.utils.subprocess import MeasurementError, in_fresh_process


def measure(grid: Grid, out: Path, progress: Callable[[str], None] = print) -> dict:
    """Measure what the file does not hold yet.

    Args:
        grid: What to measure.
        out: JSON file; results are added to it row by row.
        progress: Called with a line for each row.

    Returns:
        The file's content: 'calls', each with machine, versions, date, command and the 'limits'
        of the machine by precision, measured in that call; and 'rows' by :func:`key_of`: 'call'
        (its number), 'status' ('ok', 'out of memory', 'over the time limit' or 'failed: …'), 'ms'
        (median, p10, p90, rounds), 'load' (what the process got of the machine, see
        :class:`mmvitlin.utils.disturbance.Load`), 'interleaved', 'peak_mib' above the loaded
        model, 'flops', 'bytes', 'attainable_ms' and 'fraction' (attainable over measured),
        'tokens' of 16×16 pixels, 'images_per_second', 'parameters', 'process_mib' (peak of the
        whole process; of a file in one without torch), 'agreement' of a file with torch in
        float32, 'file_precision', and 'graph_breaks' of what is compiled.

    Raises:
        ConfigError: see :meth:`Grid.check`.
    """
    grid.check()
    results = _read(out)
    call = dict(machine=machine(grid.device, grid.cpu_threads()),
                versions=dict(versions(), **libraries()), command=command_line(), date=_now(),
                limits={})
    digests = {s.name: made_of(s, grid.device, grid.cpu_threads()) for s in grid.subjects}
    _mark_stale(results['rows'], digests)
    cells, begun, spent = grid.cells(), time.perf_counter(), []
    number = len(results['calls'])

    def keep() -> None:
        if len(results['calls']) == number:
            results['calls'].append(call)
        call['date'] = _now()
        _add_fractions(results)
        write_whole((json.dumps(results, indent=1) + '\n').encode(), out)

    def due(cell: dict) -> list[tuple[Subject, bool]]:
        return [(s, c) for s, c in grid.runs() if grid.takes(s, cell['precision'], c) and _is_due(
            grid, results['rows'].get(key_of(grid, cell, s, c)), digests[s.name])]

    for done, cell in enumerate(cells):
        pending = due(cell)
        if not pending:
            continue
        left = _left(grid, spent, [c for c in cells[done:] if due(c)])
        progress(f"[{done + 1}/{len(cells)}] {'x'.join(map(str, cell['shape']))}, batch "
                 f"{cell['batch']}, {cell['precision']}{left}")
        start = last = time.perf_counter()
        once = single = lost = 0.
        for subject, compiled, row in _measure_cell(grid, cell, pending, results['rows'], digests):
            row.update(call=number, made_of=digests[subject.name], limit=grid.time_limit,
                       memory_tried=grid.memory, stale=False)
            results['rows'][key_of(grid, cell, subject, compiled)] = row
            keep()
            if row['status'] == 'ok' and row['ms']['rounds'] > 1:
                once += row['ms']['median'] / 1e3
            elif row['status'] == 'ok':
                single += row['ms']['median'] / 1e3
            last, before = time.perf_counter(), last
            lost += last - before if row['status'] not in ('ok', PENDING) else 0.
            if row['status'] != PENDING:
                progress(f"    {subject.name}{', compiled' if compiled else ''}: {in_words(row)}")
        spent.append((cell, time.perf_counter() - start - lost, once, single))
        if cell['precision'] not in call['limits']:
            limits = _worker('limits', grid, cell, [], 600)
            if 'flops' in limits:
                call['limits'][cell['precision']] = limits
                keep()
    if spent:
        progress(f'measured in {time.perf_counter() - begun:.0f} s')
    return results


def _read(out: Path) -> dict:
    """What the file holds, without what is computed from its rows.

    Raises:
        ConfigError: it is not a results file of this benchmark.
    """
    results = json.loads(out.read_text()) if out.is_file() else {}
    if results and 'calls' not in results:
        raise ConfigError(f'{out} is not a file of this benchmark (it has no calls); give another '
                          'folder')
    results.pop('pairs', None), results.pop('growth', None)  # computed again from the rows
    return dict(dict(rows={}, calls=[]), **results)


def _mark_stale(rows: dict[str, dict], digests: dict[str, str]) -> None:
    """Mark rows of another network under the same name."""
    for key, row in rows.items():
        name = key.split('|')[0]
        row['stale'] = name in digests and row.get('made_of') != digests[name]


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec='seconds')


def _is_due(grid: Grid, row: dict | None, digest: str) -> bool:
    """Whether a row is to be measured: it is not there, of something else, or cut short."""
    if row is None or grid.again or row.get('made_of') != digest or row['status'] == PENDING:
        return True
    mend = grid.mend and not undisturbed([row])
    if row['status'] == 'ok':
        cut = row['ms']['rounds'] == 1 and row.get('limit', 0) < grid.time_limit
        return cut or mend or grid.memory and not row.get('memory_tried')
    if row['status'] == 'over the time limit':
        return mend or row.get('limit', 0) < grid.time_limit
    return row['status'] != 'out of memory'  # what failed may not fail now


def _left(grid: Grid, spent: list[tuple[dict, float, float, float]], cells: Sequence[dict]
          ) -> str:
    """Words on the time left, from the last cell, its seconds, those of a run of each network that
    is run in turn, and those of networks that were run once.

    All without networks that did not end. What is not running, processes that start and build,
    is the same for every cell; a run grows as tokens to the 1.2, between the linear networks and
    the others.
    """
    if not spent:
        return ''
    last, seconds, once, single = spent[-1]

    def running(once: float) -> float:  # two alone, two to warm up, then those that are counted
        return once * (4 + min(max(grid.seconds / once, 3), grid.rounds)) if once else 0.

    def pixels(cell: dict) -> int:
        return cell['shape'][0] * cell['shape'][1] * cell['batch']

    fixed = max(seconds - running(once) - single, 0)
    more = [(pixels(c) / pixels(last))**1.2 for c in cells]
    minutes = sum(fixed + running(once * m) + single * m for m in more) / 60
    return f', about {minutes:.0f} min left' if minutes >= 1 else ', less than a minute left'


def in_words(row: dict) -> str:
    """A row's outcome in a few words."""
    if row['status'] != 'ok':
        return row['status']
    ms = row['ms']
    peak = f", {row['peak_mib']:.0f} MiB" if row.get('peak_mib') is not None else ''
    spread = f"{ms['p10']:.1f}–{ms['p90']:.1f}" if ms['rounds'] > 1 else 'one run'
    breaks = f", {row['graph_breaks']} graph breaks" if row.get('graph_breaks') else ''
    busy = '' if undisturbed([row]) else f"; {disturbance.in_words(row['load'])}"
    return f"{ms['median']:.1f} ms ({spread}){peak}{breaks}{busy}"


def _measure_cell(grid: Grid, cell: dict, pending: list[tuple[Subject, bool]], rows: dict,
                  digests: dict[str, str]):
    """Rows of a cell, one by one: each network alone, then those that can run in turn."""
    alone: list[tuple[Subject, bool, dict]] = []
    for subject, compiled in pending:
        row = rows.get(key_of(grid, cell, subject, compiled))
        if row is None or row['status'] != PENDING or row['made_of'] != digests[subject.name]:
            if too_small := _given_up_before(grid, cell, subject, compiled, rows):
                row = dict(status='over the time limit', why=f'{too_small} already was')
            elif problem := _write_file(grid, cell, subject):
                row = dict(status=problem)
            else:  # building, warming and counting operations come on top of a run
                row = _worker('alone', grid, cell, [(subject, compiled)],
                              PATIENCE * grid.time_limit + 300)
        elif problem := _write_file(grid, cell, subject):
            row = dict(status=problem)
        alone.append((subject, compiled, row))
        yield subject, compiled, row
    runnable = [(s, c, row) for s, c, row in alone if row['status'] == PENDING]
    if not runnable:
        return
    limit = 120 + len(runnable) * (60 + 12 * grid.time_limit) + grid.seconds
    times = _times(grid, cell, [(s, c) for s, c, _ in runnable], limit)
    for n, (subject, compiled, row) in enumerate(runnable):
        if together := 'ms' in times:
            ms, load = times['ms'][n], times['load']
        else:  # together they do not fit; alone they did
            single = _times(grid, cell, [(subject, compiled)], limit)
            if 'ms' not in single:
                yield subject, compiled, dict(row, status=single['status'])
                continue
            ms, load = single['ms'][0], single['load']
        yield subject, compiled, with_time(row, cell, ms, together and len(runnable) > 1, load)


def _write_file(grid: Grid, cell: dict, subject: Subject) -> str | None:
    """Make sure of the file of a subject that is exported on the way; what went wrong, if anything.

    The subject's ``file`` is then that of the cell's image size, the same for all runtimes.
    """
    if not subject.runtime or subject.source == 'exported':
        return None
    digest = made_of(replace(subject, runtime='onnxruntime'), grid.device, grid.cpu_threads())
    path = grid.files / '{}_{}x{}.onnx'.format(digest, *cell['shape'])
    subject.file = str(path)
    if path.is_file():
        return None
    status = _worker('export', grid, cell, [(subject, False)], 3600)['status']
    return None if status == 'written' else status


def _times(grid: Grid, cell: dict, runs: list[tuple[Subject, bool]], seconds: float) -> dict:
    """Times of networks taken in turn, again where others disturbed them; or how it ended."""
    def once() -> tuple[dict, dict]:
        times = _worker('together', grid, cell, runs, seconds)
        if 'load' not in times:  # it failed
            return times, dict(disturbed=False)
        return times, disturbance.with_spread(times['load'], *times['ms'])

    return least_disturbed(once, grid.repeats)[0]


def _given_up_before(grid: Grid, cell: dict, subject: Subject, compiled: bool, rows: dict
                     ) -> str | None:
    """A smaller image that was over the time limit already."""
    area = cell['shape'][0] * cell['shape'][1]
    for shape in grid.shapes:
        row = rows.get(key_of(grid, dict(cell, shape=shape), subject, compiled), {})
        if shape[0] * shape[1] < area and row.get('status') == 'over the time limit' \
                and row.get('limit', 0) >= grid.time_limit and undisturbed([row]):
            return '{}x{}'.format(*shape)
    return None


def _worker(task: str, grid: Grid, cell: dict, runs: list[tuple[Subject, bool]],
            seconds: float) -> dict:
    """What a fresh process measures, or how it ended."""
    message = dict(task=task, cell=cell, part=grid.part, mode=grid.mode, device=grid.device,
                   threads=grid.cpu_threads(), rounds=grid.rounds, seconds=grid.seconds,
                   time_limit=grid.time_limit, memory=grid.memory,
                   runs=[[s.as_dict(), c] for s, c in runs])
    try:
        return in_fresh_process(run_task, message, seconds=seconds,
                                preload=['mmvitlin.benchmark.preload'])
    except MeasurementError as error:
        return dict(status=str(error))


def _add_fractions(results: dict) -> None:
    for row in results['rows'].values():
        limits = results['calls'][row['call']]['limits'].get(row.get('precision'))
        if row['status'] == 'ok' and row.get('flops') and limits:
            least = attainable_ms(Counts(row['flops'], row['bytes']), limits)
            row.update(attainable_ms=round(least, 3),
                       fraction=round(least / row['ms']['median'], 3))
