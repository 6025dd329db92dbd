"""Every config of the repository builds its model, and its optimiser where it trains one."""
import re

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope

from mmvitlin import compat
from mmvitlin.engine.config import load_config
from mmvitlin.engine.preflight import check_classes, check_libraries
from mmvitlin.errors import ConfigError
from tests.conftest import ROOT

CONFIGS = sorted(str(p.relative_to(ROOT)) for p in (ROOT / 'configs').glob('*/*.py')
                 if p.parent.name not in ('_base_', 'recipes'))


def without_weights(node):
    """Drop what a fresh machine does not have: downloads and earlier stages' files."""
    if isinstance(node, dict):
        if node.get('pretrained') is True:
            node['pretrained'] = False
        if 'checkpoint' in node:
            node['checkpoint'] = None
        if isinstance(node.get('init_cfg'), dict) and node['init_cfg']['type'] == 'Pretrained':
            node['init_cfg'] = None
        for child in node.values():
            without_weights(child)


@pytest.mark.parametrize('path', CONFIGS)
def test_it_builds(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    cfg = load_config(path)
    without_weights(cfg.model)
    if 'mask2former' in path or '/det/' in path:
        if compat.lacking_for_detection():
            with pytest.raises(ConfigError, match='compiled ops.* missing: run `make setup-full`'):
                check_libraries(cfg)
            pytest.skip('needs mmdet and the compiled ops: make setup-full')
        if '/det/' in path:
            check_classes(cfg, ('train_dataloader', 'val_dataloader'))
    init_default_scope(cfg.default_scope)
    teacher = cfg.model.get('teacher')
    if cfg.model.type == 'mmvitlin.ViTLinearizer' and 'clip' in teacher.backbone.model_name:
        teacher.backbone.model_kwargs = dict(depth=4)  # the full depth only costs time here
    with torch.device('cpu' if 'segmenter' in path else 'meta'):  # its head asks for numbers
        model = MODELS.build(cfg.model)
    assert sum(p.numel() for p in model.parameters()) > 1e6
    assert cfg.train_cfg is not None
    loader = cfg.train_dataloader
    assert loader.dataset.data_root
    text = (ROOT / path).read_text()
    assert text.startswith('#'), 'a config says in its first line what it is for'


def test_the_page_of_data_sets_has_their_places():
    page = (ROOT / 'docs/data.md').read_text()
    for path in (ROOT / 'configs/_base_/datasets').glob('*.py'):
        root = re.search(r"^data_root = '(.*)'", path.read_text(), re.M)
        if root is not None and not root[1].startswith('work_dirs/'):
            assert f'`{root[1]}`' in page, path


def test_the_model_index_lists_them():
    import yaml
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    listed = []
    for file in index['Import']:
        content = yaml.safe_load((ROOT / file).read_text())
        names = {c['Name'] for c in content['Collections']}
        assert all(m['In Collection'] in names for m in content['Models'])
        listed += [m['Config'] for m in content['Models']]
    assert sorted(listed) == CONFIGS


@pytest.mark.parametrize('path', [p for p in CONFIGS if p.startswith('configs/seg')])
def test_labels_fit_the_image(path):
    """Tests pad to whole patches themselves, so that the padding is cut off again."""
    cfg = load_config(str(ROOT / path))
    backbone = cfg.model.backbone
    more = backbone.get('model_kwargs', {})
    patch = (backbone.get('patch_size') or more.get('patch_size') or more.get('output_stride')
             or 16)
    if 'patch14' in backbone.get('model_name', '') and 'model_kwargs' not in backbone:
        patch = 14
    assert cfg.model.data_preprocessor.test_cfg.size_divisor % patch == 0


def test_no_config_computes_another_activation_than_its_weights():
    import timm
    for path in CONFIGS:
        text = (ROOT / path).read_text() + ''.join(
            p.read_text() for p in (ROOT / 'configs/_base_/models').glob('*.py'))
        for name in set(re.findall(r"model_name='([\w.]+)'", text)):
            notes = ' '.join(getattr(timm.models.get_pretrained_cfg(name), 'notes', None) or ())
            assert 'natively QuickGELU' not in notes or 'quickgelu' in name, name


def test_there_are_configs():
    assert len(CONFIGS) > 25


@pytest.mark.parametrize('path', [p for p in CONFIGS if 'mask2former' not in p and any(
    w in p for w in ('_mask-only', '_activation-only', '_scope-', 'tiny', 'small', 'large'))])
def test_a_variant_is_a_few_lines(path):
    code = [line for line in (ROOT / path).read_text().splitlines()
            if line.strip() and not line.startswith('#')]
    assert len(code) <= 16


@pytest.mark.parametrize('path', [p for p in CONFIGS if '/distill/' in p])
def test_a_distillation_has_batches_of_its_own(path, monkeypatch):
    """Labels for the whole budget see new ones all the way: the comparison is with those."""
    monkeypatch.chdir(ROOT)
    sampler = load_config(path).train_dataloader.sampler
    assert sampler.get('salt', 0) > 0, sampler


def test_small_schedules_decay_neither_norms_nor_the_scan_s_own():
    from mmengine.optim import build_optim_wrapper

    from mmvitlin.models import Adventurer
    cfg = load_config(str(ROOT / 'configs/seg/camvid_adventurer-nano.py'))
    net = Adventurer(dict(embed_dims=32, num_layers=2), 32, 16)
    wrapper = build_optim_wrapper(net, cfg.optim_wrapper)
    decay = {id(p): g['weight_decay'] for g in wrapper.param_groups for p in g['params']}
    for name, parameter in net.named_parameters():
        if name.endswith(('norm.weight', 'norm_f.weight', 'A_log', '.D', 'dt_bias')):
            assert decay[id(parameter)] == 0, name
