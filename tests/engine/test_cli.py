"""What command lines share: help texts, one line for a mistake."""
import runpy
from pathlib import Path

import pytest

from mmvitlin.engine.runner.cli import Parser, friendly
from mmvitlin.utils import environment
from mmvitlin.utils.errors import ConfigError
from tests.conftest import ROOT

TOOLS = sorted((ROOT / 'tools').glob('*.py'))


def test_help_shows_defaults_and_shared_options():
    parser = Parser(description='First line.\n\n    an example kept as it is')
    parser.add_argument('config')
    parser.add_argument('--device')
    parser.add_argument('--rounds', type=int, default=20, help='100%% of them')
    parser.add_argument('--scales', type=float, nargs='+', default=[0.5, 1.], help='factors')
    parser.add_argument('--out', type=Path, default=Path('a') / 'b')
    parser.add_argument('--amp', action='store_true', help='half precision')
    parser.add_argument('--size', default=3, help='pixels (default: three)')
    shown = ' '.join(parser.format_help().split())
    for text in ('an example kept as it is', 'config file, or mmvitlin::',
                 '--device DEVICE such as cpu or cuda:1; a GPU where there is one --rounds',
                 '100% of them (default: 20)', 'factors (default: 0.5 1.0)', 'write (default: a/b)',
                 '--amp half precision --size', 'pixels (default: three)'):
        assert text in shown
    assert shown.count('default') == 4


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
    assert [name for name, help_text in seen if not help_text] == []


@pytest.mark.parametrize('act', ['read', 'write', 'make'])
def test_a_file_in_the_place_of_a_folder_is_one_line(tmp_path, capsys, act):
    (tmp_path / 'a.txt').write_text('')

    @friendly
    def main():
        if act == 'read':
            tmp_path.read_text()
        elif act == 'write':
            (tmp_path / 'a.txt' / 'b.txt').write_text('')
        else:
            (tmp_path / 'a.txt').mkdir()

    with pytest.raises(SystemExit, match='2'):
        main()
    line, = capsys.readouterr().err.splitlines()
    assert line.startswith(f'error: {tmp_path}')
    assert 'Errno' not in line


def failing(error):
    @friendly
    def main():
        raise error
    return main


def test_of_several_processes_one_prints_an_error(tmp_path, capsys, monkeypatch):
    """Whatever ends the others: the same mistake, or that the first one left."""
    def ended(rank, error, attempt=0):
        monkeypatch.setenv('RANK', str(rank))
        monkeypatch.setenv('TORCHELASTIC_ERROR_FILE',
                           str(tmp_path / f'attempt_{attempt}' / str(rank) / 'error.json'))
        with pytest.raises(SystemExit) as end:
            failing(error)()
        return end.value.code, capsys.readouterr().err

    monkeypatch.setenv('WORLD_SIZE', '3')
    for attempt in (0, 1):  # torchrun starts anew
        (tmp_path / f'attempt_{attempt}').mkdir()
        assert ended(1, ConfigError('no folder'), attempt) == (2, 'error: no folder\n')
        assert ended(0, ConfigError('no folder'), attempt) == (2, '')
        assert ended(2, RuntimeError('connection closed by peer'), attempt) == (1, '')
    monkeypatch.setenv('WORLD_SIZE', '1')
    assert ended(0, ConfigError('no folder')) == (2, 'error: no folder\n')
    monkeypatch.setenv('WORLD_SIZE', '3')
    monkeypatch.delenv('TORCHELASTIC_ERROR_FILE')
    for _ in range(2):  # nothing tells the run
        with pytest.raises(SystemExit):
            failing(ConfigError('no folder'))()
        assert capsys.readouterr().err == 'error: no folder\n'
    with pytest.raises(RuntimeError, match='a fault'):
        failing(RuntimeError('a fault'))()


def test_slurm_steps_are_distinguished(tmp_path, monkeypatch):
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    for name in ('RANK', 'WORLD_SIZE', 'TORCHELASTIC_ERROR_FILE'):
        monkeypatch.delenv(name, raising=False)
    for name, value in (('PROCID', 1), ('NTASKS', 2), ('JOB_ID', 7), ('STEP_ID', 0)):
        monkeypatch.setenv(f'SLURM_{name}', str(value))
    assert environment.process() == (1, 2)
    assert environment.shared_file('a') == tmp_path / 'a-7-0'
    monkeypatch.delenv('SLURM_STEP_ID')  # a script's own processes have none
    assert environment.shared_file('a') is None
