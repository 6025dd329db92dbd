"""Draw street scenes in the Cityscapes layout, with COCO instances and single objects."""
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mmvitlin.datasets.streets import write_streets
from mmvitlin.datasets.streets.classes import OBJECTS
from mmvitlin.engine.runner.cli import Parser, friendly
from mmvitlin.utils.errors import ConfigError


@friendly
def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument('root', help='folder to write')
    parser.add_argument('--train', type=int, default=200, help='scenes')
    parser.add_argument('--val', type=int, default=50, help='scenes')
    parser.add_argument('--test', type=int, default=0, help='scenes')
    parser.add_argument('--size', type=int, nargs=2, default=(512, 1024), metavar=('H', 'W'),
                        help='height and width')
    parser.add_argument('--objects', type=int, default=0, metavar='N',
                        help='training images a class for classification; a quarter for val')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--workers', type=int, default=2, help='processes that draw')
    args = parser.parse_args()
    try:
        Path(args.root).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f'cannot write to {args.root}: {error.strerror}; choose another folder'
                          ) from error
    counts = {k: n for k, n in dict(train=args.train, val=args.val, test=args.test).items() if n}
    objects = {k: n for k, n in dict(train=args.objects, val=-(-args.objects // 4)).items() if n}
    total = sum(counts.values()) + sum(objects.values()) * len(OBJECTS)
    with Progress(TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(),
                  TimeRemainingColumn()) as bar:
        task = bar.add_task('drawing streets', total=total)
        write_streets(args.root, counts, tuple(args.size), objects, seed=args.seed,
                      workers=args.workers, progress=lambda what: bar.advance(task))
    print(f'written to {args.root}: {counts} scenes of {args.size[0]}x{args.size[1]}'
          f'{f", {objects} objects a class" if objects else ""}')


if __name__ == '__main__':
    main()
