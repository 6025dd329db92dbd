"""Time, memory and FLOPs of networks against image size, side by side.

    python tools/benchmark.py configs/seg/cityscapes_1024.py --twins --shapes 512x512 1024x2048
    python tools/benchmark.py configs/seg/cityscapes_1024.py --part whole --compare old.json

Subjects are configs of any of the libraries, timm:NAME, torchvision:NAME,
mmvitlin:{adventurer,linear-vit,vit}-{tiny,small,base,large} or module:function.
Writes results.json, results.csv and figures; the same command goes on where it was stopped.
"""
import argparse
import csv
import itertools
import json
from pathlib import Path

from mmengine.config import DictAction
from rich.console import Console
from rich.table import Table

from mmvitlin.analysis.figures import lab_figures
from mmvitlin.analysis.lab import Grid, changed, crossover, growth, measure, series
from mmvitlin.analysis.subjects import DTYPES, MODES, PARTS, PEERS, parse_subject, twins
from mmvitlin.engine.cli import friendly


def shape(text: str) -> tuple[int, int]:
    """HEIGHTxWIDTH, or one side of a square."""
    sides = [int(n) for n in text.split('x')]
    return (sides[0], sides[-1])


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('subjects', nargs='+')
    parser.add_argument('--twins', action='store_true', help='add softmax twins of the first '
                        "subject: fused, materialised, ViTDet's windows")
    parser.add_argument('--peers', action='store_true', help=f"add {', '.join(PEERS)} of timm")
    parser.add_argument('--shapes', type=shape, nargs='+', metavar='HxW',
                        default=[(512, 512), (1024, 1024), (1024, 2048)])
    parser.add_argument('--batch-sizes', type=int, nargs='+', default=[1])
    parser.add_argument('--precisions', nargs='+', choices=DTYPES, default=['fp32'])
    parser.add_argument('--part', choices=PARTS, default='backbone')
    parser.add_argument('--mode', choices=MODES, default='inference')
    parser.add_argument('--compile', action='store_true', help='also through torch.compile')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--threads', type=int)
    parser.add_argument('--rounds', type=int, default=20)
    parser.add_argument('--seconds', type=float, default=10., help='of counting a cell')
    parser.add_argument('--time-limit', type=float, default=120., help='seconds of one run')
    parser.add_argument('--no-memory', action='store_true')
    parser.add_argument('--compare', type=Path, metavar='OLD.json',
                        help='print what changed beyond the spread')
    parser.add_argument('--out-dir', type=Path, default=Path('work_dirs/benchmark'))
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={},
                        metavar='KEY=VALUE')
    return parser.parse_args()


def table(results: dict, console: Console) -> None:
    """Every row, with how near it comes to what the machine can do."""
    shown = Table('network', 'image', 'batch', 'precision', 'ms', '10–90%', 'images/s', 'peak MiB',
                  'GFLOP', 'of limit')
    for key, row in results['rows'].items():
        name, _, _, size, batch, precision, compiled, _ = key.split('|')
        name += ', compiled' if compiled == 'compiled' else ''
        if row['status'] != 'ok':
            shown.add_row(name, size, batch[6:], precision, row['status'])
            continue
        ms, peak = row['ms'], row['peak_mib']
        shown.add_row(name, size, batch[6:], precision, f"{ms['median']:.1f}",
                      f"{ms['p10']:.1f}–{ms['p90']:.1f}", f"{row['images_per_second']:.2f}",
                      '' if peak is None else f'{peak:.0f}', f"{row['flops'] / 1e9:.0f}",
                      f"{100 * row['fraction']:.0f}%" if 'fraction' in row else '')
    console.print(shown)


@friendly
def main() -> None:
    args = parse_args()
    subjects = [parse_subject(s, args.cfg_options) for s in args.subjects]
    subjects += twins(subjects[0]) if args.twins else []
    subjects += [parse_subject(f'timm:{name}') for name in PEERS] if args.peers else []
    grid = Grid(subjects, args.shapes, args.batch_sizes, args.precisions, args.part, args.mode,
                args.compile, args.device, args.threads, args.rounds, args.seconds,
                args.time_limit, not args.no_memory)
    console = Console()
    results = measure(grid, args.out_dir / 'results.json', console.print)
    table(results, console)

    lines = series(results)
    crossovers = {}
    for a, b in itertools.permutations(lines, 2):
        if a.split(' · ')[1:] == b.split(' · ')[1:] and (at := crossover(lines[a], lines[b])):
            crossovers[a, b] = at
            console.print(f"{a.split(' · ')[0]} overtakes {b} at {at:,.0f} tokens")
    for name, rows in lines.items():
        if (exponent := growth(rows)) is not None:
            console.print(f'{name}: time grows as tokens to the {exponent:.2f}')
    for path in lab_figures(lines, crossovers, results['limits'], args.out_dir):
        console.print(f'written: {path}')
    with open(args.out_dir / 'results.csv', 'w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(['network', 'part', 'mode', 'shape', 'batch', 'precision', 'compiled',
                         'device', 'status', 'median_ms', 'p10_ms', 'p90_ms', 'peak_mib', 'flops',
                         'bytes', 'fraction'])
        for key, row in results['rows'].items():
            ms = row.get('ms', {})
            writer.writerow([*key.split('|'), row['status'], ms.get('median'), ms.get('p10'),
                             ms.get('p90'), row.get('peak_mib'), row.get('flops'),
                             row.get('bytes'), row.get('fraction')])
    if args.compare:
        rows = changed(json.loads(args.compare.read_text()), results)
        console.print(f'{len(rows)} rows changed beyond their spread since {args.compare}')
        for row in rows:
            console.print(f"  {row['key']}: {row['old']} → {row['new']} "
                          f"({row['ratio'] or 'status'})")


if __name__ == '__main__':
    main()
