"""Gain and cost of more resolution, and whether windows are better than whole images.

    python tools/resolution_curve.py CONFIG CHECKPOINT --scales 0.5 1 2 --cfg-options data_root=…

Evaluates one checkpoint at several input sizes: mIoU over all objects and over large, small and
thin ones, the IoU of each class, time and memory; of whole images and of overlapping windows of the
training crop, and says which this network does better with at each size. Tables, curve.json and
curve.png. The exit status is 1 if one of the sizes could not be run.
"""
import argparse
import json
import sys
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
from mmvitlin.evaluation.resolution import curve_figure, gains, resolution_curve
from mmvitlin.evaluation.windows import OVERLAP, compare_modes, training_crop, verdict
from mmvitlin.utils.errors import ConfigError
from mmvitlin.utils.machine import machine
from mmvitlin.visualization.figures import plt


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument('--scales', type=float, nargs='+', default=[0.5, 1., 2.],
                        help='factors on the images\' own size')
    parser.add_argument('--windows', type=int, nargs=2, metavar=('HEIGHT', 'WIDTH'),
                        help='size of the windows; default: the training crop')
    parser.add_argument('--overlap', type=float, default=round(OVERLAP, 2),
                        help='part of a window that the next one shares')
    parser.add_argument('--no-windows', action='store_true',
                        help="no comparison: images as the config's test_cfg takes them")
    parser.add_argument('--limit', type=int, help='images at most, evenly spread')
    parser.add_argument('--device')
    parser.add_argument('--precision', default='fp32')
    parser.add_argument('--thin', type=float, default=8 / 1024,
                        help='greatest width of a thin object over the height of the image')
    parser.add_argument('--small', type=float, default=64 / 1024,
                        help='side of the square below which an object is small, likewise')
    parser.add_argument('--out-dir', type=Path, default=Path('work_dirs/resolution_curve'))
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions, default={},
                        metavar='KEY=VALUE')
    return parser.parse_args()


def size_table(rows: list[dict]) -> Table:
    """Scores, time and memory of each scale, of whole images and windows where both were tried."""
    modes = any('mode' in row for row in rows)
    table = Table('scale', *(['images'] if modes else []), 'megapixels', 'mIoU', 'large', 'small',
                  'thin', 'ms', 'peak MiB')
    for row in rows:
        start = [f"{row['scale']:.2f}", *([row['mode']] if modes else [])]
        if 'error' in row:
            table.add_row(*start, 'failed')
            continue
        table.add_row(*start, *('–' if v is None else f'{v:.{d}f}' for v, d in (
            (row['pixels'] / 1e6, 2), (row['miou'], 1), (row['large'], 1), (row['small'], 1),
            (row['thin'], 1), (row['ms'], 0), (row['peak_mib'], 0))))
    return table


def class_table(rows: list[dict]) -> Table | None:
    """IoU of each class at each scale; None if no scale ran."""
    table = Table('class', *(f"{row['scale']:g}×" for row in rows
                             if 'error' not in row and row.get('mode') != 'windows'),
                  title='IoU, %')
    for name, scores in (classes := gains(rows)).items():
        table.add_row(name, *('–' if iou is None else f'{iou:.1f}' for iou in scores))
    return table if classes else None


@friendly
def main() -> None:
    args = parse_args()
    plt.load()
    if args.limit is not None and args.limit < 1:
        raise ConfigError(f'--limit must be at least 1, got {args.limit}')
    if not 0 <= args.overlap < 1:
        raise ConfigError(f'--overlap must be at least 0 and below 1, got {args.overlap}')
    windows = None if args.no_windows else args.windows or training_crop(
        load_config(args.config, args.cfg_options))
    if windows is None and not args.no_windows:
        print(f'{args.config} names no training crop, so only whole images are evaluated; '
              '--windows HEIGHT WIDTH')
    args.out_dir.mkdir(parents=True, exist_ok=True)

    def keep(rows: list[dict]) -> None:
        (args.out_dir / 'curve.json').write_text(json.dumps(dict(
            rows=rows, modes=compare_modes(rows), verdict=verdict(rows), command=command_line(),
            machine=machine(), versions=versions(),
            date=datetime.now(timezone.utc).isoformat(timespec='seconds')), indent=2) + '\n')

    rows = resolution_curve(args.config, args.checkpoint, args.scales, args.cfg_options,
                            args.limit, args.device, args.precision, args.thin, args.small,
                            keep=keep, windows=tuple(windows) if windows else None,
                            overlap=args.overlap)
    curve_figure(rows, args.out_dir / 'curve.png')
    console = Console()
    console.print(size_table(rows))
    if classes := class_table(rows):
        console.print(classes)
    if sentence := verdict(rows):
        print(sentence)
    print(f'written to {args.out_dir}')
    sys.exit(any('error' in row for row in rows))


if __name__ == '__main__':
    main()
