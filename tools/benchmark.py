"""Time, memory and FLOPs of networks against image size, side by side.

    python tools/benchmark.py configs/seg/cityscapes_1024.py --baselines --shapes 512x512 1024x2048
    python tools/benchmark.py configs/seg/cityscapes_1024.py --part whole --compare old.json
    python tools/benchmark.py configs/distill/linearizer_adventurer-nano_streets.py --part whole \\
        --mode train --shapes 192x384        (a distillation step; of any config a training step)

Subjects are configs of any of the libraries, timm:NAME, torchvision:NAME,
mmvitlin:{adventurer,linear-vit,focal-vit,mamba2-vit,vit}-{tiny,small,base,large}, module:function,
or exported files (.onnx, .xml, .pt2), each with another name as NAME=SUBJECT. SUBJECT@RUNTIME runs
a file in onnxruntime, openvino, onnxruntime-cuda or tensorrt; of a config or an mmvitlin: backbone
it is exported on the way, and its results are compared with torch's. --part labels goes from a
plain image to the label of each pixel, in torch as in a file. A training step is a forward and a
backward pass. Weights are random unless --cfg-options load_from=CHECKPOINT loads some: a whole
detector needs them, or it finds no objects and its post-processing costs nothing. Writes
results.json, results.csv and figures; the same command continues where it was stopped, and measures
again what changed since.
"""
import argparse
import csv
import json
import sys
from pathlib import Path

from mmvitlin.utils.environment import short_openmp_spin

short_openmp_spin()

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mmvitlin.benchmark.figures import speed_figures
from mmvitlin.benchmark.measuring import Grid, measure
from mmvitlin.benchmark.subjects import (
    DTYPES,
    MODES,
    PARTS,
    PEERS,
    Subject,
    parse_subject,
    softmax_baselines,
)
from mmvitlin.benchmark.trends import changed, faster_from, growth, other_conditions, pairs, series
from mmvitlin.engine.runner.cli import Parser, friendly
from mmvitlin.engine.runner.config import load_config
from mmvitlin.engine.runner.options import ConfigOptions
from mmvitlin.utils.errors import ConfigError
from mmvitlin.utils.files import write_whole
from mmvitlin.utils.machine import undisturbed
from mmvitlin.visualization.figures import plt


def shape(text: str) -> tuple[int, int]:
    """HEIGHTxWIDTH, or one side of a square."""
    sides = [int(n) for n in text.split('x')]
    if len(sides) > 2 or min(sides) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no HEIGHTxWIDTH and no side of a square")
    return (sides[0], sides[-1])


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument('subjects', nargs='+', help='see above')
    parser.add_argument('--baselines', action='store_true', help='add softmax baselines '
                        "of the first subject: fused, materialised, ViTDet's windows")
    parser.add_argument('--peers', action='store_true', help=f"add {', '.join(PEERS)} of timm")
    parser.add_argument('--shapes', type=shape, nargs='+', metavar='HxW',
                        default=[(512, 512), (1024, 1024), (1024, 2048)], help='height and width '
                        'of the images, or one side of a square (default: 512 1024 1024x2048)')
    parser.add_argument('--batch-sizes', type=int, nargs='+', default=[1], help='images at once')
    parser.add_argument('--precisions', nargs='+', choices=DTYPES, default=['fp32'],
                        help='each is a column')
    parser.add_argument('--part', choices=PARTS, default='backbone', help='what is timed')
    parser.add_argument('--mode', choices=MODES, default='inference', help='without or with the '
                        'backward pass')
    parser.add_argument('--compile', action='store_true', help='also through torch.compile')
    parser.add_argument('--device')
    parser.add_argument('--threads', type=int)
    parser.add_argument('--rounds', type=int, default=20, help='times each is measured, in turn')
    parser.add_argument('--seconds', type=float, default=10., help='of counting a cell')
    parser.add_argument('--time-limit', type=float, default=120., help='seconds; what takes '
                        'longer is run once, and given up after six times as long')
    parser.add_argument('--again', action='store_true', help='measure rows that exist already')
    parser.add_argument('--repeats', type=int, default=2, help='times that a cell is measured '
                        'again which other processes disturbed; then it is marked')
    parser.add_argument('--mend', action='store_true', help='measure again what is marked as '
                        'disturbed')
    parser.add_argument('--scores', nargs='+', default=[], metavar='NAME=FILE',
                        help='result.json of a run (or FILE:KEY for another metric than mIoU) '
                        'whose score is drawn against the time of the network NAME')
    parser.add_argument('--reference', metavar='NAME', help="network that the results of given "
                        'files are compared with: a config with the same weights (load_from)')
    parser.add_argument('--no-memory', action='store_true', help='only time')
    parser.add_argument('--compare', type=Path, metavar='OLD.json',
                        help='print what changed beyond the spread')
    parser.add_argument('--out-dir', type=Path, default=Path('work_dirs/benchmark'))
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions, default={},
                        metavar='KEY=VALUE')
    return parser.parse_args()


