"""Recipes: what is refused, what is skipped, how seeds are gathered."""
import json
import os
import runpy
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from mmvitlin.engine import recipe, stage_record
from mmvitlin.engine.config import load_config
from mmvitlin.engine.results import summarise
from mmvitlin.engine.stage_process import Gpus, run_logged
from mmvitlin.engine.sweep import sweep_stages
from mmvitlin.errors import ConfigError
from tests.conftest import ROOT

TWO = ("stages = [dict(name='a', config='a.py', output='student.pth'),\n"
       "          dict(name='b', config='b.py', inputs={'model.checkpoint': 'a'}),\n"
       "          dict(name='c', config='c.py')]")


@pytest.fixture
def stages(tmp_path):
    (tmp_path / 'r.py').write_text(TWO)
    return recipe.load_recipe(tmp_path / 'r.py')


@pytest.fixture
def ran(monkeypatch):
    """Replaces training: writes what a run writes, or fails where told to."""
    commands = []

    def run(command, log, name, threads, children, gpu=None):
        commands.append(command)
        run.gpus[log.parent.name] = gpu
        run.threads[log.parent.name] = threads
        folder = log.parent
        status = run.failing.get(folder.name, 0)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / 'last_checkpoint').write_text(str(folder / 'iter_9.pth'))
        (folder / 'iter_9.pth').write_text('weights')
        (folder / 'student.pth').write_text(f'weights by {command}')
        if not status:
            seed = int(command[command.index('--seed') + 1])
            metrics = {} if folder.name == 'a' else {'mIoU': 30. + seed}
            (folder / 'result.json').write_text(json.dumps(
                dict(metrics=metrics, iterations=9, seconds=1.5)))
        return status, 'error: the disk is full'

    run.failing, run.threads, run.gpus = {}, {}, {}
    monkeypatch.setattr(recipe, 'run_logged', run)
    monkeypatch.setattr(stage_record, 'half_dtype', lambda: torch.bfloat16)
    return commands, run


def test_stages_feed_each_other_and_are_not_repeated(stages, ran, tmp_path):
    commands, _ = ran
    results = recipe.run_recipe(stages, tmp_path / 'w', seeds=(2, ), options={'data_root': 'd'},
                                amp=True)[2]
    assert list(results) == ['a', 'b', 'c']
    assert f'model.checkpoint={tmp_path}/w/seed2/a/student.pth' in commands[1]
    assert all('data_root=d' in c and '--amp' in c for c in commands)
    recipe.run_recipe(stages, tmp_path / 'w', seeds=(2, ), options={'data_root': 'd'}, amp=True)
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
            recipe.run_logged(['r', '--seed', '0'], log, '', 1, None)
            lock.release()

    monkeypatch.setattr(recipe.time, 'sleep', nap)
    assert list(recipe.run_recipe(stages, tmp_path)[0]) == ['a', 'b', 'c']
    ours = [Path(c[c.index('--work-dir') + 1]).name for c in commands if '--work-dir' in c]
    assert ours == ['c', 'b']
    assert capsys.readouterr().out.count('is being run by another process') == 1
    (tmp_path / 'seed0' / 'c' / 'result.json').unlink()
    lock = FileLock(tmp_path / 'seed0' / 'c' / '.lock')
    lock.acquire()
    monkeypatch.setattr(recipe.time, 'sleep', lambda _: lock.release())
    assert 'c' in recipe.run_recipe(stages, tmp_path)[0]
    assert len(commands) == 4


def test_a_stage_that_was_run_with_other_settings_is_no_row_of_this_table(stages, ran, tmp_path):
    commands, _ = ran
    recipe.run_recipe(stages, tmp_path, options={'data_root': 'd'})
    recipe.run_recipe(stages, tmp_path, options={'data_root': 'moved'})  # no other data
    for changed, told in ((dict(amp=True), 'amp;'),
                          (dict(options={'max_iters': 7}), r'config \(max_iters\);')):
        with pytest.raises(ConfigError, match=f"'a' in .*a was run with another {told}"):
            recipe.run_recipe(stages, tmp_path, **changed)
    student = tmp_path / 'seed0' / 'a' / 'student.pth'
    student.write_bytes(b'of another run')
    with pytest.raises(ConfigError, match="stage 'b' in .* was run with another inputs"):
        recipe.run_recipe(stages, tmp_path, options={'data_root': 'd'})
    assert len(commands) == 3


