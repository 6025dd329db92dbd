"""Train a config at every point of a grid and collect one table.

    python tools/sweep.py CONFIG --grid optim_wrapper.optimizer.lr=1e-3,3e-4 --seeds 0 1 2 --jobs 2

Points that are done are not run again; an interrupted one goes on where it stopped. Chains of
configs with a varying link are recipes with `variants`, run by tools/run_recipe.py. Writes
results.md, results.csv and results.json into the work directory.
"""
import argparse
import json
from pathlib import Path

from mmvitlin.engine.cli import Parser, friendly
from mmvitlin.engine.config import ConfigOptions
from mmvitlin.engine.hooks.result import command_line, versions
from mmvitlin.engine.recipe import run_recipe
from mmvitlin.engine.results import as_csv, as_markdown, summarise
from mmvitlin.engine.sweep import grid_stages


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument('config')
    parser.add_argument('--grid', nargs='+', action=ConfigOptions, required=True,
                        metavar='KEY=VALUE,VALUE', help='every combination is a run')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0])
    parser.add_argument('--jobs', type=int, default=1, help='runs side by side')
    parser.add_argument('--amp', action='store_true', help='mixed precision in every run')
    parser.add_argument('--metric', default='mIoU')
    parser.add_argument('--work-dir', type=Path, help='default: work_dirs/sweep_<config>')
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions, default={},
                        metavar='KEY=VALUE', help='for every run')
    return parser.parse_args()


@friendly
def main() -> None:
    args = parse_args()
    grid = {k: v if isinstance(v, list) else [v] for k, v in args.grid.items()}
    work_dir = args.work_dir or Path('work_dirs') / f'sweep_{Path(args.config).stem}'
    runs = run_recipe(grid_stages(args.config, grid), work_dir, args.seeds, args.cfg_options,
                      amp=args.amp, jobs=args.jobs)
    summary = summarise(runs, args.metric)
    table = as_markdown(summary, args.metric)
    (work_dir / 'results.md').write_text(table)
    (work_dir / 'results.csv').write_text(as_csv(summary, args.metric))
    (work_dir / 'results.json').write_text(json.dumps(dict(
        config=args.config, grid=grid, metric=args.metric, seeds=args.seeds, stages=summary,
        command=command_line(), versions=versions()), indent=2) + '\n')
    print(f'{table}\nwritten to {work_dir}')


if __name__ == '__main__':
    main()
