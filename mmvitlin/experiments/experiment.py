"""Shared parts of tools that train many runs: arguments, one results file, tables."""
from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from mmvitlin.engine.hooks.result import command_line, versions
from mmvitlin.engine.runner.options import ConfigOptions
from mmvitlin.experiments.results import (
    as_csv,
    as_markdown,
    join,
    metrics_of,
    read_results,
    summarise,
)
from mmvitlin.experiments.running import StagesFailed, finished, folder_of, run_recipe
from mmvitlin.experiments.stage import Stage
from mmvitlin.experiments.stage_record import made_of, record_of, settings_of
from mmvitlin.utils.errors import ConfigError
from mmvitlin.utils.files import write_whole
from mmvitlin.utils.machine import machine

_USUAL = ('mIoU', 'accuracy/top1', 'coco/bbox_mAP')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of :func:`run_experiment`."""
    parser.add_argument('--seeds', type=int, nargs='+', default=[0])
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions, default={},
                        metavar='KEY=VALUE', help='for every run')
    parser.add_argument('--amp', action='store_true', help='mixed precision in every run')
    parser.add_argument('--jobs', type=int, default=1, help='runs side by side: on several GPUs '
                        'each on the one with the fewest, on a CPU each with its share of the '
                        'cores')
    parser.add_argument('--metric', help=f"default: the first of {', '.join(_USUAL)} and loss that "
                        'a run has')
    parser.add_argument('--out', help='results file; default: in the work directory')
    parser.add_argument('--add', nargs='+', default=[], metavar='FILE', help='results files of '
                        'earlier calls or other machines, to join; what they hold is not run '
                        'again, unless a later stage needs its checkpoint')


def _refuse_loss(out: Path, stages: Sequence[Stage], args: argparse.Namespace) -> None:
    """Refuse to replace a results file that has seeds which this call would not write."""
    if not out.is_file() or str(out) in args.add:
        return
    try:
        runs = read_results(out)['runs']
    except ConfigError:
        if args.out:
            raise
        return  # of this work directory: made anew from its runs
    lost = sorted(int(seed) for seed, run in runs.items() if run and int(seed) not in args.seeds)
    others = {name for run in runs.values() for name in run} - {stage.name for stage in stages}
    if not lost or others and not args.out:  # of another grid, as its runs are
        return
    both = ' '.join(map(str, sorted({*lost, *args.seeds})))
    own = '' if args.out else f' or --seeds {both}, of which finished runs are not run again'
    raise ConfigError(f'{out} holds seeds {lost}, which would be lost; keep them with --add {out}'
                      f'{own}, or give another --out')


def run_experiment(stages: Sequence[Stage], recipe: str, work_dir: Path, tables: str,
                   args: argparse.Namespace, only: Sequence[str] | None = None) -> dict:
    """Run stages, and write their results as JSON, Markdown and CSV.

    Finished results are written also where stages failed, before the error is raised.

    Args:
        stages: To be run, as in :func:`mmvitlin.experiments.running.run_recipe`.
        recipe: What they were read from; files that are joined must say the same.
        work_dir: Of the runs.
        tables: Name of the files that are written into it, without an ending.
        args: Of :func:`add_arguments`.
        only: Names of the stages to run now.

    Returns:
        The content of the results file, with 'stages': stage → mean and spread.

    Raises:
        ConfigError: the results file holds seeds that would be lost, files do not fit together, a
            metric that no run has, or stages failed.
    """
    others = {file: read_results(file) for file in args.add}
    place = work_dir / tables  # recipes may share a work directory
    out = Path(args.out or f'{place}.json')
    _refuse_loss(out, stages, args)
    known: dict[int, set[str]] = {}
    for other in others.values():
        for seed, run in other['runs'].items():
            known.setdefault(int(seed), set()).update(run)
    meta = dict(recipe=recipe, seeds=args.seeds, command=command_line(), versions=versions(),
                machine=machine())
    now = {s.name: made_of(settings_of(s, args.cfg_options, {}, args.amp)) for s in stages}
    join(dict(meta, made_of=now, runs={}), others)  # what does not fit is said before the work
    failure = None
    try:
        run_recipe(stages, work_dir, args.seeds, args.cfg_options, only, args.amp, args.jobs,
                   known)
    except StagesFailed as error:
        failure = error
    runs = finished(stages, work_dir, args.seeds)  # those of earlier calls too
    feed = {source for s in stages for source in s.inputs.values()}
    for seed, run in runs.items():  # run again for its checkpoint: its result is the first
        runs[seed] = {k: v for k, v in run.items() if k not in feed & known.get(seed, set())}
    names = metrics_of(runs)
    if failure and not names:
        raise failure
    metric = args.metric or next((name for name in _USUAL if name in names), 'loss')
    records = {s.name: record_of(folder_of(s, work_dir, args.seeds[0])) for s in stages}
    results = join(dict(meta, metric=metric, stages={},
                        made_of={name: made_of(r) for name, r in records.items() if r},
                        runs={str(seed): run for seed, run in runs.items()}), others)
    results['stages'] = summarise(results['runs'], metric, [s.name for s in stages if s.shared])
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole((json.dumps(results, indent=2) + '\n').encode(), out)
    Path(f'{place}.md').write_text(as_markdown(results['stages'], metric))
    Path(f'{place}.csv').write_text(as_csv(results['stages'], metric))
    if failure:
        raise failure
    print(f'written to {out}')
    return results
