r"""CamVid at full size and twice it: several networks, whole images against sliding windows.

    python tools/run_recipe.py configs/recipes/camvid_highres.py --seeds 0 1 2 --jobs 2 \
        --work-dir work_dirs/camvid
    python tools/benchmarks/highres_camvid.py --part scores --out docs/results/highres_camvid.json
    python tools/benchmarks/highres_camvid.py --part times --out docs/results/highres_camvid.json

The networks are those of the recipe, trained on crops of 240×320, those called crops on 360×480.
A window has 240×320 and is two thirds of it apart from the next, as is usual. Scores are of the
whole test set, and may be taken beside other work, with --nets in several calls at once into one
file; a seed that has them, at these scales and of as many images, is not evaluated again. Times are
those of the first seed's networks on one image, in turn: they need an otherwise idle machine.
"""
import argparse
import itertools
import json
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mmvitlin.apis import SegInferencer
from mmvitlin.benchmark.latency import time_interleaved
from mmvitlin.engine.checkpoints import last_checkpoint
from mmvitlin.engine.hooks.result import command_line, versions
from mmvitlin.engine.runner.cli import friendly
from mmvitlin.evaluation.resolution import labelled_images, resolution_curve
from mmvitlin.utils.files import write_whole
from mmvitlin.utils.machine import machine

CONFIG = 'configs/seg/fcn_{}-nano_camvid-360.py'
COLUMNS = {'model.backbone.scan_axes': 'alternate'}
NETS = dict(  # stage of the recipe → its config, and options
    vit=(CONFIG.format('vit'), {}),
    adventurer=(CONFIG.format('adventurer'), {}),
    adventurer_crops=(CONFIG.format('adventurer'), {}),
    adventurer_columns=(CONFIG.format('adventurer'), COLUMNS),
    adventurer_columns_crops=(CONFIG.format('adventurer'), COLUMNS),
    linear_vit=(CONFIG.format('linear-vit'), {}))
MODES = dict(whole={'model.test_cfg.mode': 'whole'},
             slide={'model.test_cfg.mode': 'slide', 'model.test_cfg.crop_size': (240, 320),
                    'model.test_cfg.stride': (160, 216)})


@friendly
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/camvid'))
    parser.add_argument('--data', default='data/camvid')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--nets', nargs='+', choices=list(NETS), default=list(NETS))
    parser.add_argument('--scales', type=float, nargs='+', default=[1., 2.])
    parser.add_argument('--limit', type=int, help='images at most, for a trial')
    parser.add_argument('--part', choices=['scores', 'times'], required=True)
    parser.add_argument('--out', type=Path, default=Path('work_dirs/highres_camvid.json'))
    args = parser.parse_args()
    if args.part == 'times':
        keep(args, times={f'{scale:g}': times(args, scale) for scale in args.scales})
    else:
        for seed, net, (mode, options) in itertools.product(
                args.seeds, args.nets, MODES.items()):
            name = f'{net} {mode} seed{seed}'
            measured_scales = {(row['scale'], row.get('limit'))
                               for row in measured(args.out)['rows'].get(name, [])}
            if measured_scales >= {(scale, args.limit) for scale in args.scales}:
                continue
            print(name)
            measured_rows = resolution_curve(
                NETS[net][0], checkpoint(args.work_dir, seed, net), args.scales,
                dict(options, **NETS[net][1], data_root=args.data), args.limit)
            keep(args, rows={name: [{k: v for k, v in dict(row, limit=args.limit).items()
                                     if k != 'ms'} for row in measured_rows]})
    results = measured(args.out)
    table = Table('network', 'scale', 'mIoU', 'thin', 'ms', 'peak MiB')
    for name, rows in results['rows'].items():
        for row in rows:
            if 'error' in row:
                table.add_row(name, f"{row['scale']:g}", row['error'])
                continue
            time = results['times'].get(f"{row['scale']:g}", {}).get(name.rsplit(' ', 1)[0])
            numbers = ((row['miou'], 1), (row['thin'], 1), (time and time['median'], 0),
                       (row['peak_mib'], 0))
            table.add_row(name, f"{row['scale']:g}", *(
                '' if value is None else f'{value:.{digits}f}' for value, digits in numbers))
    Console().print(table)


def checkpoint(work_dir: Path, seed: int, net: str) -> str:
    """The recipe's checkpoint of a network."""
    return str(last_checkpoint(work_dir / f'seed{seed}' / net))


def measured(path: Path) -> dict:
    """What is in the file by now, from this call or another."""
    if path.is_file():
        return json.loads(path.read_text())
    return dict(rows={}, times={}, commands={})


def keep(args: argparse.Namespace, **parts: dict) -> None:
    """Add to the file, which a parallel call may have changed."""
    results = measured(args.out)
    for name, part in parts.items():
        results[name].update(part)
    results['commands'][' '.join([args.part, *args.nets])] = command_line()
    results.update(machine=machine(), versions=versions(),
                   date=datetime.now(timezone.utc).isoformat(timespec='seconds'))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_whole((json.dumps(results, indent=1) + '\n').encode(), args.out)


def times(args: argparse.Namespace, scale: float) -> dict[str, dict]:
    """Milliseconds from an image in memory to its labels, of each network and mode."""
    calls = {}
    for net, (mode, options) in itertools.product(args.nets, MODES.items()):
        config, more = NETS[net]
        infer = SegInferencer(config, checkpoint(args.work_dir, args.seeds[0], net), scale=scale,
                              cfg_options=dict(options, **more, data_root=args.data))
        path, _ = next(iter(labelled_images(infer.cfg)))
        calls[f'{net} {mode}'] = partial(infer.predict, infer.read(path)[1])
    result = time_interleaved(calls, infer.device, warmup=1, rounds=15, seconds=20)
    print(f'scale {scale:g}: ' + ', '.join(f"{n} {t['median']:.0f} ms" for n, t in result.items()))
    return result


if __name__ == '__main__':
    main()
