"""Variants of a stage, points of a grid."""
import pytest

from mmvitlin.engine import recipe
from mmvitlin.engine.sweep import expand, grid_stages
from mmvitlin.errors import ConfigError


def chain():
    return [recipe.Stage('teacher', 't.py'),
            recipe.Stage('distill', 'd.py', {'k': 'teacher'}, options={'a': 1}),
            recipe.Stage('tuned', 's.py', {'i': 'distill'}),
            recipe.Stage('scratch', 's.py')]


def test_a_stage_and_what_stands_on_it_vary_together():
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
    stages = grid_stages('c.py', {'optim.lr': [1e-3, 1e-4], 'model.mask_ratio': [0.5]})
    assert [s.name for s in stages] == ['run-lr=0.001-mask_ratio=0.5',
                                        'run-lr=0.0001-mask_ratio=0.5']
    assert stages[1].options == {'optim.lr': 1e-4, 'model.mask_ratio': 0.5}
    with pytest.raises(ConfigError, match='have one name'):
        grid_stages('c.py', {'lr': [1, 1]})


def test_every_variant_of_the_ablation_is_a_config_that_builds():
    import torch
    from mmengine.registry import MODELS, init_default_scope

    from mmvitlin.engine.config import load_config
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
        seen.add((tuple(model.objectives), model.mask_ratio, str(cfg.model.objectives)))
    assert len(seen) == 14