def test_a_config_may_change_what_the_options_say_anyway(ran, tmp_path):
    config, commands = tmp_path / 'c.py', ran[0]
    config.write_text('optimizer = dict(lr=1e-3)')
    stages = [recipe.Stage(name='a', config=str(config), options={'optimizer.lr': 1e-2})]
    recipe.run_recipe(stages, tmp_path / 'w')
    config.write_text('optimizer = dict(lr=3e-3)')  # the search's best; the options overrule it
    recipe.run_recipe(stages, tmp_path / 'w')
    assert len(commands) == 1
    config.write_text('optimizer = dict(lr=1e-2)')
    recipe.run_recipe([replace(stages[0], options={})], tmp_path / 'w')  # the same again
    assert len(commands) == 1
    config.write_text('optimizer = dict(lr=3e-3)')
    with pytest.raises(ConfigError, match=r"'a' in .* another config \(optimizer.lr\); give"):
        recipe.run_recipe([replace(stages[0], options={})], tmp_path / 'w')


def test_mixed_precision_is_what_it_means_on_the_machine(stages, ran, tmp_path, monkeypatch):
    recipe.run_recipe(stages, tmp_path, amp=True)
    monkeypatch.setattr(stage_record, 'half_dtype', lambda: torch.float16)
    with pytest.raises(ConfigError, match='another amp'):
        recipe.run_recipe(stages, tmp_path, amp=True)
    monkeypatch.setattr(stage_record, 'half_dtype', lambda: None)
    recipe.run_recipe(stages, tmp_path / 'w', amp=True)
    recipe.run_recipe(stages, tmp_path / 'w')  # float32 either way


def test_each_seed_takes_its_own_value(ran, tmp_path):
    commands, _ = ran
    stage = recipe.Stage('a', 'a.py', options={'k': 1}, by_seed={'frames': [[0, 2], [1, 3]]})
    recipe.run_recipe([stage], tmp_path, (0, 1, 2))
    assert [[text for text in c if '=' in text] for c in commands] == [
        ['k=1', 'frames=[0, 2]'], ['k=1', 'frames=[1, 3]'], ['k=1', 'frames=[0, 2]']]
    of_seed = [stage_record.record_of(tmp_path / f'seed{n}' / 'a') for n in (0, 1)]
    assert stage_record.made_of(of_seed[0]) == stage_record.made_of(of_seed[1])
    recipe.run_recipe([stage], tmp_path, (0, 1, 2))
    for other in (replace(stage, by_seed={'frames': [[0, 2], [1, 5]]}),
                  replace(stage, by_seed={})):
        with pytest.raises(ConfigError, match="'a' in .*seed1.* was run with another by_seed"):
            recipe.run_recipe([other], tmp_path, (1, ))
    for told in ("by_seed={'k': []}", "by_seed={'k': [1]}, shared=True"):
        (tmp_path / 'r.py').write_text(f"stages = [dict(name='a', config='a.py', {told})]")
        with pytest.raises(ConfigError, match='by_seed needs a list'):
            recipe.load_recipe(tmp_path / 'r.py')


def test_a_stage_says_for_how_many_iterations(tmp_path):
    (tmp_path / 'c.py').write_text(
        "train_cfg = dict(type='IterBasedTrainLoop', max_iters=400)\n"
        "randomness = dict(seed=0, diff_rank_seed=False)\n"
        "param_scheduler = [dict(type='LinearLR', begin=0, end=40),\n"
        "                   dict(type='CosineAnnealingLR', begin=40, end=400)]\n"
        "default_hooks = dict(checkpoint=dict(type='CheckpointHook', interval=400))\n")
    text = (f"dict(name='a', config='{tmp_path}/c.py', iterations=100, "
            "options={'randomness.diff_rank_seed': True})")
    (tmp_path / 'r.py').write_text(f'stages = [{text}]')
    (stage, ) = recipe.load_recipe(tmp_path / 'r.py')
    cfg = load_config(stage.config, stage.options)
    assert (cfg.train_cfg.max_iters, cfg.default_hooks.checkpoint.interval) == (100, 100)
    assert cfg.randomness.diff_rank_seed
    assert [(p.begin, p.end) for p in cfg.param_scheduler] == [(0, 10), (10, 100)]
    assert cfg.train_cfg.val_interval == 100
    (tmp_path / 'c.py').write_text('train_cfg = dict(max_epochs=3)')
    with pytest.raises(ConfigError, match='counts epochs'):
        recipe.load_recipe(tmp_path / 'r.py')


