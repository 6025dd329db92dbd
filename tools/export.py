"""Write a trained network for another runtime, and check what was written.

    python tools/export.py CONFIG CHECKPOINT student.onnx
    python tools/export.py CONFIG CHECKPOINT student.pt2 --to aot --size 1024 2048
"""
from pathlib import Path

from mmvitlin.apis.export import SUFFIXES, export, load_trained
from mmvitlin.engine.cli import Parser, friendly
from mmvitlin.engine.config import ConfigOptions


@friendly
def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument('config', help='of a segmentor, a classifier, or a distillation (its '
                        'student is written)')
    parser.add_argument('checkpoint')
    parser.add_argument('target', type=Path, help='file to write')
    parser.add_argument('--to', choices=SUFFIXES,
                        help="default: by the target's suffix (.pt2: torch)")
    parser.add_argument('--size', type=int, nargs=2, default=(224, 224), metavar=('H', 'W'),
                        help='traced at')
    parser.add_argument('--fixed', action='store_true', help='only this size, batch 1')
    parser.add_argument('--tolerance', type=float, default=1e-4,
                        help='largest relative difference from the network here')
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions)
    args = parser.parse_args()
    by_suffix = {suffix: kind for kind, suffix in reversed(SUFFIXES.items())}
    kind = args.to or by_suffix.get(args.target.suffix)
    if kind is None:
        parser.error(f'give --to; {args.target.name} has none of the suffixes {list(by_suffix)}')
    print(export(load_trained(args.config, args.checkpoint, args.cfg_options), args.target, kind,
                 tuple(args.size), not args.fixed, args.tolerance))


if __name__ == '__main__':
    main()
