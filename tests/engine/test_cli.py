"""What command lines share: help texts, one line for a mistake."""
import runpy
from pathlib import Path

import pytest

from mmvitlin.engine.cli import Parser
from tests.conftest import ROOT

TOOLS = sorted((ROOT / 'tools').glob('*.py'))


def test_help_tells_defaults_and_what_tools_share():
    parser = Parser(description='First line.\n\n    an example kept as it is')
    parser.add_argument('config')
    parser.add_argument('--device')
    parser.add_argument('--rounds', type=int, default=20, help='100%% of them')
    parser.add_argument('--scales', type=float, nargs='+', default=[0.5, 1.], help='factors')
    parser.add_argument('--out', type=Path, default=Path('a') / 'b')
    parser.add_argument('--amp', action='store_true', help='half precision')
    parser.add_argument('--size', default=3, help='pixels (default: three)')
    told = ' '.join(parser.format_help().split())
    for text in ('an example kept as it is', 'config file, or mmvitlin::',
                 '--device DEVICE such as cpu or cuda:1; a GPU where there is one --rounds',
                 '100% of them (default: 20)', 'factors (default: 0.5 1.0)', 'write (default: a/b)',
                 '--amp half precision --size', 'pixels (default: three)'):
        assert text in told
    assert told.count('default') == 4


@pytest.mark.parametrize('tool', TOOLS, ids=lambda t: t.stem)
def test_every_argument_of_every_tool_is_explained(tool, monkeypatch, capsys):
    seen = []
    original = Parser.add_argument

    def noted(self, *names, **kwargs):
        action = original(self, *names, **kwargs)
        seen.append((names[0], action.help))
        return action

    monkeypatch.setattr(Parser, 'add_argument', noted)
    monkeypatch.setattr('sys.argv', [tool.name, '--help'])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(tool), run_name='__main__')
    assert end.value.code == 0
    assert 'usage:' in capsys.readouterr().out
    assert [name for name, told in seen if not told] == []
