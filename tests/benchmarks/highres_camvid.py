"""CamVid at full size and twice it: three networks, whole images against sliding windows.

    python tools/run_recipe.py configs/recipes/camvid_highres.py --seeds 0 1 2 --amp --jobs 2
    python tests/benchmarks/highres_camvid.py --out docs/results/highres_camvid.json

The networks are those of the recipe, trained on crops of 240×320. A window is as large as a crop
and two thirds of it apart from the next, as is usual. Every row is kept as soon as it is measured;
--resume goes on after an interruption.
"""
import argparse
import json
from datetime import datetime, timezone
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mmvitlin.analysis.latency import machine
from mmvitlin.analysis.resolution import resolution_curve
from mmvitlin.engine.checkpoints import last_checkpoint, write_whole
from mmvitlin.engine.cli import friendly
from mmvitlin.engine.hooks.result import command_line, versions

NETS = dict(vit='configs/seg/camvid_360_vit-nano.py',
            adventurer='configs/seg/camvid_360_adventurer-nano.py',
            linear_vit='configs/seg/camvid_360_linear-vit-nano.py')
MODES = dict(whole={'model.test_cfg.mode': 'whole'},
             slide={'model.test_cfg.mode': 'slide', 'model.test_cfg.crop_size': (240, 320),
                    'model.test_cfg.stride': (160, 216)})


@friendly
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/camvid_highres'))
    parser.add_argument('--data', default='data/camvid')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--scales', type=float, nargs='+', default=[1., 2.])
    parser.add_argument('--limit', type=int, help='images at most, for a trial')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/highres_camvid.json'))
    parser.add_argument('--resume', action='store_true')
    args = parser.parse_args()
    results = json.loads(args.out.read_text()) if args.resume and args.out.is_file() else dict(
        rows={})
    for seed in args.seeds:
        for net, config in NETS.items():
            checkpoint = last_checkpoint(args.work_dir / f'seed{seed}' / net)
            for mode, options in MODES.items():
                name = f'{net} {mode} seed{seed}'
                if name in results['rows']:
                    continue
                print(name)
                results['rows'][name] = resolution_curve(
                    config, str(checkpoint), args.scales, dict(options, data_root=args.data),
                    args.limit)
                results.update(
                    machine=machine(), versions=versions(),
                    date=datetime.now(timezone.utc).isoformat(timespec='seconds'),
                    command=command_line())
                args.out.parent.mkdir(parents=True, exist_ok=True)
                write_whole((json.dumps(results, indent=1) + '\n').encode(), args.out)
    table = Table('network', 'scale', 'mIoU', 'thin', 'ms', 'peak MiB')
    for name, rows in results['rows'].items():
        for row in rows:
            table.add_row(name, f"{row['scale']:g}", f"{row['miou']:.1f}", f"{row['thin']:.1f}",
                          f"{row['ms']:.0f}", f"{row['peak_mib']:.0f}")
    Console().print(table)


if __name__ == '__main__':
    main()
