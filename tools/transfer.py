"""How near students' token-similarity maps come to their teacher's, layer by layer.

    python tools/transfer.py TEACHER_RUN STUDENT_RUN... --untrained --images 50
    python tools/transfer.py 'work/seed{seed}/teacher' --seeds 0 1 2 \\
        'l2=work/seed{seed}/l2:work/seed{seed}/l2_tuned' \\
        'work/seed{seed}/distill-*:work/seed{seed}/distilled-*' \\
        --untrained 'work/seed{seed}/scratch'

Runs are work directories. A student is [NAME=]RUN, or [NAME=]RUN:TUNED_RUN, whose score then stands
beside the maps of RUN; with three scores and more the table says whether one goes with the other.
What a * stands for in RUN, it stands for in TUNED_RUN, and is the name. With --seeds every {seed}
is each of them in turn, and a student is held against its own seed's teacher. Images are of the
teacher's test set, evenly spread over it. Writes transfer.json, transfer.png, and
transfer_tokens.png: what chosen tokens of one image are similar to.
"""
import argparse
import json
from datetime import datetime, timezone
from pathlib import Path

from mmvitlin.utils.environment import short_openmp_spin

short_openmp_spin()

from rich.console import Console
from rich.table import Table

from mmvitlin.engine.hooks.result import command_line, versions
from mmvitlin.engine.runner.cli import Parser, friendly
from mmvitlin.engine.runner.options import ConfigOptions
from mmvitlin.evaluation.transfer import (
    RunBackbone,
    correlations,
    score_of,
    stats,
    tokens_figure,
    transfer_figure,
    transferred,
    unseen_images,
)
from mmvitlin.experiments.run_folders import of_seed, seeds_of, with_tuned
from mmvitlin.utils.errors import ConfigError
from mmvitlin.utils.machine import machine
from mmvitlin.visualization.figures import plt


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument('teacher', help='folder of its run')
    parser.add_argument('students', nargs='+', metavar='[NAME=]RUN[:TUNED_RUN]',
                        help='folders of distillations, and of the fine-tuning whose score counts')
    parser.add_argument('--untrained', nargs='?', const='', metavar='TUNED_RUN',
                        help='add the first student as it was before any training, with the score '
                        'of a run that began so')
    parser.add_argument('--stages', type=int, help='equal parts of the depths; all layers if not '
                        'given')
    parser.add_argument('--seeds', type=int, nargs='+', help='what {seed} stands for')
    parser.add_argument('--images', type=int, default=50)
    parser.add_argument('--token', type=float, nargs=2, action='append', metavar=('Y', 'X'),
                        help='to draw, as shares of height and width; more than once')
    parser.add_argument('--metric', default='mIoU')
    parser.add_argument('--out-dir', type=Path, default=Path('work_dirs/transfer'))
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions, default={},
                        metavar='KEY=VALUE', help='for the teacher, whose images are read')
    return parser.parse_args()


def rows_of(args: argparse.Namespace, seed: int | None, draw: bool) -> list[dict]:
    """Rows of the table: the students of one seed beside their teacher; draws their tokens."""
    teacher = RunBackbone.of_run(of_seed(args.teacher, seed), options=args.cfg_options)
    images = list(unseen_images(teacher.cfg, args.images))
    students, tuned_ones = [], []
    runs = with_tuned([of_seed(text, seed) for text in args.students])
    for name, run, tuned in runs:
        students.append(RunBackbone.of_run(run, name, metric=args.metric))
        tuned_ones.append(bool(tuned))
        if tuned:
            students[-1].score = score_of(tuned, args.metric)
    if args.untrained is not None:
        students.insert(0, RunBackbone.of_run(runs[0][1], 'untrained', trained=False))
        tuned_ones.insert(0, bool(args.untrained))
        if args.untrained:
            students[0].score = score_of(of_seed(args.untrained, seed), args.metric)
    if draw:
        teacher.name = 'teacher'
        tokens_figure([teacher, *students[:4]], images[len(images) // 2],
                      args.token or [(0.8, 0.5), (0.4, 0.15), (0.6, 0.8)],
                      args.out_dir / 'transfer_tokens.png')
    # one number of stages for all, or their means could not be held against each other
    stages = args.stages or min(e.backbone.num_layers for e in (teacher, *students))
    return [dict(name=student.name if seed is None else f'{student.name}/{seed}',
                 score=student.score, tuned=tuned, matched=student.matched, images=len(images),
                 **transferred(teacher, student, images, stages))
            for student, tuned in zip(students, tuned_ones, strict=True)]


@friendly
def main() -> None:
    args = parse_args()
    plt.load()
    stats.load()
    seeds = seeds_of([args.teacher, *args.students, args.untrained or ''], args.seeds)
    if args.images < 1:
        raise ConfigError(f'--images must be at least 1, got {args.images}')
    rows: list[dict] = []
    for n, seed in enumerate(seeds):
        rows += rows_of(args, seed, draw=n == 0)
    table = Table('student', 'distance of maps, by stage', 'mean', 'CKA, by stage', 'mean',
                  args.metric)
    for row in rows:
        cells = [text for key in ('distance', 'cka') for text in (
            ' '.join(f'{v:.2f}' for v in row[key]), f'{sum(row[key]) / len(row[key]):.3f}')]
        table.add_row(row['name'], *cells, '' if row['score'] is None else f"{row['score']:.1f}")
    rank_correlations = correlations(rows)
    args.out_dir.mkdir(parents=True, exist_ok=True)
    (args.out_dir / 'transfer.json').write_text(json.dumps(dict(
        teacher=args.teacher, seeds=args.seeds, images=rows[0]['images'], rows=rows,
        correlations=rank_correlations,
        command=command_line(), machine=machine(), versions=versions(),
        date=datetime.now(timezone.utc).isoformat(timespec='seconds')), indent=1) + '\n')
    transfer_figure(rows, args.out_dir / 'transfer.png', args.metric)
    Console().print(table)
    for group, row in rank_correlations.items():
        values = ', '.join(f"{name} {row[key]['rho']:+.2f} (p {row[key]['p']:.2g})"
                           for key, name in (('distance', 'distance'), ('cka', 'CKA')))
        print(f"rank correlation with {args.metric} within seeds, "
              f"{group.replace('not matched', 'without those trained on the distance')}, "
              f"{row['runs']} runs: {values}")
    print(f'written to {args.out_dir}')


if __name__ == '__main__':
    main()
