"""Run the stages of a recipe in order, for one or more seeds, and collect one results file.

A stage that is done is not run again; an interrupted one goes on where it stopped.
"""
import argparse
import json
from pathlib import Path

from mmvitlin.analysis.latency import machine
from mmvitlin.engine.checkpoints import write_whole
from mmvitlin.engine.cli import Parser, friendly
from mmvitlin.engine.config import ConfigOptions
from mmvitlin.engine.hooks.result import command_line, versions
from mmvitlin.engine.recipe import finished, folder_of, load_recipe, run_recipe
from mmvitlin.engine.results import (
    as_csv,
    as_markdown,
    join,
    metrics_of,
    read_results,
    score,
    summarise,
)
from mmvitlin.engine.stage_record import made_of, record_of, settings_of
from mmvitlin.errors import ConfigError


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument('recipe', help='such as configs/recipes/camvid_linearizer.py')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0])
    parser.add_argument('--stages', nargs='+', help='only these')
    parser.add_argument('--work-dir', help='default: work_dirs/<name of the recipe>')
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions, default={},
                        metavar='KEY=VALUE', help='for every stage')
    parser.add_argument('--amp', action='store_true', help='mixed precision in every stage')
    parser.add_argument('--jobs', type=int, default=1, help='stages side by side, each with its '
                        'share of the cores')
    parser.add_argument('--metric', help='default: mIoU, or loss where no stage has that')
    parser.add_argument('--out', help='results file; default: <name of the recipe>.json in '
                        'the work directory')
    parser.add_argument('--add', nargs='+', default=[], metavar='FILE', help='results files of '
                        'other seeds, of earlier calls or other machines, to join')
    return parser.parse_args()


@friendly
def main() -> None:
    args = parse_args()
    stages = load_recipe(args.recipe)
    if unknown := sorted(set(args.stages or ()) - {s.name for s in stages}):
        raise ConfigError(f'--stages: {unknown} are none of {[s.name for s in stages]}')
    work_dir = Path(args.work_dir or Path('work_dirs') / Path(args.recipe).stem)
    others = {file: read_results(file) for file in args.add}
    tables = work_dir / Path(args.recipe).stem  # recipes may share a work directory
    out = Path(args.out or tables.with_suffix('.json'))
    if args.out and out.is_file() and str(out) not in args.add:
        others_seeds = sorted(set(read_results(out)['seeds']) - set(args.seeds))
        if others_seeds:
            raise ConfigError(f'{out} holds seeds {others_seeds}, which would be lost; keep them '
                              f'with --add {out}, or give another --out')
    told = dict(recipe=args.recipe, seeds=args.seeds, command=command_line(), versions=versions(),
                machine=machine())
    now = {s.name: made_of(settings_of(s, args.cfg_options, {}, args.amp)) for s in stages}
    join(dict(told, made_of=now, runs={}), others)  # what does not fit is said before the work
    run_recipe(stages, work_dir, args.seeds, args.cfg_options, args.stages, args.amp, args.jobs)
    runs = finished(stages, work_dir, args.seeds)  # those of earlier calls too
    metric = args.metric or ('mIoU' if 'mIoU' in metrics_of(runs) else 'loss')
    records = {s.name: record_of(folder_of(s, work_dir, args.seeds[0])) for s in stages}
    results = join(dict(told, metric=metric, stages={},
                        made_of={name: made_of(r) for name, r in records.items() if r},
                        runs={str(seed): run for seed, run in runs.items()}), others)
    results['stages'] = summarise(results['runs'], metric, [s.name for s in stages if s.shared])
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole((json.dumps(results, indent=2) + '\n').encode(), out)
    tables.with_suffix('.md').write_text(as_markdown(results['stages'], metric))
    tables.with_suffix('.csv').write_text(as_csv(results['stages'], metric))
    for name, row in results['stages'].items():
        print(f"{name:24s} {metric} {score(row):15s}  {row['iterations']:6d} iterations "
              f"{row['seconds']:7.0f} s")
    print(f'written to {out}')


if __name__ == '__main__':
    main()
