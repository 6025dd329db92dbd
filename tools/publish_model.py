"""Prepare a checkpoint for publication: only weights, the hash in the name, and a model card.

    python tools/publish_model.py work_dirs/cityscapes_1024/iter_80000.pth adventurer-base_city

The card says what the checkpoint and the result.json beside it say: network, normalisation,
classes, teacher, scores, how to load it; and what the runs that it started from have beside their
checkpoints, where these still are. What only a person can say is marked TO BE FILLED IN. It
names no folder and no file of this machine.
"""
from pathlib import Path

from mmvitlin.engine.publishing import publish
from mmvitlin.engine.runner.cli import Parser, friendly


@friendly
def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument('checkpoint')
    parser.add_argument('target', type=Path, help='name to write; -<hash>.pth and .md are appended')
    parser.add_argument('--license', '--licence', metavar='NAME',
                        help="of the weights, as Hugging Face abbreviates it, such as apache-2.0; "
                        'without it the card has a line to be filled in')
    args = parser.parse_args()
    before = set(args.target.parent.glob('*.md'))
    path = publish(args.checkpoint, args.target, args.license)
    card = path.with_suffix('.md')
    print(f'{path}: {path.stat().st_size / 2**20:.1f} MiB')
    print(f'{card}: ' + ('was there and stays as it is; remove it to have it written again'
                         if card in before else 'read it, and fill in what it asks for'))


if __name__ == '__main__':
    main()
