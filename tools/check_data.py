"""Walk every sample of a config's splits before training does.

    python tools/check_data.py configs/seg/cityscapes_1024.py --cfg-options data_root=…

Reports what is missing, unreadable, truncated, of another size than its image, labelled above the
classes, labelled with nothing, or there twice; and boxes without area, outside of their image, or
beside their mask. Exit status 1 if anything was found. For label maps also: the share of each class
in the training data, and weights for decode_head.loss_decode.class_weight that make up for it.
"""
import json
import os
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from mmvitlin.datasets.checking import (
    check,
    class_shares,
    count_samples,
    duplicates,
    lonely_labels,
)
from mmvitlin.engine.cli import Parser, friendly
from mmvitlin.engine.config import ConfigOptions, load_config
from mmvitlin.engine.preflight import LOADERS, check_classes, check_data_folders, check_libraries


@friendly
def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument('config')
    parser.add_argument('--workers', type=int, default=os.cpu_count(), help='processes')
    parser.add_argument('--show', type=int, default=20, help='problems listed on the screen')
    parser.add_argument('--out', type=Path, help='JSON file of all problems')
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions, default={},
                        metavar='KEY=VALUE')
    args = parser.parse_args()
    cfg = load_config(args.config, args.cfg_options)
    check_libraries(cfg)
    check_data_folders(cfg)
    check_classes(cfg, LOADERS)
    counts = count_samples(cfg)
    checked = list(track(check(cfg, args.workers), 'reading', sum(counts.values())))
    problems = [*(p for c in checked for p in c.problems), *duplicates(checked),
                *lonely_labels(cfg)]

    console = Console()
    kinds = Counter((p.split, p.kind) for p in problems)
    table = Table('split', 'samples', 'problems')
    for split, count in counts.items():
        found = ', '.join(f'{n} {kind}' for (s, kind), n in sorted(kinds.items()) if s == split)
        table.add_row(split, f'{count:,}', found or 'none')
    console.print(table)
    if shares := class_shares(cfg, checked):
        table = Table('class', 'images', 'pixels, %', 'weight', title='training labels')
        for c in shares:
            table.add_row(c.name, f'{c.images:,}', f'{c.share:.2f}',
                          '–' if c.weight is None else f'{c.weight:.2f}')
        console.print(table)
    for problem in problems[:args.show]:
        console.print(f'{problem.split}, {problem.kind}: {problem.detail}', markup=False)
    if len(problems) > args.show:
        console.print(f'… and {len(problems) - args.show} more; --out FILE writes all')
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps([asdict(p) for p in problems], indent=1) + '\n')
    sys.exit(1 if problems else 0)


if __name__ == '__main__':
    main()
