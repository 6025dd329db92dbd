"""Recipes as they are read."""
from pathlib import Path

import pytest

from mmvitlin.engine.runner.config import load_config
from mmvitlin.experiments import recipe
from mmvitlin.utils.errors import ConfigError
from tests.conftest import ROOT
from tests.experiments.conftest import TWO
from tests.forked import python


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


def test_values_by_seed_are_lists(tmp_path):
    for arguments in ("by_seed={'k': []}", "by_seed={'k': [1]}, shared=True"):
        (tmp_path / 'r.py').write_text(f"stages = [dict(name='a', config='a.py', {arguments})]")
        with pytest.raises(ConfigError, match='by_seed needs a list'):
            recipe.load_recipe(tmp_path / 'r.py')


@pytest.mark.parametrize(('text', 'words'), [
    ('x = 1', 'has no stages'),
    ("stages = [dict(name='a', config='a.py', confg=1)]", "confg"),
    ("stages = [dict(name='a', config='a'), dict(name='a', config='b')]", "two stages are called"),
    ("stages = [dict(name='b', config='b.py', inputs={'k': 'a'})]", "no earlier stage"),
    ("stages = [dict(name='a', config='a.py')]; variants = dict(stage='a')",
     "must be dict.of=STAGE"),
    ("stages = [dict(name='a', config='a.py')]; variants = dict(of='a', options={'x': 1})",
     "must be dict.of=STAGE"),
    ("stages = [dict(name='a', config='a.py')]; variants = dict(of='b', options={'x': {}})",
     "r.py: variants are of the stage 'b'"),
])
def test_bad_recipes(tmp_path, text, words):
    (tmp_path / 'r.py').write_text(text)
    with pytest.raises(ConfigError, match=words):
        recipe.load_recipe(tmp_path / 'r.py')


def test_the_recipes_of_the_repository_name_existing_configs():
    result = sorted((ROOT / 'configs' / 'recipes').glob('*.py'))
    assert result
    seen = set()
    for path in result:
        for stage in recipe.load_recipe(path):
            assert (ROOT / stage.config).is_file(), stage.config
            if (stage.config, keys := frozenset(stage.options)) not in seen:
                load_config(stage.config, stage.options)  # refuses those that would change nothing
            seen.add((stage.config, keys))


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


def test_the_report_of_a_recipe(tmp_path):
    for path in (ROOT / 'configs' / 'recipes').glob('*.py'):
        if 'report = ' not in path.read_text():  # nothing to tell but its table
            continue
        report = recipe.load_report(path)
        assert report.student in report.rows
    (tmp_path / 'r.py').write_text(TWO + "\nreport = dict(title='t', teacher='a', student='x', "
                                   "unlabelled=[], rows=dict(b='b'))")
    with pytest.raises(ConfigError, match=r"report names \['x'\]"):
        recipe.load_report(tmp_path / 'r.py')
    (tmp_path / 'r.py').write_text(TWO)
    with pytest.raises(ConfigError, match='report: .*missing'):
        recipe.load_report(tmp_path / 'r.py')


def test_configs_are_looked_for_beside_the_recipe_before_anything_is_run(tmp_path, monkeypatch):
    (tmp_path / 'r' / 'own').mkdir(parents=True)
    (tmp_path / 'r' / 'own' / 'a.py').write_text(
        f"_base_ = '{ROOT}/configs/seg/fcn_vit-nano_camvid.py'\n")
    (tmp_path / 'r' / 'r.py').write_text(
        "stages = [dict(name='a', config='own/a.py'), dict(name='b', config='own/b.py')]\n")
    monkeypatch.chdir(tmp_path)
    a, b = recipe.load_recipe('r/r.py')
    assert a.config == str(Path('r') / 'own' / 'a.py')
    done = python(ROOT / 'tools/run_recipe.py', 'r/r.py', cwd=tmp_path)
    assert done.returncode == 2
    assert "stage 'b': there is no config at own/b.py" in done.stderr
    assert not (tmp_path / 'work_dirs').exists()