def table(results: dict) -> Table:
    """Every row, with how near it comes to what the machine can do."""
    shown = Table('network', 'image', 'batch', 'precision', 'ms', '10–90%', 'images/s', 'peak MiB',
                  'process MiB', 'as torch', 'GFLOP', 'of limit')
    for key, row in results['rows'].items():
        if row.get('stale'):
            continue
        name, _, _, size, batch, precision, compiled, _ = key.split('|')
        name += ', compiled' if compiled == 'compiled' else ''
        if row.get('file_precision') not in (None, 'fp32'):
            precision += f" ({row['file_precision']} file)"
        if row['status'] != 'ok':
            cells = [row['status']]
        else:
            ms, peak = row['ms'], row['peak_mib']
            cells = [f"{ms['median']:.1f}",
                     (f"{ms['p10']:.1f}–{ms['p90']:.1f}" if ms['rounds'] > 1 else 'one run') +
                     ('' if undisturbed([row]) else ', disturbed'),
                     f"{row['images_per_second']:.2f}", '' if peak is None else f'{peak:.0f}',
                     f"{row['process_mib']:.0f}" if row.get('process_mib') else '',
                     agreement(row.get('agreement')),
                     f"{row['flops'] / 1e9:.0f}" if row['flops'] else '',
                     f"{100 * row['fraction']:.0f}%" if 'fraction' in row else '']
        shown.add_row(*map(escape, (name, size, batch[6:], precision, *cells)))
    return shown


def agreement(result: dict | None) -> str:
    """Share of equal labels, or the largest relative error."""
    if not result:
        return ''
    return f"{100 * result['labels']:.2f}%" if 'labels' in result else f"±{result['error']:.0e}"


def read_scores(texts: list[str], names: list[str]) -> dict[str, float]:
    """Name → score, out of results of runs.

    Raises:
        ConfigError: no such network, file or metric.
    """
    scores = {}
    for text in texts:
        name, _, file = text.partition('=')
        file, _, metric = file.partition(':')
        if name not in names:
            raise ConfigError(f"--scores: no network '{name}' is measured; they are {names}")
        if not Path(file).is_file():
            raise ConfigError(f'--scores: no file {file}')
        metrics = json.loads(Path(file).read_text()).get('metrics', {})
        if (metric or 'mIoU') not in metrics:
            raise ConfigError(f"--scores: {file} has no metric '{metric or 'mIoU'}'; it has "
                              f'{sorted(metrics)}')
        scores[name] = metrics[metric or 'mIoU']
    return scores


COLUMNS = {
    'status': 'status', 'tokens': 'tokens', 'median_ms': 'ms.median', 'p10_ms': 'ms.p10',
    'p90_ms': 'ms.p90', 'rounds': 'ms.rounds', 'interleaved': 'interleaved',
    'share_of_cores': 'load.share', 'others_cores': 'load.others', 'disturbed': 'load.disturbed',
    'process_mib': 'process_mib', 'equal_labels': 'agreement.labels',
    'relative_error': 'agreement.error', 'file_precision': 'file_precision',
    'images_per_second': 'images_per_second', 'peak_mib': 'peak_mib', 'parameters': 'parameters',
    'flops': 'flops', 'bytes': 'bytes', 'fraction': 'fraction'}


def write_csv(results: dict, path: Path) -> None:
    """Every row with the circumstances it was measured in."""
    with open(path, 'w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(['network', 'part', 'mode', 'shape', 'batch', 'precision', 'compiled',
                         'device', *COLUMNS, 'processor', 'gpu', 'threads', 'torch', 'mmvitlin',
                         'date', 'command'])
        for key, row in results['rows'].items():
            call = results['calls'][row['call']]
            values = []
            for place in COLUMNS.values():
                node = row
                for part in place.split('.'):
                    node = node.get(part) if isinstance(node, dict) else None
                values.append(node)
            at, made = call['machine'], call['versions']
            writer.writerow([*key.split('|'), *values, at['processor'], at['gpu'], at['threads'],
                             made['torch'], made['mmvitlin'], call['date'], call['command']])


