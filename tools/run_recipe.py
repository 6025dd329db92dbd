"""Run the stages of a recipe in order, for one or more seeds, and collect one results file.

    python tools/run_recipe.py configs/recipes/camvid_linearizer.py --seeds 0 1 2 --jobs 2

A stage that is done is not run again; an interrupted one goes on where it stopped. Calls that share
a work directory wait for each other's stages.
"""
import fnmatch
from pathlib import Path

from mmvitlin.utils.environment import short_openmp_spin

short_openmp_spin()

from mmvitlin.engine.runner.cli import Parser, friendly
from mmvitlin.experiments.experiment import add_arguments, run_experiment
from mmvitlin.experiments.recipe import load_recipe, refuse_absent
from mmvitlin.experiments.results import score
from mmvitlin.utils.errors import ConfigError


@friendly
def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument('recipe', help='such as configs/recipes/camvid_linearizer.py')
    parser.add_argument('--stages', nargs='+', metavar='NAME', help="only these; 'a_*' stands for "
                        'all whose name fits')
    parser.add_argument('--work-dir', help='default: work_dirs/<name of the recipe>')
    add_arguments(parser)
    args = parser.parse_args()
    stages, name = load_recipe(args.recipe), Path(args.recipe).stem
    names = [s.name for s in stages]
    if unknown := [given for given in args.stages or () if not fnmatch.filter(names, given)]:
        raise ConfigError(f'--stages: {unknown} are none of {names}')
    only = [n for n in names if any(fnmatch.fnmatchcase(n, given) for given in args.stages)] \
        if args.stages else None
    refuse_absent([s for s in stages if only is None or s.name in only])
    work_dir = Path(args.work_dir or Path('work_dirs') / name)
    results = run_experiment(stages, args.recipe, work_dir, name, args, only)
    for stage, row in results['stages'].items():
        print(f"{stage:24s} {results['metric']} {score(row):15s}  {row['iterations']:6d} "
              f"iterations {row['seconds']:7.0f} s")


if __name__ == '__main__':
    main()
