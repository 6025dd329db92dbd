"""Variants of a stage, points of a grid."""
import json
from pathlib import Path

import pytest

from mmvitlin.experiments import recipe
from mmvitlin.experiments.sweep import configs_of, expand, sweep_stages
from mmvitlin.utils.errors import ConfigError
from tests.forked import python


def chain():
    return [recipe.Stage('teacher', 't.py'),
            recipe.Stage('distill', 'd.py', {'k': 'teacher'}, options={'a': 1}),
            recipe.Stage('tuned', 's.py', {'i': 'distill'}),
            recipe.Stage('scratch', 's.py')]


def test_a_stage_and_its_dependents_vary_together():
    stages = {s.name: s for s in expand(chain(), 'distill', {'x': {}, 'y': {'a': 2, 'b': None}})}
    assert list(stages) == ['teacher', 'distill-x', 'distill-y', 'tuned-x', 'tuned-y', 'scratch']
    assert stages['distill-x'].inputs == {'k': 'teacher'}
    assert stages['distill-x'].options == {'a': 1}
    assert stages['distill-y'].options == {'a': 2, 'b': None}
    assert stages['tuned-y'].inputs == {'i': 'distill-y'}
    assert stages['tuned-y'].options == {}
    with pytest.raises(ConfigError, match="variants are of the stage 'none'"):
        expand(chain(), 'none', {'x': {}})
    with pytest.raises(ConfigError, match='options are empty'):
        expand(chain(), 'distill', {})


def test_points_of_a_grid():
    stages = sweep_stages(['c.py'], {'optim.lr': [1e-3, 1e-4], 'model.mask_ratio': [0.5]})
    assert [s.name for s in stages] == ['c-lr=0.001-mask_ratio=0.5',
                                        'c-lr=0.0001-mask_ratio=0.5']
    assert stages[1].options == {'optim.lr': 1e-4, 'model.mask_ratio': 0.5}
    with pytest.raises(ConfigError, match='have one name'):
        sweep_stages(['c.py'], {'lr': [1, 1]})


def test_a_folder_of_configs(tmp_path):
    for name in ('b.py', 'a.py', '_base.py', 'notes.txt'):
        (tmp_path / name).write_text('')
    result = configs_of([str(tmp_path), 'configs/seg/cityscapes_1024.py'])
    assert [Path(p).name for p in result] == ['a.py', 'b.py', 'cityscapes_1024.py']
    assert [s.name for s in sweep_stages(result, {})] == ['a', 'b', 'cityscapes_1024']
    assert [s.name for s in sweep_stages(result[:2], {'o.lr': [1, 2]})] == [
        'a-lr=1', 'a-lr=2', 'b-lr=1', 'b-lr=2']
    with pytest.raises(ConfigError, match='two runs have one name'):
        sweep_stages([*result, 'other/a.py'], {})
    (tmp_path / 'empty').mkdir()
    for place, message in (('empty', 'no config in .*empty; those are'),
                           ('c.py', 'no config at .*c')):
        with pytest.raises(ConfigError, match=message):
            configs_of([str(tmp_path / place)])


def test_every_variant_of_the_ablation_is_a_config_that_builds():
    import torch
    from mmengine.registry import MODELS, init_default_scope

    from mmvitlin.engine.runner.config import load_config
    stages = [s for s in recipe.load_recipe('configs/recipes/camvid_ablation.py')
              if s.name.startswith('distill-')]
    assert len(stages) == 14
    init_default_scope('mmseg')
    seen = set()
    for stage in stages:
        cfg = load_config(stage.config, stage.options)
        cfg.model.teacher.checkpoint = None
        with torch.device('meta'):
            model = MODELS.build(cfg.model)
        seen.add((tuple(model.objectives), model.mask_limits, str(cfg.model.objectives)))
    assert len(seen) == 14


@pytest.mark.slow
def test_the_command_line_trains_a_folder_and_what_is_not_done_yet(streets, tmp_path):
    """Two configs, one of which fails at first; then it alone."""
    child = ("_base_ = ['mmvitlin::seg/fcn_adventurer-nano_streets.py']\n"
             "model = dict(backbone=dict(arch=dict(embed_dims=32, num_layers={})),\n"
             "             decode_head=dict(in_channels=32, channels=16))\n")
    (tmp_path / 'cfg').mkdir()
    for name, layers in (('small', 1), ('large', 2)):
        (tmp_path / 'cfg' / f'{name}.py').write_text(child.format(layers))
    broken = (tmp_path / 'cfg' / 'large.py').read_text().replace('in_channels=32', 'in_channels=7')
    (tmp_path / 'cfg' / 'large.py').write_text(broken)

    def sweep():
        return python('tools/sweep.py', str(tmp_path / 'cfg'), '--work-dir',
             str(tmp_path / 'w'), '--seeds', '4', '--cfg-options', f'data_root={streets}',
             'train_cfg.max_iters=1', 'train_cfg.val_interval=1',
             'train_dataloader.batch_size=2')

    first = sweep()
    assert first.returncode == 2
    assert "stage 'large' ended with status" in first.stderr
    results = json.loads((tmp_path / 'w' / 'results.json').read_text())
    assert list(results['stages']) == ['small']
    assert results['metric'] == 'mIoU'
    weights = (tmp_path / 'w' / 'seed4' / 'small' / 'iter_1.pth').stat().st_mtime_ns
    (tmp_path / 'cfg' / 'large.py').write_text(child.format(2))
    second = sweep()
    assert second.returncode == 0, second.stderr[-2000:]
    results = json.loads((tmp_path / 'w' / 'results.json').read_text())
    assert {name: row['seeds'] for name, row in results['stages'].items()} == {
        'large': [4], 'small': [4]}
    assert (tmp_path / 'w' / 'seed4' / 'small' / 'iter_1.pth').stat().st_mtime_ns == weights
    assert second.stdout.count('| small | ') == 1
