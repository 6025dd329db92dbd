"""Write what a config's network is shown as pictures, labels in colour.

    python tools/browse_dataset.py configs/seg/cityscapes_1024.py --split train --number 20
"""
import itertools
from pathlib import Path

from PIL import Image

from mmvitlin.engine.rules import check
from mmvitlin.engine.runner.cli import Parser, friendly
from mmvitlin.engine.runner.config import load_config
from mmvitlin.engine.runner.options import ConfigOptions
from mmvitlin.visualization.browsing import browse


@friendly
def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument('config')
    parser.add_argument('--split', '--phase', '-p', default='train', help='train, val or test')
    parser.add_argument('--number', '-n', type=int, default=10, help='of samples')
    parser.add_argument('--original', action='store_true', help='before any transform')
    parser.add_argument('--output-dir', '-o', type=Path, default=Path('work_dirs/browse'),
                        help='folder to write to')
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions, default={},
                        metavar='KEY=VALUE')
    args = parser.parse_args()
    cfg = load_config(args.config, args.cfg_options)
    check(cfg, 'data')
    args.output_dir.mkdir(parents=True, exist_ok=True)
    samples = itertools.islice(browse(cfg, args.split, args.original), args.number)
    for n, (name, caption, picture) in enumerate(samples):
        path = args.output_dir / f'{n:04d}_{Path(name).stem}.png'
        Image.fromarray(picture).save(path)
        print(f'{path}: {picture.shape[0]}x{picture.shape[1]}; {caption}')


if __name__ == '__main__':
    main()
