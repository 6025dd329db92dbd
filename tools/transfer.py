"""How near students' token-similarity maps come to their teacher's, layer by layer.

    python tools/transfer.py TEACHER_RUN STUDENT_RUN... --untrained --images 50
    python tools/transfer.py work/teacher both=work/distill:work/distilled mask=work/m:work/m_tuned

Runs are work directories. A student is [NAME=]RUN, or [NAME=]RUN:TUNED_RUN, whose score then stands
beside the maps of RUN; with three scores and more the table says whether one goes with the other.
Images are of the teacher's test set. Writes transfer.json and transfer.png.
"""
import argparse
import json
from datetime import datetime, timezone
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mmvitlin.analysis.latency import machine
from mmvitlin.analysis.transfer import (
    RunBackbone,
    correlations,
    score_of,
    transfer_figure,
    transferred,
    unseen_images,
)
from mmvitlin.engine.cli import Parser, friendly, split_name
from mmvitlin.engine.config import ConfigOptions
from mmvitlin.engine.hooks.result import command_line, versions
from mmvitlin.errors import ConfigError


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument('teacher', help='folder of its run')
    parser.add_argument('students', nargs='+', metavar='[NAME=]RUN[:TUNED_RUN]',
                        help='folders of distillations, and of the fine-tuning whose score counts')
    parser.add_argument('--untrained', action='store_true',
                        help='add the first student as it was before any training')
    parser.add_argument('--stages', type=int, help='equal parts of the depths; all layers if not '
                        'given')
    parser.add_argument('--images', type=int, default=50)
    parser.add_argument('--metric', default='mIoU')
    parser.add_argument('--out-dir', type=Path, default=Path('work_dirs/transfer'))
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions, default={},
                        metavar='KEY=VALUE', help='for the teacher, whose images are read')
    return parser.parse_args()


def read_student(text: str) -> tuple[str | None, str, str]:
    """Name, run and tuned run of [NAME=]RUN[:TUNED_RUN]."""
    name, place = split_name(text, lambda rest: Path(rest.partition(':')[0]).is_dir())
    run, _, tuned = place.partition(':')
    return name, run, tuned


@friendly
def main() -> None:
    args = parse_args()
    if args.images < 1:
        raise ConfigError(f'--images must be at least 1, got {args.images}')
    teacher = RunBackbone.of_run(args.teacher, options=args.cfg_options)
    images = list(unseen_images(teacher.cfg, args.images))
    rows, students = [], []
    for text in args.students:
        name, run, tuned = read_student(text)
        student = RunBackbone.of_run(run, name, metric=args.metric)
        if tuned:
            student.score = score_of(tuned, args.metric)
        students.append(student)
    if args.untrained:
        students.insert(0, RunBackbone.of_run(read_student(args.students[0])[1], 'untrained',
                                       trained=False))
        students[0].score = None
    # one number of stages for all, or their means could not be held against each other
    stages = args.stages or min(e.backbone.num_layers for e in (teacher, *students))
    table = Table('student', 'distance of maps, by stage', 'mean', 'CKA, by stage', 'mean',
                  args.metric)
    for student in students:
        row = transferred(teacher, student, images, stages)
        rows.append(dict(name=student.name, score=student.score, **row))
        cells = [text for key in ('distance', 'cka') for text in (
            ' '.join(f'{v:.2f}' for v in row[key]), f'{sum(row[key]) / len(row[key]):.3f}')]
        table.add_row(student.name, *cells, '' if student.score is None
                      else f'{student.score:.1f}')
    found = correlations(rows)
    args.out_dir.mkdir(parents=True, exist_ok=True)
    (args.out_dir / 'transfer.json').write_text(json.dumps(dict(
        teacher=args.teacher, images=len(images), rows=rows, correlations=found,
        command=command_line(), machine=machine(), versions=versions(),
        date=datetime.now(timezone.utc).isoformat(timespec='seconds')), indent=1) + '\n')
    transfer_figure(rows, args.out_dir / 'transfer.png', args.metric)
    Console().print(table)
    if found:
        print(f"rank correlation with {args.metric} over {found['runs']} runs: distance "
              f"{found['distance']:+.2f}, CKA {found['cka']:+.2f}")
    print(f'written to {args.out_dir}')


if __name__ == '__main__':
    main()
