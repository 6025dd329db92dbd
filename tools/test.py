"""Evaluate a checkpoint with the test set of any config."""
import argparse

from mmvitlin.engine.cli import Parser, friendly
from mmvitlin.engine.config import ConfigOptions, load_config
from mmvitlin.engine.launch import evaluate, local_rank_from


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint of the whole model')
    parser.add_argument('--work-dir', help='where the log and result.json go')
    parser.add_argument('--tta', action='store_true', help='average over scales and flips')
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions, default={},
                        metavar='KEY=VALUE',
                        help="override config keys; 'data_root=…' moves every data set")
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


@friendly
def main() -> None:
    args = parse_args()
    local_rank_from(args.local_rank)
    cfg = load_config(args.config, args.cfg_options, args.work_dir)
    evaluate(cfg, args.checkpoint, launcher=args.launcher, tta=args.tta)


if __name__ == '__main__':
    main()
