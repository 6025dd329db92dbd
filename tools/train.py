"""Train any config of mmvitlin, mmseg, mmdet or mmpretrain."""
import argparse

from mmvitlin.engine.cli import Parser, friendly
from mmvitlin.engine.config import ConfigOptions, load_config
from mmvitlin.engine.launch import local_rank_from, train


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument('config', help="config file, or 'mmseg::…' and the like")
    parser.add_argument('--work-dir', help='where logs and checkpoints go')
    parser.add_argument('--resume', nargs='?', const=True, default=False, metavar='CHECKPOINT',
                        help='go on from the newest checkpoint of the work directory, or this one')
    parser.add_argument('--amp', action='store_true', help='mixed precision: bfloat16, or '
                        'float16 on a GPU without it; float32 on a CPU without it')
    parser.add_argument('--seed', type=int, help='same as --cfg-options randomness.seed=N')
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
    if args.seed is not None:
        cfg.merge_from_dict({'randomness.seed': args.seed})
    train(cfg, resume=args.resume, amp=args.amp, launcher=args.launcher)


if __name__ == '__main__':
    main()
