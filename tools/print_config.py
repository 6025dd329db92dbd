"""Print a config with everything it inherits.

Configs are Python, and reading one executes it. --no-exec prints the files of the chain as they
are, base by base, and runs nothing.
"""

from mmvitlin.engine.cli import Parser, friendly
from mmvitlin.engine.config import ConfigOptions, load_config
from mmvitlin.engine.config_source import chain


@friendly
def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument('config')
    parser.add_argument('--no-exec', action='store_true', help='show the sources, run nothing')
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions, default={},
                        metavar='KEY=VALUE')
    args = parser.parse_args()
    if args.no_exec:
        for path, text in chain(args.config):
            print(f'# ---- {path}\n{text}')
    else:
        print(load_config(args.config, args.cfg_options).pretty_text)


if __name__ == '__main__':
    main()
