"""Curves and times of runs, from what their work directories logged.

    python tools/analyze_logs.py plot_curve work_dirs/a work_dirs/b --keys loss mIoU --out a.png
    python tools/analyze_logs.py cal_train_time work_dirs/a
"""
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mmvitlin.engine.runner.cli import Parser, friendly
from mmvitlin.utils.errors import ConfigError
from mmvitlin.visualization.figures import curves
from mmvitlin.visualization.logs import logged_rows, read_scalars, train_time


@friendly
def main() -> None:
    parser = Parser(description=__doc__)
    tasks = parser.add_subparsers(dest='task', required=True)
    plot = tasks.add_parser('plot_curve', help='logged scalars against iterations')
    plot.add_argument('runs', nargs='+', type=Path, help='work directories')
    plot.add_argument('--keys', nargs='+', default=['loss'], help='logged names')
    plot.add_argument('--legend', nargs='+', help='a name for each run')
    plot.add_argument('--out', type=Path, default=Path('work_dirs/curves.png'))
    times = tasks.add_parser('cal_train_time', help='seconds an iteration')
    times.add_argument('runs', nargs='+', type=Path, help='work directories')
    args = parser.parse_args()
    logged = {run: read_scalars(run) for run in args.runs}
    for run, series in logged.items():
        if not series:
            raise ConfigError(f'{run} holds no logged scalars (<time>/vis_data/scalars.json)')
    if args.task == 'plot_curve':
        names = args.legend or [run.name for run in args.runs]
        if len(names) != len(args.runs):
            raise ConfigError(f'--legend gives {len(names)} names for {len(args.runs)} runs')
        print(curves(dict(zip(names, logged.values(), strict=True)), args.keys, args.out))
        return
    table = Table('run', 'iterations', 's/iteration', 'slowest', 'waiting for data')
    for run in args.runs:
        row = train_time(logged_rows(run))
        table.add_row(run.name, f"{row['iterations']:,}", f"{row['seconds']:.3f}",
                      f"{row['slowest']:.3f}", f"{row['data_share']:.0%}")
    Console().print(table)


if __name__ == '__main__':
    main()
