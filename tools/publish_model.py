"""Prepare a checkpoint for publication: only weights, with the file's hash in its name.

    python tools/publish_model.py work_dirs/cityscapes_1024/iter_80000.pth adventurer-base_city
"""
from pathlib import Path

from mmvitlin.engine.checkpoints import publish
from mmvitlin.engine.runner.cli import Parser, friendly


@friendly
def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument('checkpoint')
    parser.add_argument('target', type=Path, help='name to write; -<hash>.pth is appended')
    args = parser.parse_args()
    path = publish(args.checkpoint, args.target)
    print(f'{path}: {path.stat().st_size / 2**20:.1f} MiB')


if __name__ == '__main__':
    main()
