"""Recipes that are run: what is refused, what is skipped, how seeds are gathered."""
import argparse
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from mmvitlin.engine.runner.options import ConfigOptions
from mmvitlin.experiments import recipe, running, stage_record
from mmvitlin.experiments.results import summarise
from mmvitlin.experiments.sweep import sweep_stages
from mmvitlin.utils.errors import ConfigError
from tests.experiments.conftest import TWO


def test_stages_feed_each_other_and_are_not_repeated(stages, ran, tmp_path):
    commands, _ = ran
    results = running.run_recipe(stages, tmp_path / 'w', seeds=(2, ), options={'data_root': 'd'},
                                amp=True)[2]
    assert list(results) == ['a', 'b', 'c']
    assert f'model.checkpoint={tmp_path}/w/seed2/a/student.pth' in commands[1]
    assert all('data_root=d' in c and '--amp' in c for c in commands)
    running.run_recipe(stages, tmp_path / 'w', seeds=(2, ), options={'data_root': 'd'}, amp=True)
    assert len(commands) == 3


def test_processes_share_a_work_directory(stages, ran, tmp_path, monkeypatch, capsys):
    """What another one runs is waited for; what it leaves undone is done."""
    commands, (lock, naps) = ran[0], (FileLock(tmp_path / 'seed0' / 'a' / '.lock'), [])
    (tmp_path / 'seed0' / 'a').mkdir(parents=True)
    lock.acquire()

    def nap(seconds):
        naps.append(seconds)
        if len(naps) == 3:  # the other process ends
            log = tmp_path / 'seed0' / 'a' / 'train.log'
            running.run_logged(['r', '--seed', '0'], log, '', 1, None)
            lock.release()

    monkeypatch.setattr(running.time, 'sleep', nap)
    assert list(running.run_recipe(stages, tmp_path)[0]) == ['a', 'b', 'c']
    actual = [Path(c[c.index('--work-dir') + 1]).name for c in commands if '--work-dir' in c]
    assert actual == ['c', 'b']
    assert capsys.readouterr().out.count('is being run by another process') == 1
    (tmp_path / 'seed0' / 'c' / 'result.json').unlink()
    lock = FileLock(tmp_path / 'seed0' / 'c' / '.lock')
    lock.acquire()
    monkeypatch.setattr(running.time, 'sleep', lambda _: lock.release())
    assert 'c' in running.run_recipe(stages, tmp_path)[0]
    assert len(commands) == 4


def test_a_stage_that_was_run_with_other_settings_is_no_row_of_this_table(stages, ran, tmp_path,
                                                                          capsys):
    commands, _ = ran
    running.run_recipe(stages, tmp_path, options={'data_root': 'd'})
    assert 'taken for the same data' not in capsys.readouterr().out
    running.run_recipe(stages, tmp_path, options={'data_root': 'moved'})  # no other data
    assert 'on the data in d, and data_root is moved now' in capsys.readouterr().out
    for changed, message in ((dict(amp=True), 'amp;'),
                             (dict(options={'max_iters': 7}), r'config \(max_iters\);')):
        with pytest.raises(ConfigError, match=f"'a' in .*a was run with another {message}"):
            running.run_recipe(stages, tmp_path, **changed)
    student = tmp_path / 'seed0' / 'a' / 'student.pth'
    student.write_bytes(b'of another run')
    with pytest.raises(ConfigError, match="stage 'b' in .* was run with another inputs"):
        running.run_recipe(stages, tmp_path, options={'data_root': 'd'})
    assert len(commands) == 3


def test_data_that_a_stage_names_itself_are_a_part_of_it(ran, tmp_path):
    commands, _ = ran
    for root in ('drawn', 'real'):
        stage = recipe.Stage(name='a', config='c.py', options={'data_root': root})
        if root == 'real':
            with pytest.raises(ConfigError, match="'a' in .*a was run with another data;"):
                running.run_recipe([stage], tmp_path)
        else:
            running.run_recipe([stage], tmp_path)
    assert len(commands) == 1
    assert 'data_root=drawn' in commands[0]


def test_a_config_may_change_what_the_options_say_anyway(ran, tmp_path):
    config, commands = tmp_path / 'c.py', ran[0]
    config.write_text('optimizer = dict(lr=1e-3)')
    stages = [recipe.Stage(name='a', config=str(config), options={'optimizer.lr': 1e-2})]
    running.run_recipe(stages, tmp_path / 'w')
    config.write_text('optimizer = dict(lr=3e-3)')  # the search's best; the options overrule it
    running.run_recipe(stages, tmp_path / 'w')
    assert len(commands) == 1
    config.write_text('optimizer = dict(lr=1e-2)')
    running.run_recipe([replace(stages[0], options={})], tmp_path / 'w')  # the same again
    assert len(commands) == 1
    config.write_text('optimizer = dict(lr=3e-3)')
    with pytest.raises(ConfigError, match=r"'a' in .* another config \(optimizer.lr\); give"):
        running.run_recipe([replace(stages[0], options={})], tmp_path / 'w')


