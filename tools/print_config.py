"""Print a config with everything it inherits, after the options of a run are applied.

Configs are Python, and reading one executes it. --no-exec prints the files of the chain as they
are, base by base, and runs nothing.
"""

from mmvitlin.engine.runner.cli import Parser, friendly
from mmvitlin.engine.runner.config import load_config
from mmvitlin.engine.runner.config_source import chain
from mmvitlin.engine.runner.options import add_run_options
from mmvitlin.engine.runner.run_options import apply_options


@friendly
def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument('config', help="config file, or 'mmseg::…' and the like")
    parser.add_argument('--no-exec', action='store_true', help='show the sources, run nothing')
    add_run_options(parser)
    args = parser.parse_args()
    if args.no_exec:
        for path, text in chain(args.config):
            print(f'# ---- {path}\n{text}')
        return
    cfg = load_config(args.config, args.cfg_options, args.work_dir)
    if args.seed is not None:
        cfg.merge_from_dict({'randomness.seed': args.seed})
    apply_options(cfg, resume=args.resume, amp=args.amp, launcher=args.launcher)
    print(cfg.pretty_text)


if __name__ == '__main__':
    main()
