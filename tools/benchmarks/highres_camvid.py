r"""CamVid at full size and twice it: several networks, whole images against sliding windows.

    python tools/run_recipe.py configs/recipes/camvid_highres.py --seeds 0 1 2 --jobs 2 \
        --work-dir work_dirs/camvid
    python tools/benchmarks/highres_camvid.py --work-dir work_dirs/camvid --part scores \
        --out docs/results/highres_camvid.json
    python tools/benchmarks/highres_camvid.py --work-dir work_dirs/camvid --part times \
        --out docs/results/highres_camvid.json

The networks are those of a recipe, trained on crops of 240×320, those called crops on 360×480.
With --recipe camvid_lengths they are Adventurers that were trained in several ways, to find out
what helps them on sequences that are longer than those of their crops:

    python tools/run_recipe.py configs/recipes/camvid_lengths.py --seeds 0 1 2 --jobs 2
    python tools/benchmarks/highres_camvid.py --recipe camvid_lengths --part scores \
        --out docs/results/camvid_lengths.json

A window has the size of the crop and is two thirds of it, in whole patches, from the next. The
network called steps has the weights of labels, and on whole images smaller step sizes, in
proportion to the tokens above those of its crop: the logarithm of that is taken from dt_bias, which
for small steps is nearly the same as dividing them. Scores are of the
whole test set, and may be taken beside other work, with --nets in several calls at once into one
file; a seed that has them, at these scales and of as many images, is not evaluated again. Times are
those of the first seed's networks on one image, in turn: they need an otherwise idle machine.
"""
import argparse
import json
import math
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

from mmvitlin.utils.environment import short_openmp_spin

short_openmp_spin()

import torch
from rich.console import Console
from rich.table import Table

from mmvitlin.apis import SegInferencer
from mmvitlin.benchmark.latency import time_interleaved
from mmvitlin.engine.checkpoints import last_checkpoint
from mmvitlin.engine.hooks.result import command_line, versions
from mmvitlin.engine.runner.cli import friendly
from mmvitlin.evaluation.resolution import labelled_images, resolution_curve
from mmvitlin.utils.disturbance import Watch, computing_threads
from mmvitlin.utils.errors import UserError
from mmvitlin.utils.files import write_whole
from mmvitlin.utils.machine import machine

SIZE = (360, 480)  # of CamVid's images, at scale 1


@dataclass
class Net:
    """A network of the recipe.

    Attributes:
        kind: Of its config.
        options: Of the config.
        crop: That it was trained on, (height, width).
        stage: Of the recipe; None for its own name.
        steps: Step sizes by the number of tokens.
    """
    kind: str
    options: dict = field(default_factory=dict)
    crop: tuple[int, int] = (240, 320)
    stage: str | None = None
    steps: bool = False

    @property
    def config(self) -> str:
        """File of its config."""
        return f'configs/seg/fcn_{self.kind}-nano_camvid-360.py'

    def modes(self) -> dict[str, dict]:
        """Options of each way to take an image that is larger than the crop."""
        modes = dict(whole={'model.test_cfg.mode': 'whole'})
        if not self.steps:
            modes['slide'] = {
                'model.test_cfg.mode': 'slide', 'model.test_cfg.crop_size': self.crop,
                'model.test_cfg.stride': tuple(8 * math.ceil(side / 12) for side in self.crop)}
        return modes


COLUMNS = {'model.backbone.scan_axes': 'alternate'}
NETS = dict(  # of each recipe
    camvid_highres=dict(vit=Net('vit'), adventurer=Net('adventurer'), linear_vit=Net('linear-vit')),
    camvid_lengths=dict(
        labels=Net('adventurer'),
        labels_steps=Net('adventurer', stage='labels', steps=True),
        labels_crops=Net('adventurer', crop=SIZE),
        labels_columns=Net('adventurer', COLUMNS),
        labels_columns_crops=Net('adventurer', COLUMNS, SIZE)))