def test_mixed_precision_is_what_it_means_on_the_machine(stages, ran, tmp_path, monkeypatch):
    running.run_recipe(stages, tmp_path, amp=True)
    monkeypatch.setattr(stage_record, 'half_dtype', lambda: torch.float16)
    with pytest.raises(ConfigError, match='another amp'):
        running.run_recipe(stages, tmp_path, amp=True)
    monkeypatch.setattr(stage_record, 'half_dtype', lambda: None)
    running.run_recipe(stages, tmp_path / 'w', amp=True)
    running.run_recipe(stages, tmp_path / 'w')  # float32 either way


def test_each_seed_takes_its_own_value(ran, tmp_path):
    commands, _ = ran
    stage = recipe.Stage('a', 'a.py', options={'k': 1}, by_seed={'frames': [[0, 2], [1, 3]]})
    running.run_recipe([stage], tmp_path, (0, 1, 2))
    assert [[text for text in c if '=' in text] for c in commands] == [
        ['k=1', 'frames=[0, 2]'], ['k=1', 'frames=[1, 3]'], ['k=1', 'frames=[0, 2]']]
    of_seed = [stage_record.record_of(tmp_path / f'seed{n}' / 'a') for n in (0, 1)]
    assert stage_record.made_of(of_seed[0]) == stage_record.made_of(of_seed[1])
    running.run_recipe([stage], tmp_path, (0, 1, 2))
    for other in (replace(stage, by_seed={'frames': [[0, 2], [1, 5]]}),
                  replace(stage, by_seed={})):
        with pytest.raises(ConfigError, match="'a' in .*seed1.* was run with another by_seed"):
            running.run_recipe([other], tmp_path, (1, ))


def test_dependents_of_a_repeated_stage_are_compared_with_it(stages, ran, tmp_path):
    commands, _ = ran
    chain = [*stages[:2], recipe.Stage('d', 'd.py', inputs={'k': 'b'})]
    running.run_recipe(chain[:2], tmp_path)
    shutil.rmtree(tmp_path / 'seed0' / 'a')
    changed = [replace(chain[0], options={'lr': 2}), *chain[1:]]
    with pytest.raises(ConfigError, match=r"stage 'b' in .* another inputs \(model.checkpoint\)"):
        running.run_recipe(changed, tmp_path)
    names = [c[c.index('--work-dir') + 1].rsplit('/', 1)[-1] for c in commands]
    assert names == ['a', 'b', 'a']  # d waited for a, through b


def test_a_done_stage_whose_input_is_gone_is_taken(stages, ran, tmp_path):
    running.run_recipe(stages, tmp_path)
    (tmp_path / 'seed0' / 'a' / 'student.pth').unlink()
    assert list(running.run_recipe(stages, tmp_path)[0]) == ['a', 'b', 'c']


@pytest.mark.parametrize(('before', 'now'), [({}, {'k': 'a'}), ({'k': 'a'}, {})])
def test_an_input_that_a_done_stage_did_not_have(ran, tmp_path, before, now):
    a = recipe.Stage('a', 'a.py')
    running.run_recipe([a, recipe.Stage('b', 'b.py', inputs=before)], tmp_path)
    with pytest.raises(ConfigError, match=r"stage 'b' in .* another inputs \(k\)"):
        running.run_recipe([a, recipe.Stage('b', 'b.py', inputs=now)], tmp_path)


def test_stages_that_are_not_selected_are_compared_too(stages, ran, tmp_path):
    commands, _ = ran
    running.run_recipe(stages, tmp_path, only=['a'], amp=True)
    for other in ('b', 'c'):  # one that stands on it, and one that shares its table
        with pytest.raises(ConfigError, match="stage 'a' in .* was run with another amp"):
            running.run_recipe(stages, tmp_path, only=[other])
    assert len(commands) == 1


def test_the_seed_is_no_option(stages, ran, tmp_path):
    with pytest.raises(ConfigError, match='randomness.seed, which --seeds overwrites; give'):
        running.run_recipe(stages, tmp_path, options={'randomness.seed': 3})
    points = sweep_stages(['c.py'], {'randomness.seed': [0, 1]})
    with pytest.raises(ConfigError, match='randomness.seed, which --seeds overwrites; give'):
        running.run_recipe(points, tmp_path)
    assert not ran[0]


def test_results_are_those_of_every_call(stages, ran, tmp_path):
    running.run_recipe(stages, tmp_path, (0, 1), only=['a', 'b'])
    assert list(running.run_recipe(stages, tmp_path, (0, ), only=['c'])[0]) == ['c']
    assert list(running.finished(stages, tmp_path, (0, ))[0]) == ['a', 'b', 'c']
    both = running.finished(stages, tmp_path, (0, 1))
    assert [list(run) for run in both.values()] == [['a', 'b', 'c'], ['a', 'b']]
    assert [row['seeds'] for row in summarise(both).values() if 'seeds' in row] == [[0, 1], [0]]


def test_what_is_known_is_not_run_again_unless_a_stage_needs_it(stages, ran, tmp_path):
    running.run_recipe(stages, tmp_path, (0, 1), known={0: {'a', 'b', 'c'}, 1: {'a', 'c'}})
    assert [list(run) for run in running.finished(stages, tmp_path, (0, 1)).values()] == [
        [], ['a', 'b']]


