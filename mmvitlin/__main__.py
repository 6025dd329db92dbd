"""``python -m mmvitlin TOOL …`` runs a tool, of a checkout or of an installed package."""
from __future__ import annotations

import ast
import difflib
import runpy
import sys
from pathlib import Path

from mmvitlin.utils.paths import folder

# they write files of the repository
_NOT_LISTED = ('make_config_readmes', 'make_recipe_table')


def main() -> None:
    """Run the tool that the first argument names."""
    tools = {path.stem: path for path in sorted(folder('tools').glob('*.py'))}
    name = sys.argv[1].removesuffix('.py') if len(sys.argv) > 1 else ''
    if name in ('', '-h', '--help'):
        print(overview(tools))
        return
    if name not in tools:
        near = difflib.get_close_matches(name, tools, 1)
        print(f"mmvitlin has no tool '{name}'" + f'; did you mean {near[0]}?' * bool(near)
              + f'\n\n{overview(tools)}', file=sys.stderr)
        sys.exit(2)
    sys.argv = [str(tools[name]), *sys.argv[2:]]
    runpy.run_path(sys.argv[0], run_name='__main__')


def overview(tools: dict[str, Path]) -> str:
    """A line for each tool, of the first line of its docstring; nothing is imported."""
    shown = [name for name in tools if name not in _NOT_LISTED]
    width = max(map(len, shown))
    lines = [f'  {name:<{width}}  {_first_line(tools[name])}' for name in shown]
    return '\n'.join(['usage: mmvitlin TOOL …, or python -m mmvitlin TOOL …; mmvitlin TOOL --help '
                      'has its arguments', '', *lines])


def _first_line(path: Path) -> str:
    words = ast.get_docstring(ast.parse(path.read_text(encoding='utf-8'))) or ''
    return words.partition('\n')[0].rstrip('.')


if __name__ == '__main__':
    main()
