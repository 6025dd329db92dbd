"""Train configs, or a config at every point of a grid, and collect one table.

    python tools/sweep.py CONFIG --grid optim_wrapper.optimizer.lr=1e-3,3e-4 --seeds 0 1 2 --jobs 2
    python tools/sweep.py FOLDER_OF_CONFIGS CONFIG --seeds 0 1 2

Of a folder every config is taken whose name does not begin with an underscore. Runs that are done
are not run again; an interrupted one goes on where it stopped, and a run that fails costs the table
no other. Calls that share a work directory share the work. Chains of configs with a varying link
are recipes with `variants`, run by tools/run_recipe.py. Writes results.md, results.csv and
results.json into the work directory.
"""
from pathlib import Path

from mmvitlin.utils.environment import short_openmp_spin

short_openmp_spin()

from mmvitlin.engine.runner.cli import Parser, friendly
from mmvitlin.engine.runner.options import GridOptions
from mmvitlin.experiments.experiment import add_arguments, run_experiment
from mmvitlin.experiments.sweep import configs_of, sweep_stages


@friendly
def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument('configs', nargs='+', metavar='CONFIG', help='files, or folders of them')
    parser.add_argument('--grid', nargs='+', action=GridOptions, default={},
                        metavar='KEY=VALUE,VALUE', help='every combination is a run; a value with '
                        'commas stands in brackets or quotes')
    parser.add_argument('--work-dir', type=Path, help='default: work_dirs/sweep_<first config>')
    add_arguments(parser)
    args = parser.parse_args()
    work_dir = args.work_dir or Path('work_dirs') / f'sweep_{Path(args.configs[0]).stem}'
    stages = sweep_stages(configs_of(args.configs), args.grid)
    run_experiment(stages, ' '.join(args.configs), work_dir, 'results', args)
    print((work_dir / 'results.md').read_text())


if __name__ == '__main__':
    main()
