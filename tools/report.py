"""Make one HTML page of finished runs.

    python tools/report.py work_dirs/demo --teacher work_dirs/demo/seed0/teacher \\
        --student work_dirs/demo/seed0/distilled

Shows the accuracy of every run below the folders (mean and spread over seeds), their training
curves, results of tools/benchmark.py and the figures (*.png) in the folders, and, with
--teacher and --student, their predictions under a slider. The page needs no network and no other
file.
"""
import itertools
from pathlib import Path

from mmvitlin.utils.environment import short_openmp_spin

short_openmp_spin()

from mmvitlin.apis import SegInferencer
from mmvitlin.engine.runner.cli import Parser, friendly
from mmvitlin.evaluation.resolution import labelled_images
from mmvitlin.utils.errors import ConfigError
from mmvitlin.visualization.figures import plt
from mmvitlin.visualization.report_page import Page, find_runs, find_speeds, samples_of, write_page
from mmvitlin.visualization.side_by_side import predictions


@friendly
def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument('folders', nargs='+', type=Path, help='work directories')
    parser.add_argument('--teacher', type=Path, help='work directory of a segmentor')
    parser.add_argument('--student', type=Path, help='likewise')
    parser.add_argument('--images', type=int, default=4, help='under sliders')
    parser.add_argument('--title', help='default: names of the folders')
    parser.add_argument('--out', type=Path, help='default: report.html in the first folder')
    args = parser.parse_args()
    plt.load()
    if bool(args.teacher) != bool(args.student):
        raise ConfigError('--teacher and --student go together: the slider is between the two')
    runs = find_runs(args.folders)
    figures = {f'{png.stem.replace("_", " ")} ({folder})': png
               for folder in args.folders for png in sorted(folder.glob('*.png'))}
    drawn = []
    if args.teacher and args.student:
        nets = [SegInferencer.of_run(folder) for folder in (args.teacher, args.student)]
        images = itertools.islice(labelled_images(nets[0].cfg), args.images)
        drawn = samples_of(predictions(*nets, images), nets[0].palette, args.student.name)
    title = args.title or ', '.join(f.name for f in args.folders)
    path = write_page(Page(title, runs, figures, drawn, speeds=find_speeds(args.folders)),
                      args.out or args.folders[0] / 'report.html')
    print(f'written: {path} ({path.stat().st_size / 2**20:.1f} MiB, {len(runs)} runs)')


if __name__ == '__main__':
    main()
