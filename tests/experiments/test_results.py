"""Results over seeds: tables, and files of several calls in one."""
import copy
import csv
import io
import json
import runpy

import pytest

from mmvitlin.experiments.results import as_csv, as_markdown, join, read_results, summarise
from mmvitlin.experiments.stage_record import made_of
from mmvitlin.utils.errors import ConfigError
from tests.conftest import ROOT


def test_the_table_is_sorted_and_leaves_out_what_has_no_score():
    summary = dict(a=dict(mean=1., std=.5, values=[.5, 1.5], seeds=[3, 7], iterations=9,
                          seconds=3.),
                   b=dict(mean=2., std=0., values=[2.], seeds=[3], iterations=9, seconds=3.),
                   distill=dict(iterations=9, seconds=3.))
    lines = as_markdown(summary, 'mIoU').splitlines()
    assert lines[2:] == ['| b | 2.00 | 1 | 9 | 3 |', '| a | 1.00 ± 0.50 | 2 | 9 | 3 |']
    for loss in ('loss', 'decode.loss_ce', 'mask_loss'):  # the lowest is best
        assert as_markdown(summary, loss).splitlines()[2].startswith('| a |')
    rows = list(csv.reader(io.StringIO(as_csv(summary, 'mIoU'))))
    assert rows[1:] == [['a', '3', '0.5', '9', '3.0'], ['a', '7', '1.5', '9', '3.0'],
                        ['b', '3', '2.0', '9', '3.0']]


def file_of(*seeds, machine='a', **changes):
    runs = {str(s): {stage: dict(metrics={'mIoU': 30. + s}, iterations=9, seconds=1., seed=s)
                     for stage in ('teacher', 'student')} for s in seeds}
    return dict(recipe='configs/recipes/r.py', metric='mIoU', seeds=list(seeds), versions={},
                machine=machine, command=f'run {seeds}', runs=runs,
                made_of=dict(teacher='t', student='s')) | changes


def test_seeds_of_other_machines_join():
    first, second = file_of(2, machine='b'), file_of(0, machine='c')
    joined = join(file_of(1), {'x.json': first, 'y.json': second})
    assert joined['seeds'] == [0, 1, 2]
    assert list(joined['runs']) == ['0', '1', '2']
    assert joined['added'] == [
        dict(seeds=[2], command='run (2,)', versions={}, machine='b'),
        dict(seeds=[0], command='run (0,)', versions={}, machine='c')]
    assert summarise(joined['runs'])['student']['values'] == [30., 31., 32.]
    assert first == file_of(2, machine='b')  # as they were
    assert join(file_of(1), {'x': first | dict(note='By hand.')})['note'] == 'By hand.'
    again = join(file_of(1), {'out.json': joined})  # the same call, its own file added
    assert again == joined
    more = join(file_of(3), {'out.json': joined})
    assert more['seeds'] == [0, 1, 2, 3]
    assert [call['seeds'] for call in more['added']] == [[1], [2], [0]]


def test_seeds_of_two_precisions_are_one_row_that_says_so():
    stage = dict(config=dict(lr=1), amp='bfloat16', inputs={'k': 'digest'})
    assert made_of(stage) == made_of(stage | dict(amp=False))
    assert made_of(stage) != made_of(stage | dict(config=dict(lr=2)))
    joined = join(file_of(1), {'x': file_of(2)})
    for seed, precision in (('1', 'bfloat16'), ('2', 'float32')):
        joined['runs'][seed]['student']['precision'] = precision
    table = summarise(joined['runs'])
    assert table['student']['precision'] == 'bfloat16, float32'
    assert 'precision' not in table['teacher']


def test_a_single_results_file_stays_as_it_is():
    assert join(file_of(1, 0), {}) == file_of(1, 0) | dict(seeds=[0, 1])


def test_a_row_is_of_the_seeds_that_have_it():
    other = file_of(2)
    del other['runs']['2']['student']
    joined = join(file_of(1), {'x': other})
    assert list(joined['runs']['1']) == ['teacher', 'student']
    assert {k: row['seeds'] for k, row in summarise(joined['runs']).items()} == dict(
        teacher=[1, 2], student=[1])
    assert summarise(joined['runs'])['student']['incomplete']
    filled = join(file_of(2), {'x': joined})
    assert summarise(filled['runs'])['student']['seeds'] == [1, 2]
    assert 'incomplete' not in summarise(filled['runs'])['student']


def test_stages_of_one_seed_made_by_two_calls_are_both_recorded():
    later, first = file_of(1, machine='b'), file_of(1)
    del later['runs']['1']['teacher']
    joined = join(later, {'out.json': first})
    assert list(joined['runs']['1']) == ['teacher', 'student']
    assert (joined['machine'], [call['machine'] for call in joined['added']]) == ('b', ['a'])