def test_what_stands_on_a_stage_that_had_to_run_again_is_compared_with_it(stages, ran, tmp_path):
    commands, _ = ran
    chain = [*stages[:2], recipe.Stage('d', 'd.py', inputs={'k': 'b'})]
    recipe.run_recipe(chain[:2], tmp_path)
    shutil.rmtree(tmp_path / 'seed0' / 'a')
    changed = [replace(chain[0], options={'lr': 2}), *chain[1:]]
    with pytest.raises(ConfigError, match=r"stage 'b' in .* another inputs \(model.checkpoint\)"):
        recipe.run_recipe(changed, tmp_path)
    names = [c[c.index('--work-dir') + 1].rsplit('/', 1)[-1] for c in commands]
    assert names == ['a', 'b', 'a']  # d waited for a, through b


def test_a_done_stage_whose_input_is_gone_is_taken(stages, ran, tmp_path):
    recipe.run_recipe(stages, tmp_path)
    (tmp_path / 'seed0' / 'a' / 'student.pth').unlink()
    assert list(recipe.run_recipe(stages, tmp_path)[0]) == ['a', 'b', 'c']


@pytest.mark.parametrize(('before', 'now'), [({}, {'k': 'a'}), ({'k': 'a'}, {})])
def test_an_input_that_a_done_stage_did_not_have(ran, tmp_path, before, now):
    a = recipe.Stage('a', 'a.py')
    recipe.run_recipe([a, recipe.Stage('b', 'b.py', inputs=before)], tmp_path)
    with pytest.raises(ConfigError, match=r"stage 'b' in .* another inputs \(k\)"):
        recipe.run_recipe([a, recipe.Stage('b', 'b.py', inputs=now)], tmp_path)


def test_stages_that_are_not_asked_for_are_compared_too(stages, ran, tmp_path):
    commands, _ = ran
    recipe.run_recipe(stages, tmp_path, only=['a'], amp=True)
    for other in ('b', 'c'):  # one that stands on it, and one that shares its table
        with pytest.raises(ConfigError, match="stage 'a' in .* was run with another amp"):
            recipe.run_recipe(stages, tmp_path, only=[other])
    assert len(commands) == 1


def test_the_seed_is_no_option(stages, ran, tmp_path):
    with pytest.raises(ConfigError, match='randomness.seed, which --seeds overwrites; give'):
        recipe.run_recipe(stages, tmp_path, options={'randomness.seed': 3})
    points = sweep_stages(['c.py'], {'randomness.seed': [0, 1]})
    with pytest.raises(ConfigError, match='randomness.seed, which --seeds overwrites; give'):
        recipe.run_recipe(points, tmp_path)
    assert not ran[0]


def test_results_are_those_of_every_call(stages, ran, tmp_path):
    recipe.run_recipe(stages, tmp_path, (0, 1), only=['a', 'b'])
    assert list(recipe.run_recipe(stages, tmp_path, (0, ), only=['c'])[0]) == ['c']
    assert list(recipe.finished(stages, tmp_path, (0, ))[0]) == ['a', 'b', 'c']
    both = recipe.finished(stages, tmp_path, (0, 1))
    assert [list(run) for run in both.values()] == [['a', 'b', 'c'], ['a', 'b']]
    assert list(summarise(both)) == ['a', 'b']  # what both seeds have


def test_what_a_stage_says_goes_to_its_log_and_its_progress_to_the_terminal(tmp_path, capsys):
    words = ('Iter(train) [ 50/400]  lr: 1e-3  eta: 0:01:02  time: 0.2  loss: 1.5  x: 2\n'
             'Iter(val) [3/3]    aAcc: 50.0  mIoU: 12.3\n')
    code = f'import sys; print({words!r}); print("error: no", file=sys.stderr); sys.exit(2)'
    status, last = recipe.run_logged([sys.executable, '-c', code], tmp_path / 'a' / 'train.log')
    assert (status, last) == (2, 'error: no')
    shown = capsys.readouterr().out
    assert '50/400 iterations, loss 1.5, 0:01:02 left' in shown
    assert 'mIoU: 12.3' in shown
    assert words in (tmp_path / 'a' / 'train.log').read_text()


