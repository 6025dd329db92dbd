"""Train any config of mmvitlin, mmseg, mmdet or mmpretrain."""
import argparse

from mmvitlin.utils.environment import short_openmp_spin

short_openmp_spin()

from mmvitlin.engine.runner.cli import Parser, friendly
from mmvitlin.engine.runner.config import load_config
from mmvitlin.engine.runner.launch import local_rank_from, train
from mmvitlin.engine.runner.options import add_run_options


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument('config', help="config file, or 'mmseg::…' and the like")
    add_run_options(parser)
    parser.add_argument('--local_rank', '--local-rank', type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


@friendly
def main() -> None:
    args = parse_args()
    local_rank_from(args.local_rank)
    cfg = load_config(args.config, args.cfg_options, args.work_dir)
    if args.seed is not None:
        cfg.merge_from_dict({'randomness.seed': args.seed})
    train(cfg, resume=args.resume, amp=args.amp, launcher=args.launcher)


if __name__ == '__main__':
    main()