def test_a_stage_for_the_first_seeds_only(ran, tmp_path):
    (tmp_path / 'r.py').write_text(TWO.replace("config='c.py'", "config='c.py', seeds=1"))
    runs = running.run_recipe(recipe.load_recipe(tmp_path / 'r.py'), tmp_path, (3, 4))
    assert [list(run) for run in runs.values()] == [['a', 'b', 'c'], ['a', 'b']]


def test_a_stage_that_the_others_wait_for_has_the_whole_machine(stages, ran, tmp_path):
    share = max(os.cpu_count() // 2, 1)
    running.run_recipe(stages[:2], tmp_path / '1', jobs=2)
    assert ran[1].threads == {'a': None, 'b': None}
    running.run_recipe(stages, tmp_path / '2', jobs=2)  # c starts beside a
    assert (ran[1].threads['a'], ran[1].threads['c']) == (share, share)


def test_side_by_side_no_stage_starts_before_its_inputs(stages, ran, tmp_path):
    commands, _ = ran
    results = running.run_recipe(stages, tmp_path, jobs=2)[0]
    names = [c[c.index('--work-dir') + 1].rsplit('/', 1)[-1] for c in commands]
    assert sorted(names) == list(results) == ['a', 'b', 'c']
    assert names.index('a') < names.index('b')


@pytest.mark.parametrize('jobs', [1, 2])
def test_a_failed_stage_is_named_and_taken_up_again(jobs, stages, ran, tmp_path):
    """What does not stand on it is run first."""
    commands, run = ran
    run.failing['b'] = 3
    chain = [*stages[:2], recipe.Stage('d', 'd.py', inputs={'k': 'b'}),
             recipe.Stage('e', 'e.py', inputs={'k': 'd'}), stages[2]]
    with pytest.raises(ConfigError, match="stage 'b' ended with status 3.*disk is full.*continues"):
        running.run_recipe(chain, tmp_path, jobs=jobs)
    assert list(running.finished(chain, tmp_path, (0, ))[0]) == ['a', 'c']
    run.failing.clear()
    running.run_recipe(chain, tmp_path)
    names = [c[c.index('--work-dir') + 1].rsplit('/', 1)[-1] for c in commands]
    assert sorted(names[:3]) == ['a', 'b', 'c']
    assert names[3:] == ['b', 'd', 'e']
    assert '--resume' in commands[3]


def test_every_failed_stage_is_named(stages, ran, tmp_path):
    ran[1].failing.update(a=3, c=4)
    with pytest.raises(ConfigError, match="'a' ended with status 3.*'c' ended with status 4"):
        running.run_recipe(stages, tmp_path)
    assert len(ran[0]) == 2


def test_seeds_are_gathered(stages, ran, tmp_path):
    runs = running.run_recipe(stages, tmp_path, (1, 2, 3))
    table = summarise(runs)
    assert table['b'] == dict(iterations=9, seconds=1.5, mean=32.0, std=1.0, values=[31., 32., 33.],
                              seeds=[1, 2, 3])
    assert 'mean' not in table['a']
    with pytest.raises(ConfigError, match=r"the metric 'miou'; give one of \['mIoU'\] as --metric"):
        summarise(runs, 'miou')


def test_seeds_run_side_by_side_and_a_shared_stage_once(ran, tmp_path):
    commands, _ = ran
    stages = [recipe.Stage('a', 'a.py', output='student.pth', shared=True),
              recipe.Stage('b', 'b.py', inputs={'k': 'a'})]
    runs = running.run_recipe(stages, tmp_path, (4, 5), jobs=3)
    assert [c[2] for c in commands] == ['a.py', 'b.py', 'b.py']
    assert all(f'k={tmp_path}/shared/a/student.pth' in c for c in commands[1:])
    assert {s: r['b']['metrics']['mIoU'] for s, r in runs.items()} == {4: 34., 5: 35.}


def test_a_recipe_works_in_a_folder_whose_name_has_blanks_and_commas(stages, ran, tmp_path):
    work = tmp_path / 'my runs, [new]'
    running.run_recipe(stages, work, options={'data_root': 'my data'})
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions)
    given = parser.parse_args(['--cfg-options', *(text for text in ran[0][1] if text.startswith(
        ('model.checkpoint', 'data_')))]).cfg_options
    assert given == {'data_root': 'my data',
                     'model.checkpoint': str(work / 'seed0' / 'a' / 'student.pth')}


@pytest.mark.parametrize('key', ['iterations', 'train_cfg.max_iters'])
def test_an_option_that_a_stage_sets_itself_is_refused(key, tmp_path, ran):
    (tmp_path / 'r.py').write_text("stages = [dict(name='a', config='a.py', "
                                   "options={'train_cfg.max_iters': 2000})]")
    with pytest.raises(ConfigError, match=f"--cfg-options {key}: stage 'a' of the recipe sets it"):
        running.run_recipe(recipe.load_recipe(tmp_path / 'r.py'), tmp_path, options={key: 2})
    assert not ran[0]