@pytest.mark.parametrize(('changes', 'words'), [
    (dict(recipe='configs/recipes/q.py'), 'x.json holds results of configs/recipes/q.py, not of'),
    (dict(made_of=dict(teacher='t', student='other')), 'x.json: student ran with another config'),
])
def test_what_is_no_part_of_the_table_is_refused(changes, words):
    with pytest.raises(ConfigError, match=words):
        join(file_of(1), {'x.json': file_of(2, **changes)})


def test_two_runs_of_a_seed_and_files_that_say_too_little_are_refused(tmp_path):
    other = copy.deepcopy(file_of(1))
    other['runs']['1']['student']['metrics']['mIoU'] = 50.
    with pytest.raises(ConfigError, match='another run of seed 1'):
        join(file_of(1), {'x.json': other})
    old = file_of(2)
    del old['made_of']
    with pytest.raises(ConfigError, match='does not say what its stages were made with'):
        join(file_of(1), {'x.json': old})
    for content, words in (('[]', 'is no results file'), ('{"recipe": "r"}', "has no .'command'"),
                           ('{', 'is no results file')):
        (tmp_path / 'x.json').write_text(content)
        with pytest.raises(ConfigError, match=words):
            read_results(tmp_path / 'x.json')
    with pytest.raises(ConfigError, match='no results file at .*nowhere'):
        read_results(tmp_path / 'nowhere')


def test_a_shared_run_counts_once_and_those_of_two_machines_twice():
    runs = file_of(1, 2)['runs']
    runs['1']['teacher'] = runs['2']['teacher'] = dict(metrics={'mIoU': 9.}, iterations=9,
                                                       seconds=1.)
    assert summarise(runs, shared=['teacher'])['teacher']['values'] == [9.]
    runs['2']['teacher'] = dict(runs['1']['teacher'], metrics={'mIoU': 10.})
    assert summarise(runs, shared=['teacher'])['teacher']['values'] == [9., 10.]
    runs = {'0': {'teacher': dict(metrics={}, train={'loss': 1.7964}, iterations=1, seconds=1)}}
    assert summarise(runs, 'loss')['teacher']['values'] == [1.7964]


def test_the_tool_joins_and_loses_no_seed(tmp_path, monkeypatch, capsys):
    from mmvitlin.experiments import recipe, running

    def run(command, log, *_):
        log.parent.mkdir(parents=True, exist_ok=True)
        seed = int(command[command.index('--seed') + 1])
        (log.parent / 'result.json').write_text(json.dumps(
            dict(metrics={'mIoU': 30. + seed}, iterations=9, seconds=1.5)))
        return 0, ''

    monkeypatch.setattr(running, 'run_logged', run)
    monkeypatch.setattr(recipe, 'refuse_absent', lambda stages: None)
    (tmp_path / 'r.py').write_text("stages = [dict(name='a', config='a.py')]")
    main = runpy.run_path(str(ROOT / 'tools' / 'run_recipe.py'))['main']
    out = tmp_path / 'out.json'

    def call(work_dir, *options):
        monkeypatch.setattr('sys.argv', ['r', str(tmp_path / 'r.py'), '--out', str(out),
                                         '--work-dir', str(tmp_path / work_dir), *options])
        main()

    call('one', '--seeds', '0', '1')
    call('one', '--seeds', '0', '1', '2')  # more seeds: nothing is lost
    with pytest.raises(SystemExit):
        call('two', '--seeds', '5')
    assert f'holds seeds [0, 1, 2], which would be lost; keep them with --add {out}' in \
        capsys.readouterr().err
    assert not (tmp_path / 'two').exists()  # said before anything runs
    monkeypatch.setattr('sys.argv', ['r', str(tmp_path / 'r.py'), '--work-dir',
                                     str(tmp_path / 'one'), '--seeds', '0', '1'])
    main()
    monkeypatch.setattr('sys.argv', ['r', str(tmp_path / 'r.py'), '--work-dir',
                                     str(tmp_path / 'one'), '--seeds', '2'])
    with pytest.raises(SystemExit):  # of the file that it writes by itself, too
        main()
    assert 'or --seeds 0 1 2, of which finished runs are not run again' in capsys.readouterr().err
    (tmp_path / 'one' / 'r.json').write_text('{')  # made anew, of its runs
    main()
    (tmp_path / 'r.py').write_text("stages = [dict(name='b', config='a.py')]")
    main()  # another table of the same name: its runs are other ones
    (tmp_path / 'r.py').write_text("stages = [dict(name='a', config='a.py')]")
    for _ in range(2):
        call('two', '--seeds', '5', '--add', str(out))
        assert json.loads(out.read_text())['stages']['a']['values'] == [30., 31., 32., 35.]
    with pytest.raises(SystemExit):
        call('three', '--seeds', '6', '--add', str(out), '--cfg-options', 'max_iters=3')
    assert 'a ran with another config or other options' in capsys.readouterr().err
    assert not (tmp_path / 'three').exists()
