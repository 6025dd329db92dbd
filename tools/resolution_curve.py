"""What does twice the resolution buy, and what does it cost?

    python tools/resolution_curve.py CONFIG CHECKPOINT --scales 0.5 1 2 --cfg-options data_root=…

Evaluates one checkpoint at several input sizes: mIoU over all objects and over large, small and
thin ones, the IoU of each class, time and memory; tables, curve.json and curve.png. The exit status
is 1 if one of the sizes could not be run.
"""
import argparse
import json
import sys
from datetime import datetime, timezone
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mmvitlin.analysis.latency import machine
from mmvitlin.analysis.resolution import curve_figure, gains, resolution_curve
from mmvitlin.engine.cli import Parser, friendly
from mmvitlin.engine.config import ConfigOptions
from mmvitlin.engine.hooks.result import command_line, versions
from mmvitlin.errors import ConfigError


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument('--scales', type=float, nargs='+', default=[0.5, 1., 2.],
                        help='factors on the images\' own size')
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


def class_table(rows: list[dict]) -> Table | None:
    """IoU of each class at each scale; None if no scale ran."""
    table = Table('class', *(f"{row['scale']:g}×" for row in rows if 'error' not in row),
                  title='IoU, %')
    for name, scores in (classes := gains(rows)).items():
        table.add_row(name, *('–' if iou is None else f'{iou:.1f}' for iou in scores))
    return table if classes else None


@friendly
def main() -> None:
    args = parse_args()
    if args.limit is not None and args.limit < 1:
        raise ConfigError(f'--limit must be at least 1, got {args.limit}')
    args.out_dir.mkdir(parents=True, exist_ok=True)

    def keep(rows: list[dict]) -> None:
        (args.out_dir / 'curve.json').write_text(json.dumps(dict(
            rows=rows, command=command_line(), machine=machine(), versions=versions(),
            date=datetime.now(timezone.utc).isoformat(timespec='seconds')), indent=2) + '\n')

    rows = resolution_curve(args.config, args.checkpoint, args.scales, args.cfg_options,
                            args.limit, args.device, args.precision, args.thin, args.small,
                            keep=keep)
    curve_figure(rows, args.out_dir / 'curve.png')
    table = Table('scale', 'megapixels', 'mIoU', 'large', 'small', 'thin', 'ms', 'peak MiB')
    for row in rows:
        if 'error' in row:
            table.add_row(f"{row['scale']:.2f}", 'failed')
            continue
        table.add_row(*('–' if v is None else f'{v:.{d}f}' for v, d in (
            (row['scale'], 2), (row['pixels'] / 1e6, 2), (row['miou'], 1), (row['large'], 1),
            (row['small'], 1), (row['thin'], 1), (row['ms'], 0), (row['peak_mib'], 0))))
    console = Console()
    console.print(table)
    if classes := class_table(rows):
        console.print(classes)
    print(f'written to {args.out_dir}')
    sys.exit(any('error' in row for row in rows))


if __name__ == '__main__':
    main()
