"""Robustness of networks to corruptions, other resolutions, and less context.

    python tools/robustness.py teacher=TEACHER_RUN student=CONFIG,CHECKPOINT
    python tools/robustness.py teacher=work/shared/teacher 'student=work/seed{seed}/tuned' \\
        --seeds 0 1 2 --out work_dirs/robustness.json

A network is the work directory of a run, or CONFIG,CHECKPOINT, either with a name before an equals
sign. With --seeds every {seed} is each of them in turn; the figure shows their mean.

Fifteen corruptions at five severities, four input scales, three cuts from the middle, compared with
the same pixels of whole images; every network sees the same pictures. An image is corrupted as it
is read, before it is resized. The severities are those of images of 224 pixels; on far smaller ones
they are harsher, and not those of CIFAR-10-C. Continues where it was stopped; scores of another
checkpoint, config or number of images are refused.
"""
import json
from datetime import datetime, timezone
from pathlib import Path

from mmvitlin.utils.environment import short_openmp_spin

short_openmp_spin()

from rich.console import Console
from rich.table import Table

from mmvitlin.engine.hooks.result import command_line, versions
from mmvitlin.engine.runner.cli import Parser, friendly
from mmvitlin.engine.runner.config import load_config
from mmvitlin.engine.runner.options import ConfigOptions
from mmvitlin.evaluation.robustness import (
    check_shifts,
    conditions,
    evaluate_shifts,
    made_of,
    scores_of,
)
from mmvitlin.evaluation.robustness_summary import (
    robustness_figure,
    shared_conditions,
    summarise,
)
from mmvitlin.experiments.run_folders import networks_of
from mmvitlin.utils.files import write_whole
from mmvitlin.utils.machine import machine
from mmvitlin.visualization.figures import plt

KINDS = ('corruption', 'resolution', 'context')


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec='seconds')


@friendly
def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument('networks', nargs='+', metavar='[NAME=]NETWORK', help='see above')
    parser.add_argument('--seeds', type=int, nargs='+', help='values of {seed}')
    parser.add_argument('--kinds', nargs='+', choices=KINDS, default=KINDS,
                        help='of shifts')
    parser.add_argument('--corruptions', nargs='+', help='default: the fifteen common ones')
    parser.add_argument('--severities', nargs='+', type=int, default=[1, 2, 3, 4, 5],
                        help='of the corruptions')
    parser.add_argument('--limit', type=int, help='images at most, evenly spread over the test set')
    parser.add_argument('--device')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/robustness.json'))
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions)
    args = parser.parse_args()
    plt.load()
    shifts = conditions(args.kinds, args.corruptions, args.severities)
    results = json.loads(args.out.read_text()) if args.out.is_file() else dict(nets={})

    nets = networks_of(args.networks, args.seeds)
    for net, (config, checkpoint) in nets.items():  # all, before the first is evaluated
        cfg = load_config(config, args.cfg_options)
        check_shifts(cfg, shifts)
        scores_of(results, net, made_of(cfg, checkpoint, args.limit))
    start = now()

    def keep() -> None:
        results.update(summary=summarise(results['nets']), machine=machine(), versions=versions(),
                       conditions=shared_conditions(results['nets']), date=now())
        args.out.parent.mkdir(parents=True, exist_ok=True)
        write_whole((json.dumps(results, indent=1) + '\n').encode(), args.out)

    def record(net: str, name: str, score: float) -> None:
        results['nets'][net][name] = score
        results.setdefault('commands', {})[start] = command_line()
        print(f'{net}, {name}: {score:.2f}', flush=True)
        keep()

    evaluate_shifts(nets, shifts, args.cfg_options, args.limit, args.device, results['nets'],
                    record)
    keep()
    table = Table('network', 'clean', *(f'{k}: mean, lost' for k in ('corruption', 'scale',
                                                                     'share')),
                  title=f"means over the {len(results['conditions'])} conditions that all have")
    for net, row in results['summary'].items():
        table.add_row(net, f"{row['clean']:.1f}", *(
            f"{row[k]:.1f}, {row[f'{k} drop']:.0f}%" if k in row else ''
            for k in ('corruption', 'scale', 'share')))
    Console().print(table)
    figure = robustness_figure(results['nets'], args.out.with_suffix('.png'))
    print(f'written: {args.out}, {figure}')


if __name__ == '__main__':
    main()
