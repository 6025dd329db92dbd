"""``python -m mmvitlin TOOL …`` runs a tool, of a checkout or of an installed package."""
from __future__ import annotations

import runpy
import sys

from mmvitlin.utils.paths import folder


def main() -> None:
    """Run the tool that the first argument names."""
    tools = {path.stem: path for path in sorted(folder('tools').glob('*.py'))}
    name = sys.argv[1].removesuffix('.py') if len(sys.argv) > 1 else ''
    if name not in tools:
        message = f"mmvitlin has no tool '{name}'; " if name not in ('', '-h', '--help') else ''
        print(f'{message}python -m mmvitlin TOOL …, where TOOL is one of:\n  '
              + '\n  '.join(tools), file=sys.stderr)
        sys.exit(2 if message else 0)
    sys.argv = [str(tools[name]), *sys.argv[2:]]
    runpy.run_path(sys.argv[0], run_name='__main__')


if __name__ == '__main__':
    main()