def subjects_of(args: argparse.Namespace) -> list[Subject]:
    """What is measured.

    Raises:
        ConfigError: --reference names none of it, or a network of random weights.
    """
    subjects = [parse_subject(s, args.cfg_options) for s in args.subjects]
    subjects += softmax_baselines(subjects[0]) if args.baselines else []
    subjects += [parse_subject(f'timm:{name}') for name in PEERS] if args.peers else []
    if args.reference is not None:
        references = [s for s in subjects if s.name == args.reference and not s.runtime]
        if not references:
            raise ConfigError(f"--reference: no network '{args.reference}' is measured; they are "
                              f'{[s.name for s in subjects if not s.runtime]}')
        files = [subject for subject in subjects if subject.source == 'exported']
        random = references[0].source == 'config' and not load_config(
            references[0].what, references[0].options).get('load_from')
        if files and random:
            raise ConfigError(f"--reference {args.reference}: its weights would be random, and no "
                              "file's results like its own; give the checkpoint that was exported, "
                              '--cfg-options load_from=CHECKPOINT')
        for subject in files:
            subject.reference = references[0].as_dict()
    return subjects


def read_old(path: Path) -> dict:
    """Earlier results to compare with.

    Raises:
        ConfigError: no file, or not one of this tool.
    """
    if not path.is_file():
        raise ConfigError(f'--compare: no file {path}')
    old = json.loads(path.read_text())
    if not all('status' in row for row in old.get('rows', {'': {}}).values()):
        raise ConfigError(f'--compare: {path} was not written by this tool')
    return old


def differences(old: dict, new: dict, path: Path) -> str:
    """What changed since earlier results, a line each."""
    rows = changed(old, new)
    gone = len(old['rows'].keys() - new['rows'].keys())
    return '\n'.join([
        *(f'not the same conditions: {difference}' for difference in other_conditions(old, new)),
        f'{len(rows)} rows changed beyond their spread since {path}' +
        (f', {gone} of its rows are not measured here' if gone else ''),
        *(f"  {row['key']}: {row['old']} → {row['new']} ({row['ratio'] or 'status'})"
          for row in rows)])


@friendly
def main() -> None:
    args = parse_args()
    plt.load()
    subjects = subjects_of(args)
    scores = read_scores(args.scores, [s.name for s in subjects])
    old = None if args.compare is None else read_old(args.compare)
    device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    grid = Grid(subjects, args.shapes, args.batch_sizes, args.precisions, args.part, args.mode,
                args.compile, device, args.threads, args.rounds, args.seconds, args.time_limit,
                not args.no_memory, args.again, args.repeats, args.mend,
                args.out_dir / 'exported')
    console = Console(width=None if sys.stdout.isatty() else 160)

    def tell(text: str) -> None:
        console.print(text, markup=False, highlight=False)

    results = measure(grid, args.out_dir / 'results.json', tell)
    console.print(table(results))
    lines = series(results)
    results['pairs'] = pairs(lines)
    for pair in results['pairs']:
        tell(f"{pair['faster']} is faster than {pair['slower']} from: {faster_from(pair)} "
             f"({pair['setting']})")
    results['growth'] = {name: growth(rows) for name, rows in lines.items()}
    busy = sum(len(rows) - len(undisturbed(rows)) for rows in lines.values())
    if busy:
        tell(f'{busy} times were disturbed by other processes: they are marked, and nothing is '
             'concluded from them; measure them again with --mend')
    for name, exponent in results['growth'].items():
        if exponent is not None:
            tell(f'{name}: time grows as tokens to the {exponent:.2f}')
    write_whole((json.dumps(results, indent=1) + '\n').encode(), args.out_dir / 'results.json')
    write_csv(results, args.out_dir / 'results.csv')
    limits = {f"{precision} on {call['machine']['gpu'] or call['machine']['processor']}": limit
              for call in results['calls'] for precision, limit in call['limits'].items()}
    for path in speed_figures(lines, results['pairs'], limits, args.out_dir, scores):
        tell(f'written: {path}')
    if old is not None:
        tell(differences(old, results, args.compare))


if __name__ == '__main__':
    main()
