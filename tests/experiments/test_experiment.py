"""The tools that train many runs, and the files they leave."""
import json
import runpy
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.experiments.conftest import TWO


def test_the_metric_of_the_command_line(ran, tmp_path, monkeypatch, capsys):
    (tmp_path / 'r.py').write_text(TWO)
    main = runpy.run_path(str(ROOT / 'tools' / 'run_recipe.py'))['main']
    command = ['r', str(tmp_path / 'r.py'), '--work-dir', str(tmp_path / 'w')]
    monkeypatch.setattr('sys.argv', [*command, '--stages', 'a'])  # no stage has labels yet
    main()
    assert json.loads((tmp_path / 'w' / 'r.json').read_text())['metric'] == 'loss'
    monkeypatch.setattr('sys.argv', command)
    main()
    assert json.loads((tmp_path / 'w' / 'r.json').read_text())['metric'] == 'mIoU'
    assert 'b                        mIoU 30.00  ' in capsys.readouterr().out  # of one seed
    monkeypatch.setattr('sys.argv', [*command, '--metric', 'miou'])
    with pytest.raises(SystemExit):
        main()
    assert "give one of ['mIoU'] as --metric" in capsys.readouterr().err


def test_the_table_is_written_where_a_stage_failed(ran, tmp_path, monkeypatch, capsys):
    (tmp_path / 'r.py').write_text(TWO)
    main = runpy.run_path(str(ROOT / 'tools' / 'run_recipe.py'))['main']
    command = ['r', str(tmp_path / 'r.py'), '--work-dir', str(tmp_path / 'w'), '--seeds', '1', '2']
    monkeypatch.setattr('sys.argv', command)
    ran[1].failing['b'] = 3
    with pytest.raises(SystemExit):
        main()
    assert "stage 'b' ended with status 3" in capsys.readouterr().err
    results = json.loads((tmp_path / 'w' / 'r.json').read_text())
    assert (results['metric'], results['stages']['c']['values']) == ('mIoU', [31., 32.])
    assert 'b' not in results['stages']
    assert (tmp_path / 'w' / 'r.csv').read_text().splitlines()[1:] == [
        'c,1,31.0,9,1.5', 'c,2,32.0,9,1.5']


def test_a_later_call_adds_to_the_published_file(ran, tmp_path, monkeypatch):
    (tmp_path / 'r.py').write_text(TWO)
    main = runpy.run_path(str(ROOT / 'tools' / 'run_recipe.py'))['main']
    out = tmp_path / 'published.json'
    command = ['r', str(tmp_path / 'r.py'), '--out', str(out)]
    monkeypatch.setattr('sys.argv', [*command, '--work-dir', str(tmp_path / 'w'), '--stages', 'a',
                                     'c*'])
    main()
    first = json.loads(out.read_text())['runs']['0']
    del ran[0][:]
    # another machine, where no folder is: b needs the checkpoint of a, c is known
    monkeypatch.setattr('sys.argv', [*command, '--work-dir', str(tmp_path / 'x'), '--add',
                                     str(out)])
    for _ in range(2):
        main()
        assert [Path(c[c.index('--work-dir') + 1]).name for c in ran[0]] == ['a', 'b']
        results = json.loads(out.read_text())
        assert {k: results['runs']['0'][k] for k in 'ac'} == {k: first[k] for k in 'ac'}
        assert set(results['stages']) == set('abc')
