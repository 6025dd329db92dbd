"""Every config of the repository builds its model, and its optimiser where it trains one."""
import re

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope

from mmvitlin import detection
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
        if detection.lacking():
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
    smallest = 1e5 if 'pico' in path else 1e6
    assert sum(p.numel() for p in model.parameters()) > smallest
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


SMALL = {
    'Adventurer': dict(arch=dict(embed_dims=32, num_layers=2), img_size=32, patch_size=16),
    'MambaReg': dict(arch=dict(embed_dims=32, num_layers=2, num_registers=2, reduce=2),
                     img_size=32, patch_size=16),
    'TimmViT': dict(model_name='vit_tiny_patch16_224.augreg_in21k', img_size=(32, 32),
                    model_kwargs=dict(embed_dim=32, depth=2, num_heads=2)),
    'TimmBackbone': dict(model_name='convnext_atto'),
}


class Model(torch.nn.Module):
    """A small backbone below a head, as every model of a config has it."""

    def __init__(self, kind: str):
        super().__init__()
        with torch.device('meta'):
            self.backbone = MODELS.build(dict(type=f'mmvitlin.{kind}', **SMALL[kind]))
        self.head = torch.nn.Linear(2, 2)


def _optimisers():
    """(a config, its wrapper, kind of its backbone), one config for each pair."""
    found = {}
    for path in CONFIGS:
        cfg = load_config(str(ROOT / path))
        backbone = cfg.model.get('backbone') or {}
        wrapper = cfg.get('optim_wrapper')
        if wrapper and 'mmvitlin.' in str(backbone.get('type')):
            kind = backbone.type.removeprefix('mmvitlin.')
            found.setdefault((repr(wrapper.to_dict()), kind), (path, wrapper, kind))
    return list(found.values())


def test_no_schedule_decays_norms_places_or_the_scan_s_own():
    from mmengine.optim import build_optim_wrapper
    found = _optimisers()
    assert {kind for *_, kind in found} == set(SMALL)
    for path, wrapper, kind in found:
        net = Model(kind)
        groups = build_optim_wrapper(net, wrapper).param_groups
        decay = {id(p): g['weight_decay'] for g in groups for p in g['params']}
        norms = {f'{name}.{n}' for name, module in net.named_modules()
                 if 'Norm' in type(module).__name__ for n, _ in module.named_parameters()}
        assert norms
        for name, parameter in net.backbone.named_parameters(prefix='backbone'):
            alone = name.endswith(('A_log', 'A_b_log', '.D', '.D_b', 'dt_bias', '.bias'))
            place = name.endswith(('pos_embed', 'cls_token'))
            if name in norms or alone or place:
                assert decay[id(parameter)] == 0, (path, name)
            elif parameter.ndim == 2:
                assert decay[id(parameter)] == wrapper.optimizer.weight_decay, (path, name)


def test_mask2former_trains_its_backbone_at_a_tenth():
    from mmengine.optim import build_optim_wrapper
    wrapper = load_config(str(ROOT / 'configs/det/coco_1024_mask2former.py')).optim_wrapper
    net = Model('Adventurer')
    net.query_embed = torch.nn.Embedding(2, 2)
    told = {g['param_name']: (g['lr'], g['weight_decay'])
            for g in build_optim_wrapper(net, wrapper).optimizer.param_groups}
    assert told['backbone.layers.0.mixer.in_proj.weight'] == (pytest.approx(1e-5), 0.05)
    assert told['backbone.layers.1.norm.weight'] == (pytest.approx(1e-5), 0)
    assert told['head.weight'] == (1e-4, 0.05)
    assert told['query_embed.weight'] == (1e-4, 0)


DETECTORS = [p for p in CONFIGS if p.startswith('configs/det/c')]  # of COCO and Cityscapes


def test_the_cascade_is_vitdet_s():
    """As detectron2's cascade_mask_rcnn_vitdet_b_100ep: heads and matchers alone are others."""
    plain = load_config(str(ROOT / 'configs/det/coco_1024.py')).model
    model = load_config(str(ROOT / 'configs/det/coco_1024_cascade.py')).model
    assert model.rpn_head == plain.rpn_head
    assert model.train_cfg.rpn_proposal == plain.train_cfg.rpn_proposal
    assert model.train_cfg.rpn_proposal.max_per_img == 1000
    assert model.roi_head.stage_loss_weights == [1, 1, 1]
    assert [h.loss_bbox.type for h in model.roi_head.bbox_head] == ['L1Loss'] * 3
    for head, (x, w) in zip(model.roi_head.bbox_head, ((10, 5), (20, 10), (30, 15)), strict=True):
        assert head.bbox_coder.target_stds == pytest.approx([1 / x, 1 / x, 1 / w, 1 / w])
        assert head.reg_class_agnostic
    assert [stage.assigner.pos_iou_thr for stage in model.train_cfg.rcnn] == [0.5, 0.6, 0.7]


@pytest.mark.parametrize('path', DETECTORS)
def test_detectors_drop_and_average_as_their_sizes_do(path):
    cfg = load_config(str(ROOT / path))
    large = 'vit_large' in cfg.model.backbone.get('model_name', '')
    assert cfg.model.backbone.drop_path_rate == (0.4 if large else 0.1)  # ViTDet's
    if 'mask2former' not in path:
        assert [h.type for h in cfg.custom_hooks] == ['EMAHook']
        assert cfg.optim_wrapper.paramwise_cfg.layer_decay_rate == (0.8 if large else 0.7)


def test_every_linear_detector_has_a_softmax_twin():
    """Which differs in nothing but the backbone and what its weights have seen."""
    pairs = [(p, p.replace('linear-vit-large', 'vit-large')) for p in DETECTORS
             if 'linear-vit-large' in p]
    pairs += [(p, p.replace('.py', '_vit-base.py')) for p in DETECTORS
              if 'vit-' not in p and 'mask2former' not in p]
    assert len(pairs) == 12
    for linear, softmax in pairs:
        assert softmax in DETECTORS
        ours, twin = (load_config(str(ROOT / p)).to_dict() for p in (linear, softmax))
        assert twin['model']['backbone'].get('attention', 'softmax') == 'softmax'
        for cfg in (ours, twin):
            del cfg['work_dir'], cfg['model']['backbone'], cfg['model']['data_preprocessor']
        assert ours == twin, softmax