def test_a_stage_that_the_others_wait_for_has_the_whole_machine(stages, ran, tmp_path):
    share = max(os.cpu_count() // 2, 1)
    recipe.run_recipe(stages[:2], tmp_path / '1', jobs=2)
    assert ran[1].threads == {'a': None, 'b': None}
    recipe.run_recipe(stages, tmp_path / '2', jobs=2)  # c starts beside a
    assert (ran[1].threads['a'], ran[1].threads['c']) == (share, share)


def test_stages_side_by_side_are_dealt_out_to_the_gpus(stages, ran, tmp_path, monkeypatch):
    recipe.run_recipe(stages, tmp_path / '1', jobs=2)
    assert set(ran[1].gpus.values()) == {None}
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '5, GPU-7')
    barrier, one_alone = threading.Barrier(2), ran[1]

    def together(command, log, *rest):
        barrier.wait(20)
        return one_alone(command, log, *rest)

    monkeypatch.setattr(recipe, 'run_logged', together)
    recipe.run_recipe([replace(s, inputs={}) for s in stages[:2]], tmp_path / '2', jobs=2)
    assert one_alone.gpus == {'a': '5', 'b': 'GPU-7', 'c': None}
    log = tmp_path / 'x' / 'train.log'
    seen = 'import os; print(os.environ.get("CUDA_VISIBLE_DEVICES"))'
    for gpu, told in (('3', '3'), (None, '5, GPU-7')):
        assert run_logged([sys.executable, '-c', seen], log, gpu=gpu) == (0, told)
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES')
    gpus, places = Gpus(), [Path(n) for n in 'abc']
    assert [gpus.take(place) for place in places] == ['0', '1', '0']
    gpus.leave(places[0])
    gpus.leave(places[2])
    assert gpus.take(places[0]) == '0'
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 1)
    assert Gpus().take(places[0]) is None


def test_side_by_side_no_stage_starts_before_its_inputs(stages, ran, tmp_path):
    commands, _ = ran
    results = recipe.run_recipe(stages, tmp_path, jobs=2)[0]
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
    with pytest.raises(ConfigError, match="stage 'b' ended with status 3.*disk is full.*goes on"):
        recipe.run_recipe(chain, tmp_path, jobs=jobs)
    assert list(recipe.finished(chain, tmp_path, (0, ))[0]) == ['a', 'c']
    run.failing.clear()
    recipe.run_recipe(chain, tmp_path)
    names = [c[c.index('--work-dir') + 1].rsplit('/', 1)[-1] for c in commands]
    assert sorted(names[:3]) == ['a', 'b', 'c']
    assert names[3:] == ['b', 'd', 'e']
    assert '--resume' in commands[3]


def test_every_failed_stage_is_named(stages, ran, tmp_path):
    ran[1].failing.update(a=3, c=4)
    with pytest.raises(ConfigError, match="'a' ended with status 3.*'c' ended with status 4"):
        recipe.run_recipe(stages, tmp_path)
    assert len(ran[0]) == 2


def test_no_stage_outlives_a_killed_recipe(tmp_path):
    child = f"import os, time; open(r'{tmp_path}/pid', 'w').write(str(os.getpid())); time.sleep(60)"
    script = (f'from mmvitlin.engine import recipe\nimport sys\n'
              f'recipe._command = lambda *a: [sys.executable, "-c", {child!r}]\n'
              f'recipe.run_recipe([recipe.Stage("a", "a.py")], r"{tmp_path}/w")')
    parent = subprocess.Popen([sys.executable, '-W', 'ignore', '-c', script])
    pid = tmp_path / 'pid'
    for _ in range(400):
        if pid.is_file() and pid.read_text():
            break
        time.sleep(0.1)
    parent.terminate()
    assert parent.wait(20) == 143
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_seeds_are_gathered(stages, ran, tmp_path):
    runs = recipe.run_recipe(stages, tmp_path, (1, 2, 3))
    table = summarise(runs)
    assert table['b'] == dict(iterations=9, seconds=1.5, mean=32.0, std=1.0, values=[31., 32., 33.],
                              seeds=[1, 2, 3])
    assert 'mean' not in table['a']
    with pytest.raises(ConfigError, match=r"the metric 'miou'; give one of \['mIoU'\] as --metric"):
        summarise(runs, 'miou')


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
    told = json.loads((tmp_path / 'w' / 'r.json').read_text())
    assert (told['metric'], told['stages']['c']['values']) == ('mIoU', [31., 32.])
    assert 'b' not in told['stages']
    assert (tmp_path / 'w' / 'r.csv').read_text().splitlines()[1:] == [
        'c,1,31.0,9,1.5', 'c,2,32.0,9,1.5']


