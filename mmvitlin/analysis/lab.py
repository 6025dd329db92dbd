"""The speed laboratory: many networks, sizes and precisions, measured so that a sceptic accepts.

Each cell of the grid is measured in processes of its own: first the peak memory and one run of each
network alone, then the time of all that can run, taken in turn. A cell that runs out of memory or
time is a row like any other. What is done is kept, so an interrupted run goes on; a row is taken up
again only where network, code, libraries and threads are those that it was measured with.
"""
from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import torch

from mmvitlin.analysis.flops import Counts, attainable_ms
from mmvitlin.analysis.fresh import MeasurementError, in_fresh_process
from mmvitlin.analysis.lab_process import PATIENCE, PENDING, run_task, with_time
from mmvitlin.analysis.latency import machine
from mmvitlin.analysis.provenance import libraries, made_of
from mmvitlin.analysis.subjects import DTYPES, Subject
from mmvitlin.engine.checkpoints import write_whole
from mmvitlin.engine.hooks.result import command_line, versions
from mmvitlin.errors import ConfigError


@dataclass
class Grid:
    """What is measured.

    Attributes:
        subjects: The networks.
        shapes: (height, width) of the images.
        batch_sizes: Images at a time.
        precisions: Of 'fp32', 'tf32', 'bf16', 'fp16'; the halves are autocast over float32
            weights, tf32 is of GPUs.
        part: One of :data:`mmvitlin.analysis.subjects.PARTS`.
        mode: 'inference', or 'train' for a forward and a backward pass.
        compiled: Also through ``torch.compile``.
        device: 'cpu' or a CUDA device.
        threads: Of a CPU; None for torch's own choice.
        rounds: Runs of each network that are counted, at most.
        seconds: Time for counting a cell; at least three runs of each are made.
        time_limit: Seconds. A network whose first run takes longer has that run as its only one,
            which its row says; one that takes six times as long is given up.
        memory: Measure peak memory.
        again: Measure what the file already holds.
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
    again: bool = False

    def cells(self) -> list[dict]:
        """Size, batch and precision of each cell, small to large."""
        shapes = sorted(self.shapes, key=lambda s: s[0] * s[1])
        return [dict(shape=list(shape), batch=batch, precision=precision)
                for shape, batch, precision in itertools.product(shapes, self.batch_sizes,
                                                                 self.precisions)]

    def cpu_threads(self) -> int:
        """Threads that the networks get."""
        return self.threads or torch.get_num_threads()

    def where(self) -> str:
        """Device and, of a CPU, threads."""
        if torch.device(self.device).type != 'cpu':
            return self.device
        return f'{self.device}, {self.cpu_threads()} threads'

    def runs(self) -> list[tuple[Subject, bool]]:
        """Networks, and whether compiled."""
        return [(s, c) for s in self.subjects for c in ([False, True] if self.compiled else
                                                        [False])]

    def check(self) -> None:
        """Refuse what would be measured as something else.

        Raises:
            ConfigError: two subjects of one name, a precision that is not known or not of the
                device, or a part that is not compiled.
        """
        names = [s.name for s in self.subjects]
        if len(set(names)) < len(names):
            raise ConfigError(f'two subjects have one name: {sorted(names)}; rows would be mixed. '
                              'Give one another: NAME=SUBJECT')
        if bad := [n for n in names if '|' in n or ' · ' in n]:
            raise ConfigError(f"names of subjects cannot hold '|' or ' · ': {bad}")
        if torch.device(self.device).type == 'cuda' and not torch.cuda.is_available():
            raise ConfigError(f'there is no device {self.device} here')
        if unknown := sorted(set(self.precisions) - set(DTYPES)):
            raise ConfigError(f'precisions {unknown} are none of {sorted(DTYPES)}')
        if 'tf32' in self.precisions and torch.device(self.device).type == 'cpu':
            raise ConfigError('tf32 is of GPUs; on a CPU it would be fp32 by another name')
        if self.compiled and self.part in ('whole', 'post'):
            raise ConfigError(f"'{self.part}' is not compiled: it ends in code that is no graph; "
                              "take part 'backbone', 'features' or 'head'")


def key_of(grid: Grid, cell: dict, subject: Subject, compiled: bool) -> str:
    """Name of a row; the same measurement has the same name in every file."""
    return '|'.join([subject.name, grid.part, grid.mode, '{}x{}'.format(*cell['shape']),
                     f"batch {cell['batch']}", cell['precision'],
                     'compiled' if compiled else 'eager', grid.where()])


def measure(grid: Grid, out: Path, progress: Callable[[str], None] = print) -> dict:
    """Measure what the file does not hold yet.

    Args:
        grid: What to measure.
        out: JSON file; results are added to it row by row.
        progress: Told each row in a line.

    Returns:
        The file's content: 'calls', each with machine, versions, date, command and the 'limits'
        of the machine by precision, measured in that call; and 'rows' by :func:`key_of`: 'call'
        (its number), 'status' ('ok', 'out of memory', 'over the time limit' or 'failed: …'), 'ms'
        (median, p10, p90, rounds), 'interleaved', 'peak_mib' above the loaded model, 'flops',
        'bytes', 'attainable_ms' and 'fraction' (attainable over measured), 'tokens' of 16×16
        pixels, 'images_per_second', 'parameters', and 'graph_breaks' of what is compiled.

    Raises:
        ConfigError: see :meth:`Grid.check`.
    """
    grid.check()
    results = json.loads(out.read_text()) if out.is_file() else {}
    if results and 'calls' not in results:
        raise ConfigError(f'{out} is no file of this laboratory (it has no calls); give another '
                          'folder')
    for name, start in (('rows', {}), ('calls', [])):
        results.setdefault(name, start)
    results.pop('pairs', None), results.pop('growth', None)  # they are drawn anew from the rows
    call = dict(machine=machine(grid.device, grid.cpu_threads()),
                versions=dict(versions(), **libraries()), command=command_line(), date=_now(),
                limits={})
    digests = {s.name: made_of(s, grid.device, grid.cpu_threads()) for s in grid.subjects}
    for key, row in results['rows'].items():  # rows of another network under the same name
        name = key.split('|')[0]
        row['stale'] = name in digests and row.get('made_of') != digests[name]
    cells, begun, spent = grid.cells(), time.perf_counter(), []
    number = len(results['calls'])

    def keep() -> None:
        if len(results['calls']) == number:
            results['calls'].append(call)
        call['date'] = _now()
        _add_fractions(results)
        write_whole((json.dumps(results, indent=1) + '\n').encode(), out)

    def due(cell: dict) -> list[tuple[Subject, bool]]:
        return [(s, c) for s, c in grid.runs() if _is_due(
            grid, results['rows'].get(key_of(grid, cell, s, c)), digests[s.name])]

    for done, cell in enumerate(cells):
        wanted = due(cell)
        if not wanted:
            continue
        left = _left(grid, spent, [c for c in cells[done:] if due(c)])
        progress(f"[{done + 1}/{len(cells)}] {'x'.join(map(str, cell['shape']))}, batch "
                 f"{cell['batch']}, {cell['precision']}{left}")
        start = last = time.perf_counter()
        once = single = lost = 0.
        for subject, compiled, row in _measure_cell(grid, cell, wanted, results['rows'], digests):
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


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec='seconds')


def _is_due(grid: Grid, row: dict | None, digest: str) -> bool:
    """Whether a row is to be measured: it is not there, of something else, or cut short."""
    if row is None or grid.again or row.get('made_of') != digest or row['status'] == PENDING:
        return True
    if row['status'] == 'ok':
        cut = row['ms']['rounds'] == 1 and row.get('limit', 0) < grid.time_limit
        return cut or grid.memory and not row.get('memory_tried')
    if row['status'] == 'over the time limit':
        return row.get('limit', 0) < grid.time_limit
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
    return f"{ms['median']:.1f} ms ({spread}){peak}{breaks}"


def _measure_cell(grid: Grid, cell: dict, wanted: list[tuple[Subject, bool]], rows: dict,
                  digests: dict[str, str]):
    """Rows of a cell, one by one: each network alone, then those that can run in turn."""
    alone: list[tuple[Subject, bool, dict]] = []
    for subject, compiled in wanted:
        row = rows.get(key_of(grid, cell, subject, compiled))
        if row is None or row['status'] != PENDING or row['made_of'] != digests[subject.name]:
            if too_small := _given_up_before(grid, cell, subject, compiled, rows):
                row = dict(status='over the time limit', why=f'{too_small} already was')
            else:  # building, warming and counting operations come on top of a run
                row = _worker('alone', grid, cell, [(subject, compiled)],
                              PATIENCE * grid.time_limit + 300)
        alone.append((subject, compiled, row))
        yield subject, compiled, row
    able = [(s, c, row) for s, c, row in alone if row['status'] == PENDING]
    if not able:
        return
    limit = 120 + len(able) * (60 + 12 * grid.time_limit) + grid.seconds
    times = _worker('together', grid, cell, [(s, c) for s, c, _ in able], limit)
    for n, (subject, compiled, row) in enumerate(able):
        if together := 'ms' in times:
            found = times['ms'][n]
        else:  # together they do not fit; alone they did
            single = _worker('together', grid, cell, [(subject, compiled)], limit)
            if 'ms' not in single:
                yield subject, compiled, dict(row, status=single['status'])
                continue
            found = single['ms'][0]
        yield subject, compiled, with_time(row, cell, found, together and len(able) > 1)


def _given_up_before(grid: Grid, cell: dict, subject: Subject, compiled: bool, rows: dict
                     ) -> str | None:
    """A smaller image that was over the time limit already."""
    area = cell['shape'][0] * cell['shape'][1]
    for shape in grid.shapes:
        row = rows.get(key_of(grid, dict(cell, shape=shape), subject, compiled), {})
        if shape[0] * shape[1] < area and row.get('status') == 'over the time limit' \
                and row.get('limit', 0) >= grid.time_limit:
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
        return in_fresh_process(run_task, message, seconds=seconds)
    except MeasurementError as error:
        return dict(status=str(error))


def _add_fractions(results: dict) -> None:
    for row in results['rows'].values():
        limits = results['calls'][row['call']]['limits'].get(row.get('precision'))
        if row['status'] == 'ok' and row.get('flops') and limits:
            least = attainable_ms(Counts(row['flops'], row['bytes']), limits)
            row.update(attainable_ms=round(least, 3),
                       fraction=round(least / row['ms']['median'], 3))
