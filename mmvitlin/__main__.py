"""``python -m mmvitlin TOOL …`` runs a tool, of a checkout or of an installed package."""
from __future__ import annotations

import runpy
import sys

from mmvitlin.utils.paths import folder


def main() -> None:
    """Run the tool that the first argument names."""
    tools = {path.stem: path for path in sorted(folder('tools').glob('*.py'))}
    wanted = sys.argv[1].removesuffix('.py') if len(sys.argv) > 1 else ''
    if wanted not in tools:
        told = f"mmvitlin has no tool '{wanted}'; " if wanted not in ('', '-h', '--help') else ''
        print(f'{told}python -m mmvitlin TOOL …, where TOOL is one of:\n  '
              + '\n  '.join(tools), file=sys.stderr)
        sys.exit(2 if told else 0)
    sys.argv = [str(tools[wanted]), *sys.argv[2:]]
    runpy.run_path(sys.argv[0], run_name='__main__')


if __name__ == '__main__':
    main()
