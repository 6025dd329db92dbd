"""Check every sample of a config's splits before training.

    python tools/check_data.py configs/seg/cityscapes_1024.py --cfg-options data_root=…

Errors: what is missing, unreadable, truncated, of another size than its image, labelled above the
classes, labelled with nothing, or there twice; labels for another orientation or of another
encoding; masks that cannot be decoded. Warnings: what is likely a mistake, such as classes that
never occur, files that are nearly all ignored, labels that were interpolated, and boxes without
area, outside of their image or beside their mask. Exit status 1 if there are errors. For label maps
also: the share of each class in the training data, and weights for
decode_head.loss_decode.class_weight that make up for it.
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

from mmvitlin.datasets.checks.checking import Problem, check, open_splits
from mmvitlin.datasets.checks.survey import Survey
from mmvitlin.engine.rules import check as check_rules
from mmvitlin.engine.rules import follow_training, refuse_empty
from mmvitlin.engine.runner.cli import Parser, friendly
from mmvitlin.engine.runner.config import load_config
from mmvitlin.engine.runner.options import ConfigOptions

_LEVELS = ('error', 'warning', 'note')


def print_splits(console: Console, survey: Survey, problems: list[Problem]) -> None:
    """A row a data set: samples, sizes, ignored pixels, and counts of what was found."""
    table = Table('split', 'samples', 'sizes', 'ignored, %', 'errors', 'warnings')
    kinds = Counter((p.split, p.level, p.kind) for p in problems)
    shown = set()
    for tally in survey.tallies:
        low, high = tally.sizes or ((), ())
        sizes = ' to '.join(dict.fromkeys('x'.join(map(str, size)) for size in (low, high)))
        counts = [', '.join(f'{n} {kind}' for (split, of, kind), n in sorted(kinds.items())
                            if split == tally.part.split and of == level) or 'none'
                  for level in _LEVELS[:2]] if tally.part.split not in shown else ['', '']
        shown.add(tally.part.split)
        table.add_row(tally.part.split, f'{tally.samples:,}', sizes,
                      f'{100 * tally.ignored_share:.1f}' if tally.of_pixels else '', *counts)
    console.print(table)


def print_classes(console: Console, survey: Survey) -> None:
    """A row a class of the training labels, if they are label maps."""
    if not (shares := survey.class_shares()):
        return
    table = Table('class', 'images', 'pixels, %', 'weight', title='training labels')
    for c in shares:
        table.add_row(c.name, f'{c.images:,}', f'{c.share:.2f}',
                      '–' if c.weight is None else f'{c.weight:.2f}')
    console.print(table)
    console.print('weight: a proposal for decode_head.loss_decode.class_weight, which is optional: '
                  '√(median frequency / frequency), 1 for a class of median frequency and more for '
                  'rarer ones', highlight=False, soft_wrap=True)


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
    check_rules(cfg, 'data')
    try:
        parts = open_splits(cfg)
    except Exception:
        refuse_empty(cfg)
        raise
    if 'teacher' not in (cfg.get('model') or {}):
        follow_training(parts)
    survey = Survey(parts)
    for sample in track(check(parts, args.workers), 'reading', sum(len(p.dataset) for p in parts)):
        survey.add(sample)
    problems = sorted(survey.all_problems(), key=lambda p: _LEVELS.index(p.level))

    console = Console()
    print_splits(console, survey, problems)
    print_classes(console, survey)
    for problem in problems[:args.show]:
        console.print(f'{problem.level}, {problem.split}, {problem.kind}: {problem.detail}',
                      markup=False, highlight=False, soft_wrap=True)
    if len(problems) > args.show:
        console.print(f'… and {len(problems) - args.show} more; --out FILE writes all')
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps([asdict(p) for p in problems], indent=1) + '\n')
    sys.exit(1 if any(p.level == 'error' for p in problems) else 0)


if __name__ == '__main__':
    main()
