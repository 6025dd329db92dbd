"""What one process of the speed benchmark measures."""
from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from mmvitlin.benchmark.exported import BuiltFile, plain_images, write
from mmvitlin.benchmark.flops import Counts, count, machine_limits
from mmvitlin.benchmark.latency import time_interleaved
from mmvitlin.benchmark.subjects import DTYPES, Built, Subject
from mmvitlin.utils.disturbance import Watch, computing_threads, with_spread
from mmvitlin.utils.machine import peak_memory, process_peak

PATIENCE = 6.  # time limits after which a run is given up
PENDING = 'pending'  # measured alone, not yet in turn with others


def with_time(row: dict, cell: dict, ms: dict, interleaved: bool, load: dict) -> dict:
    """A row that is done."""
    return dict(row, status='ok', ms=ms, interleaved=interleaved, load=with_spread(load, ms),
                images_per_second=round(1e3 * cell['batch'] / ms['median'], 3))


def run_task(message: dict) -> dict:
    """Measure a cell of the benchmark's grid, or the machine's limits.

    Args:
        message: 'task' ('limits', 'export', 'alone', 'together'), 'cell', 'runs' (subjects as
            dicts, and whether compiled) and the settings of :class:`mmvitlin.benchmark.grid.Grid`.

    Returns:
        The limits; or a row's beginning with its memory and counts, of status
        :data:`PENDING` where its time is still to be taken; or 'ms', a list of times, and 'load',
        see :class:`mmvitlin.utils.disturbance.Load`.
    """
    cell, device = message['cell'], message['device']
    torch.set_num_threads(message['threads'])
    torch.backends.cuda.matmul.allow_tf32 = cell['precision'] == 'tf32'
    torch.backends.cudnn.allow_tf32 = cell['precision'] == 'tf32'
    dtype = DTYPES[cell['precision']]
    if message['task'] == 'export':
        (subject, _), = message['runs']
        return write(subject, cell['shape'], subject['file'])
    if message['task'] == 'limits':
        return machine_limits(device, dtype)
    if any(compiled for _, compiled in message['runs']):
        # networks of one class share code, and beyond the limit they would run eagerly unnoticed
        torch._dynamo.config.recompile_limit = 256
        torch._dynamo.config.fail_on_recompile_limit_hit = True
    torch.manual_seed(0)
    built = [_build(Subject(**s), message, c) for s, c in message['runs']]
    images = plain_images(cell['batch'], cell['shape']).to(device) if message['part'] == 'labels' \
        else torch.randn(cell['batch'], 3, *cell['shape'], device=device)
    calls = {str(n): b.call(message['part'], images, message['mode'], cell['precision'])
             for n, b in enumerate(built)}
    if message['task'] == 'together':
        watch = Watch(computing_threads(device))
        times = time_interleaved(calls, device, 'stable', message['rounds'], message['seconds'],
                                 watch)
        return dict(ms=[times[str(n)] for n in range(len(built))], load=watch.load.as_dict())
    net, = built
    _warm(net, message, cell, calls['0'])
    row = dict(status=PENDING, peak_mib=None, precision=cell['precision'],
               tokens=cell['shape'][0] * cell['shape'][1] // 256, batch=cell['batch'],
               parameters=_parameters(net, message['part']))
    if net.compiled:  # each break sends the rest of the network back to Python
        row['graph_breaks'] = sum(torch._dynamo.utils.counters['graph_break'].values())
    with Watch(computing_threads(device)) as watch:
        if message['memory']:
            row['peak_mib'] = peak_memory(calls['0'], device)
            row['peak_mib'] = None if row['peak_mib'] is None else round(row['peak_mib'], 1)
        else:
            calls['0']()
            if torch.device(device).type == 'cuda':
                torch.cuda.synchronize(device)
    seconds = watch.load.seconds
    if isinstance(net, BuiltFile):
        row.update(agreement=net.agreement(), file_precision=net.meta.get('precision'),
                   process_mib=net.process_mib() if message['memory'] else None)
    elif message['memory'] and torch.device(device).type == 'cpu':
        row['process_mib'] = round(process_peak(), 1)
    counts = _counts(net, message['part'], images.shape, dtype)
    passes = 3 if message['mode'] == 'train' else 1
    row.update(flops=counts.flops * passes, bytes=counts.bytes * passes)
    if seconds > PATIENCE * message['time_limit']:
        row.update(status='over the time limit', load=watch.load.as_dict())
    elif seconds > message['time_limit']:
        once = round(1e3 * seconds, 2)
        row = with_time(row, cell, dict(median=once, p10=once, p90=once, rounds=1), False,
                        watch.load.as_dict())
    return row


def _build(subject: Subject, message: dict, compiled: bool) -> Built | BuiltFile:
    cell = message['cell']
    if subject.runtime:
        return BuiltFile(subject, cell['shape'], cell['precision'], message['threads'])
    return Built(subject, cell['shape'], message['device'], compiled)


def _parameters(built: Built | BuiltFile, part: str) -> int | None:
    if isinstance(built, BuiltFile):
        return None
    net = built.network.backbone if built.is_model and part == 'backbone' else built.network
    return sum(p.numel() for p in net.parameters())


def _warm(built: Built, message: dict, cell: dict, call: Callable[[], object]) -> None:
    """Warm up, so that what libraries load once does not count as the network's memory.

    On a small image, where the network takes one; what is compiled is compiled first.
    """
    if built.compiled:
        call()
    if isinstance(built, BuiltFile):  # whose memory is what a second run needs as well
        call()
        return
    if message['part'] in ('head', 'post'):
        return
    small = torch.randn(cell['batch'], 3, *(min(n, 64) for n in cell['shape']),
                        device=built.device)
    try:
        built.call(message['part'], small, message['mode'], cell['precision'], eager=True)()
    except Exception:  # of networks made for one size: their first run is at that size
        return


def _counts(built: Built, part: str, shape: Sequence[int], dtype: torch.dtype) -> Counts:
    """Operations of the timed part; nothing where it cannot be counted from shapes."""
    if isinstance(built, BuiltFile):
        return Counts()
    net = built.network
    windows = (getattr(net, 'test_cfg', None) or {}).get('mode') == 'slide'
    if part in ('features', 'head', 'post') or built.is_model and part in ('whole', 'labels') \
            and (windows or not hasattr(net, 'decode_head')):
        return Counts()
    timed = net.backbone if built.is_model and part == 'backbone' else net
    method = 'forward_features' if built.subject.source == 'timm' else 'forward'
    try:
        return count(timed, tuple(shape), 2 if dtype in (torch.bfloat16, torch.float16) else 4,
                     method)
    except Exception:  # an operator without a meta kernel, a part that cannot be copied
        return Counts()
