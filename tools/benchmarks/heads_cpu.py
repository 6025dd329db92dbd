r"""What a head costs in time: the networks of the heads' recipe, from an image to its labels.

    python tools/run_recipe.py configs/recipes/camvid_heads.py --seeds 0 1 2 \
        --out docs/results/camvid_heads.json
    python tools/benchmarks/heads_cpu.py --out docs/results/heads_speed.json

The trained networks of one seed, those of one set of data in turn in one process, on one held-out
image at its own size and enlarged. A measurement that others disturb is repeated, and marked where
that does not help. It needs an otherwise idle machine.
"""
import argparse
import json
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

from mmvitlin.utils.environment import short_openmp_spin

short_openmp_spin()

from rich.console import Console
from rich.table import Table

from mmvitlin.apis import SegInferencer
from mmvitlin.benchmark.latency import time_watched
from mmvitlin.engine.hooks.result import command_line, versions
from mmvitlin.engine.runner.cli import Parser, friendly
from mmvitlin.evaluation.resolution import labelled_images
from mmvitlin.experiments.recipe import load_recipe
from mmvitlin.utils.errors import ConfigError
from mmvitlin.utils.files import write_whole
from mmvitlin.utils.machine import machine

RECIPE = Path(__file__).parents[2] / 'configs/recipes/camvid_heads.py'


def times(folder: Path, stages: list[str], scale: float, rounds: int, seconds: float
          ) -> tuple[str, dict[str, dict]]:
    """Size of the image as 'HxW', and stage → milliseconds, parameters and load; of the stages that
    have been trained.

    Raises:
        ConfigError: none of them has been.
    """
    calls, params, size = {}, {}, ''
    for stage in stages:
        if not (folder / stage / 'result.json').is_file():
            print(f'{folder / stage} has not been trained, and is left out', flush=True)
            continue
        infer = SegInferencer.of_run(folder / stage, scale=scale)
        path, _ = next(iter(labelled_images(infer.cfg)))
        image, data = infer.read(path)
        height, width = image.shape[:2]
        size = f'{round(height * scale)}x{round(width * scale)}'
        params[stage] = sum(p.numel() for p in infer.model.parameters())
        calls[stage] = partial(infer.predict, data)
    if not calls:
        raise ConfigError(f'{folder} holds none of {stages}; run the recipe first, as '
                          f'`python {Path(__file__).name} --help` says')
    found = time_watched(calls, rounds=rounds, seconds=seconds, warmup=1)
    return size, {stage: dict(row, params=params[stage]) for stage, row in found.items()}


@friendly
def main() -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/camvid_heads/seed0'),
                        help='of the seed whose networks are timed')
    parser.add_argument('--scales', type=float, nargs='+', default=[1., 2.])
    parser.add_argument('--rounds', type=int, default=20, help='most rounds')
    parser.add_argument('--seconds', type=float, default=40., help='of each size, at most')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/heads_speed.json'))
    args = parser.parse_args()
    groups: dict[str, list[str]] = {}
    for stage in load_recipe(RECIPE):
        groups.setdefault(stage.name.split('_')[0], []).append(stage.name)
    rows: dict[str, dict[str, dict]] = {}
    for data, stages in groups.items():
        for scale in args.scales:
            size, found = times(args.work_dir, stages, scale, args.rounds, args.seconds)
            rows[f'{data} {size}'] = found
    results = dict(rows=rows, command=command_line(), machine=machine(), versions=versions(),
                   date=datetime.now(timezone.utc).isoformat(timespec='seconds'))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(f'{json.dumps(results, indent=1)}\n'.encode(), args.out)
    table = Table('network', 'size', 'ms', 'parameters, M')
    for name, found in rows.items():
        for stage, row in found.items():
            table.add_row(stage, name.split()[1], f"{row['median']:.0f}"
                          + '*' * row['load']['disturbed'], f"{row['params'] / 1e6:.2f}")
    Console().print(table)
    if any(row['load']['disturbed'] for found in rows.values() for row in found.values()):
        print('* disturbed by others: no conclusion from these')


if __name__ == '__main__':
    main()