@friendly
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--recipe', choices=list(NETS), default='camvid_highres')
    parser.add_argument('--work-dir', type=Path, help='default: work_dirs/<recipe>')
    parser.add_argument('--data', default='data/camvid')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--nets', nargs='+', help='default: all of the recipe')
    parser.add_argument('--scales', type=float, nargs='+', default=[1., 2.])
    parser.add_argument('--limit', type=int, help='images at most, for a trial')
    parser.add_argument('--part', choices=['scores', 'times'], required=True)
    parser.add_argument('--out', type=Path, default=Path('work_dirs/highres_camvid.json'))
    args = parser.parse_args()
    args.work_dir = args.work_dir or Path('work_dirs', args.recipe)
    nets = NETS[args.recipe]
    args.nets = args.nets or list(nets)
    if unknown := set(args.nets) - nets.keys():
        raise UserError(f'--nets {sorted(unknown)}: {args.recipe} has {list(nets)}')
    if args.part == 'times':
        keep(args, times={f'{scale:g}': times(args, scale) for scale in args.scales})
    else:
        for seed, net, (mode, options) in each(args, args.seeds):
            name = f'{net} {mode} seed{seed}'
            before = measured(args.out)['rows'].get(name, [])
            if {(row['scale'], row.get('limit')) for row in before} >= {
                    (scale, args.limit) for scale in args.scales}:
                continue
            print(name)
            options = dict(options, **nets[net].options, data_root=args.data)
            rows = [row for scale in args.scales for row in resolution_curve(
                nets[net].config, checkpoint(args, seed, net, scale), [scale], options,
                args.limit)]
            keep(args, rows={name: [{k: v for k, v in dict(row, limit=args.limit).items()
                                     if k not in ('ms', 'load')} for row in rows]})
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


def each(args: argparse.Namespace, seeds: list[int]) -> list[tuple[int, str, tuple[str, dict]]]:
    """Every seed, network, and mode with its options."""
    return [(seed, net, mode) for seed in seeds for net in args.nets
            for mode in NETS[args.recipe][net].modes().items()]


def checkpoint(args: argparse.Namespace, seed: int, name: str, scale: float) -> str:
    """The recipe's checkpoint of a network, for whole images of a scale."""
    net = NETS[args.recipe][name]
    path = last_checkpoint(args.work_dir / f'seed{seed}' / (net.stage or name))
    if not net.steps:
        return str(path)
    content = torch.load(path, map_location='cpu', weights_only=False)
    tokens = scale**2 * math.prod(SIZE) / math.prod(net.crop)
    for key, value in content['state_dict'].items():
        if key.endswith('.dt_bias'):
            value -= math.log(max(tokens, 1.))
    changed = args.work_dir / f'seed{seed}' / f'{name}_{scale:g}.pth'
    torch.save(content, changed)
    return str(changed)


def measured(path: Path) -> dict:
    """What is in the file by now, from this call or another."""
    if path.is_file():
        return json.loads(path.read_text())
    return dict(rows={}, times={}, commands={})


def keep(args: argparse.Namespace, **parts: dict) -> None:
    """Add to the file, which a parallel call may have changed."""
    results = measured(args.out)
    for name, part in parts.items():
        for key, value in part.items():
            old = results[name].get(key)
            results[name][key] = dict(old, **value) if isinstance(old, dict) else value
    results['commands'][' '.join([args.part, *args.nets])] = command_line()
    results.update(machine=machine(), versions=versions(),
                   date=datetime.now(timezone.utc).isoformat(timespec='seconds'))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_whole((json.dumps(results, indent=1) + '\n').encode(), args.out)


def times(args: argparse.Namespace, scale: float) -> dict[str, dict]:
    """Milliseconds from an image in memory to its labels, of each network and mode."""
    calls = {}
    for seed, net, (mode, options) in each(args, args.seeds[:1]):
        of = NETS[args.recipe][net]
        infer = SegInferencer(of.config, checkpoint(args, seed, net, scale), scale=scale,
                              cfg_options=dict(options, **of.options, data_root=args.data))
        path, _ = next(iter(labelled_images(infer.cfg)))
        calls[f'{net} {mode}'] = partial(infer.predict, infer.read(path)[1])
    watch = Watch(computing_threads(infer.device))
    result = time_interleaved(calls, infer.device, warmup=1, rounds=15, seconds=20, watch=watch)
    result = {name: dict(row, load=watch.load.as_dict()) for name, row in result.items()}
    print(f'scale {scale:g}: ' + ', '.join(f"{n} {t['median']:.0f} ms" for n, t in result.items()))
    return result


if __name__ == '__main__':
    main()
