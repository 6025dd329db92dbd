"""Evaluate a checkpoint with the test set of any config, or write files for a test server.

    python tools/test.py CONFIG CHECKPOINT
    python tools/test.py CONFIG CHECKPOINT --submit cityscapes DIR
    python tools/test.py CONFIG CHECKPOINT --submit ade20k DIR

--submit predicts the test images, which need no labels, and writes one PNG for each into DIR, to be
zipped and uploaded: label ids for Cityscapes (images in leftImg8bit/test of the data root), 1 to
150 for ADE20K (in release_test/testing beside the data root); images elsewhere: --cfg-options
test_dataloader.dataset.data_prefix.img_path=FOLDER. Classes are matched by their names.
"""
import argparse

from mmvitlin.utils.environment import short_openmp_spin

short_openmp_spin()

from mmvitlin.engine.runner.cli import Parser, friendly
from mmvitlin.engine.runner.config import load_config
from mmvitlin.engine.runner.launch import evaluate, local_rank_from
from mmvitlin.engine.runner.options import ConfigOptions
from mmvitlin.evaluation.submission import prepare_submission


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint of the whole model')
    parser.add_argument('--work-dir', help='where the log and result.json go')
    parser.add_argument('--tta', action='store_true', help='average over scales and flips')
    parser.add_argument('--submit', nargs=2, metavar=('SERVER', 'DIR'), help='write what the test '
                        'server of cityscapes or ade20k takes into an empty folder')
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
    if args.submit:
        prepare_submission(cfg, *args.submit)
    evaluate(cfg, args.checkpoint, launcher=args.launcher, tta=args.tta)


if __name__ == '__main__':
    main()
