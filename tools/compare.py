"""Draw a teacher and a student side by side.

    python tools/compare.py TEACHER_CONFIG TEACHER.pth STUDENT_CONFIG STUDENT.pth --images 4

Writes differences.png (image, label, both predictions, who is right where) for images of the
teacher's test set, and token_N.png, the similarity of one token to all others in both networks.
"""
import argparse
import itertools
from pathlib import Path

from mmvitlin.utils.environment import short_openmp_spin

short_openmp_spin()

from mmvitlin.apis import SegInferencer
from mmvitlin.engine.runner.cli import Parser, friendly
from mmvitlin.engine.runner.options import ConfigOptions
from mmvitlin.evaluation.resolution import labelled_images
from mmvitlin.visualization.figures import plt
from mmvitlin.visualization.side_by_side import (
    difference_figure,
    predictions,
    token_figure,
    token_map,
)


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__)
    for role in ('teacher', 'student'):
        parser.add_argument(f'{role}_config', help='with the same test set')
        parser.add_argument(f'{role}_checkpoint', help='what a run of it wrote')
    parser.add_argument('--images', type=int, default=4)
    parser.add_argument('--skip', type=int, default=0, help='images of the set to leave out first')
    parser.add_argument('--token', type=float, nargs=2, default=(0.6, 0.5), metavar=('Y', 'X'),
                        help='as shares of height and width')
    parser.add_argument('--layer', type=int, default=-1, help='after which block')
    parser.add_argument('--device')
    parser.add_argument('--out-dir', type=Path, default=Path('work_dirs/compare'))
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions, default={},
                        metavar='KEY=VALUE')
    return parser.parse_args()


@friendly
def main() -> None:
    args = parse_args()
    plt.load()
    nets = {role: SegInferencer(getattr(args, f'{role}_config'),
                                getattr(args, f'{role}_checkpoint'), args.device,
                                cfg_options=args.cfg_options)
            for role in ('teacher', 'student')}
    images = list(itertools.islice(labelled_images(nets['teacher'].cfg), args.skip,
                                   args.skip + args.images))
    rows, at, written = list(predictions(*nets.values(), images)), tuple(args.token), []
    for n, ((path, _), row) in enumerate(zip(images, rows, strict=True)):
        maps = {role: token_map(infer, infer.read(path)[1], at, args.layer)
                for role, infer in nets.items()}
        written.append(token_figure(row['image'], maps, at, args.out_dir / f'token_{n}.png'))
    written.append(difference_figure(rows, nets['teacher'].palette,
                                     nets['teacher'].classes, args.out_dir / 'differences.png'))
    print('written: ' + ', '.join(map(str, written)))


if __name__ == '__main__':
    main()