def test_seeds_run_side_by_side_and_a_shared_stage_once(ran, tmp_path):
    commands, _ = ran
    stages = [recipe.Stage('a', 'a.py', output='student.pth', shared=True),
              recipe.Stage('b', 'b.py', inputs={'k': 'a'})]
    runs = recipe.run_recipe(stages, tmp_path, (4, 5), jobs=3)
    assert [c[2] for c in commands] == ['a.py', 'b.py', 'b.py']
    assert all(f'k={tmp_path}/shared/a/student.pth' in c for c in commands[1:])
    assert {s: r['b']['metrics']['mIoU'] for s, r in runs.items()} == {4: 34., 5: 35.}


@pytest.mark.parametrize(('text', 'words'), [
    ('x = 1', 'has no stages'),
    ("stages = [dict(name='a', config='a.py', confg=1)]", "confg"),
    ("stages = [dict(name='a', config='a'), dict(name='a', config='b')]", "two stages are called"),
    ("stages = [dict(name='b', config='b.py', inputs={'k': 'a'})]", "no earlier stage"),
])
def test_bad_recipes(tmp_path, text, words):
    (tmp_path / 'r.py').write_text(text)
    with pytest.raises(ConfigError, match=words):
        recipe.load_recipe(tmp_path / 'r.py')


def test_the_recipes_of_the_repository_name_existing_configs():
    found = sorted((ROOT / 'configs' / 'recipes').glob('*.py'))
    assert found
    for path in found:
        for stage in recipe.load_recipe(path):
            assert (ROOT / stage.config).is_file(), stage.config
            load_config(stage.config, stage.options)  # refuses those that would change nothing


def test_recipes_of_camvid_agree_on_the_stages_they_share():
    """Those of one size may run in one work directory, where a stage of another recipe is taken as
    done."""
    seen = {}
    for path in sorted((ROOT / 'configs' / 'recipes').glob('camvid_*.py')):
        stages = recipe.load_recipe(path)
        size = 'pico' if 'pico' in stages[0].config else 'nano'
        for stage in stages:
            assert seen.setdefault((size, stage.name), stage) == stage, f'{path.name}: {stage.name}'
    assert {('nano', 'distill'), ('nano', 'distilled'), ('pico', 'few_scratch'),
            ('pico', 'supervised'), ('nano', 'teacher'), ('pico', 'teacher')} <= seen.keys()


def test_a_recipe_of_the_package_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for stage in recipe.load_recipe('mmvitlin::recipes/streets_adala.py'):
        assert load_config(stage.config).work_dir.startswith('work_dirs/')
    assert recipe.load_report('mmvitlin::recipes/streets_adala.py').student == 'aligned'
    with pytest.raises(ConfigError, match='has no such config'):
        recipe.load_recipe('mmvitlin::recipes/none.py')


def test_what_a_recipe_tells_of_itself(tmp_path):
    for path in (ROOT / 'configs' / 'recipes').glob('*.py'):
        if 'report = ' not in path.read_text():  # nothing to tell but its table
            continue
        told = recipe.load_report(path)
        assert told.student in told.rows
    (tmp_path / 'r.py').write_text(TWO + "\nreport = dict(title='t', teacher='a', student='x', "
                                   "unlabelled=[], rows=dict(b='b'))")
    with pytest.raises(ConfigError, match=r"report speaks of \['x'\]"):
        recipe.load_report(tmp_path / 'r.py')
    (tmp_path / 'r.py').write_text(TWO)
    with pytest.raises(ConfigError, match='report: .*missing'):
        recipe.load_report(tmp_path / 'r.py')
