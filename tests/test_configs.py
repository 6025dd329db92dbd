"""Every config of the repository builds its model, and its optimiser where it trains one."""
import ast
import re
from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope

from mmvitlin.compat import detection
from mmvitlin.engine.rules import check
from mmvitlin.engine.runner.config import load_config
from mmvitlin.utils.errors import ConfigError
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
    if ('mask2former' in path or '/det/' in path) and detection.lacking():
        with pytest.raises(ConfigError, match='compiled ops.* missing: run `make setup-full`'):
            check(cfg, 'build')
        pytest.skip('needs mmdet and the compiled ops: make setup-full')
    init_default_scope(cfg.default_scope)
    teacher = cfg.model.get('teacher')
    if cfg.model.type == 'mmvitlin.ViTLinearizer' and 'clip' in teacher.backbone.model_name:
        teacher.backbone.model_kwargs = dict(depth=4)  # the full depth only costs time here
    with torch.device('cpu' if 'segmenter' in path else 'meta'):  # its head asks for numbers
        model = MODELS.build(cfg.model)
    smallest = 1e5 if 'pico' in path else 1e6
    assert sum(p.numel() for p in model.parameters()) > smallest
    assert cfg.train_cfg is not None
    parts = cfg.train_dataloader.dataset.get('datasets') or [cfg.train_dataloader.dataset]
    assert all(part.data_root for part in parts)
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


@pytest.mark.parametrize('path', [p for p in CONFIGS if any(
    w in p for w in ('tiny', 'small', 'large', '_distilled', '_frozen'))])
def test_a_variant_is_a_few_lines(path):
    code = [line for line in (ROOT / path).read_text().splitlines()
            if line.strip() and not line.startswith('#')]
    assert len(code) <= 21


@pytest.mark.parametrize('path', [p for p in CONFIGS if '/distill/' in p])
def test_a_distillation_has_batches_of_its_own(path, monkeypatch):
    """The runs with labels only see new images in all their iterations."""
    monkeypatch.chdir(ROOT)
    sampler = load_config(path).train_dataloader.sampler
    assert sampler.get('salt', 0) > 0, sampler


def _teaches_class_tokens(path: str) -> bool:
    """Whether a distillation gives the student's class token a target after the last layer."""
    for cfg in (load_config(path).model.get('objectives') or {}).values():
        kind = str((cfg or {}).get('type')).split('.')[-1]
        if kind == 'ClassTokenLoss' or (kind == 'FeatureAlignmentLoss'
                                        and cfg.get('tokens', 'all') != 'patches'):
            return True
    return load_config(path).model.type == 'mmvitlin.FeatureAlignment' \
        and not load_config(path).model.get('objectives')  # whose default compares all tokens


@pytest.mark.parametrize('path', [p for p in CONFIGS if p.startswith('configs/cls/')])
def test_no_classifier_reads_an_untrained_class_token(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    cfg = load_config(path)
    backbone = cfg.model.backbone
    if backbone.out_type != 'cls_token':
        assert backbone.out_type == 'avg_featmap'
        return
    stage = re.fullmatch(r'work_dirs/([\w.-]+)/student.pth', backbone.init_cfg.checkpoint)[1]
    assert _teaches_class_tokens(f'configs/distill/{stage}.py'), stage


def test_which_distillations_train_class_tokens(monkeypatch):
    monkeypatch.chdir(ROOT)
    teaches = {name: _teaches_class_tokens(f'configs/distill/{name}.py') for name in (
        'linearizer_adventurer-base_in1k-224', 'l2_adventurer-base_in1k-224',
        'adala-feature_dinov2-large_in1k-448', 'adala-feature_dinov2-large_in1k-448_cosine',
        'adala-attention_dinov2-large_coco-448')}
    assert list(teaches.values()) == [False, True, True, True, False]


LARGE = [p for p in CONFIGS if p.startswith('configs/seg') and ('cityscapes' in p or 'ade20k' in p)]
assert len(LARGE) > 20


@pytest.mark.parametrize('path', LARGE)
def test_scans_see_windows_of_the_crop_and_vits_whole_images(path):
    """As docs/results/highres_camvid.json has it."""
    cfg = load_config(str(ROOT / path))
    test_cfg = cfg.model.test_cfg
    if cfg.model.backbone.type not in ('mmvitlin.Adventurer', 'mmvitlin.MambaReg'):
        assert test_cfg == dict(mode='whole')
        return
    crop, = (step.crop_size for step in cfg.train_dataloader.dataset.pipeline
             if step.type == 'RandomCrop')
    assert test_cfg.mode == 'slide'
    assert tuple(test_cfg.crop_size) == tuple(crop) == tuple(cfg.model.backbone.img_size)
    assert all(n / 2 < m < n for n, m in zip(crop, test_cfg.stride, strict=True))


def test_switches_of_starts_and_optimisers_fit(monkeypatch):
    monkeypatch.chdir(ROOT)
    for path in ('configs/seg/cityscapes_1024.py',
                 'configs/det/mask-rcnn_adventurer-base_coco-1024.py'):
        start = load_config(path, {'switches': 'student_448'}).model.backbone.init_cfg
        assert start.checkpoint == 'work_dirs/linearizer_adventurer-base_in1k-448/student.pth'
        assert load_config(path, {'switches': 'columns'}).model.backbone.scan_axes == 'alternate'
    for stage in ('ade20k-512', 'cityscapes-1024'):
        start = load_config(f'configs/distill/linearizer_adventurer-base_{stage}.py')
        assert 'linearizer_adventurer-base_in1k-224' in start.model.backbone.init_cfg.checkpoint


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
    optimisers = {}
    for path in CONFIGS:
        cfg = load_config(str(ROOT / path))
        backbone = cfg.model.get('backbone') or {}
        wrapper = cfg.get('optim_wrapper')
        if wrapper and 'mmvitlin.' in str(backbone.get('type')):
            kind = backbone.type.removeprefix('mmvitlin.')
            optimisers.setdefault((repr(wrapper.to_dict()), kind), (path, wrapper, kind))
    return list(optimisers.values())


def test_no_schedule_decays_norms_places_or_the_scan_s_own():
    from mmengine.optim import build_optim_wrapper
    optimisers = _optimisers()
    assert {kind for *_, kind in optimisers} == set(SMALL)
    for path, wrapper, kind in optimisers:
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
    path = ROOT / 'configs/det/mask2former-instance_adventurer-base_coco-1024.py'
    wrapper = load_config(str(path)).optim_wrapper
    net = Model('Adventurer')
    net.query_embed = torch.nn.Embedding(2, 2)
    rates = {n: (g['lr'], g['weight_decay'])
             for g in build_optim_wrapper(net, wrapper).optimizer.param_groups for n in g['names']}
    assert rates['backbone.layers.0.mixer.in_proj.weight'] == (pytest.approx(1e-5), 0.05)
    assert rates['backbone.layers.1.norm.weight'] == (pytest.approx(1e-5), 0)
    assert rates['head.weight'] == (1e-4, 0.05)
    assert rates['query_embed.weight'] == (1e-4, 0)


DETECTORS = [p for p in CONFIGS if p.startswith('configs/det/') and 'streets' not in p]


def test_the_cascade_is_vitdet_s():
    """As detectron2's cascade_mask_rcnn_vitdet_b_100ep: heads and matchers alone are others."""
    path = str(ROOT / 'configs/det/mask-rcnn_adventurer-base_coco-1024.py')
    plain, model = (load_config(path, o).model for o in ({}, {'switches': 'cascade'}))
    assert model.type == 'CascadeRCNN'
    assert model.rpn_head == plain.rpn_head
    assert model.train_cfg.rpn_proposal == plain.train_cfg.rpn_proposal
    assert model.train_cfg.rpn_proposal.max_per_img == 1000
    assert model.roi_head.stage_loss_weights == [1, 1, 1]
    assert [h.loss_bbox.type for h in model.roi_head.bbox_head] == ['L1Loss'] * 3
    for head, (x, w) in zip(model.roi_head.bbox_head, ((10, 5), (20, 10), (30, 15)), strict=True):
        assert head.bbox_coder.target_stds == pytest.approx([1 / x, 1 / x, 1 / w, 1 / w])
        assert head.reg_class_agnostic
    assert [stage.assigner.pos_iou_thr for stage in model.train_cfg.rcnn] == [0.5, 0.6, 0.7]


@pytest.mark.parametrize('path', [p for p in DETECTORS if 'eomt' not in p])
def test_detectors_drop_and_average_as_their_sizes_do(path):
    cfg = load_config(str(ROOT / path))
    large = 'vit_large' in cfg.model.backbone.get('model_name', '')
    assert cfg.model.backbone.drop_path_rate == (0.4 if large else 0.1)  # ViTDet's
    if 'mask2former' not in path:
        assert [h.type for h in cfg.custom_hooks] == ['EMAHook']
        assert cfg.optim_wrapper.paramwise_cfg.layer_decay_rate == (0.8 if large else 0.7)


def test_every_linear_detector_has_a_softmax_baseline():
    """Which differs in nothing but the backbone and what its weights have seen."""
    pairs = [(p, p, {'switches': 'softmax'}) for p in DETECTORS if 'linear-vit-large' in p]
    pairs += [(p, p.replace('adventurer', 'vit'), {}) for p in DETECTORS
              if 'adventurer' in p and 'eomt' not in p]
    assert len(pairs) == 10
    for linear, softmax, options in pairs:
        assert softmax in DETECTORS
        replaced, baseline = (load_config(str(ROOT / p), o).to_dict()
                              for p, o in ((linear, {}), (softmax, options)))
        assert baseline['model']['backbone'].get('attention', 'softmax') == 'softmax'
        for cfg in (replaced, baseline):
            del cfg['work_dir'], cfg['model']['backbone'], cfg['model']['data_preprocessor']
            for variable in ('linear_vit_large', 'clip_vit_base', 'clip_normalization'):
                cfg.pop(variable, None)
        assert replaced == baseline, softmax


def _bases(path: Path) -> list[Path]:
    values = [node.value for node in ast.parse(path.read_text()).body
              if isinstance(node, ast.Assign) and getattr(node.targets[0], 'id', '') == '_base_']
    bases = ast.literal_eval(values[0]) if values else ()
    return [(path.parent / base).resolve() for base in bases]


def _depth(path: Path) -> int:
    return 1 + max((_depth(base) for base in _bases(path)), default=0)


def test_no_config_is_deeper_than_four_files():
    files = sorted((ROOT / 'configs').rglob('*.py'))
    assert {str(p.relative_to(ROOT)): _depth(p) for p in files if _depth(p) > 4} == {}
    used = {base for p in files for base in _bases(p)}
    for kind in ('models', 'datasets', 'schedules'):
        assert not {*(ROOT / 'configs/_base_' / kind).resolve().glob('*.py')} - used


@pytest.mark.parametrize('path', CONFIGS)
def test_a_name_is_in_the_order_of_the_readme(path):
    """what_network_data-size_difference; in cls/ without what, in distill/ maybe with a teacher."""
    room, name = path.removeprefix('configs/').removesuffix('.py').split('/')
    if name == 'cityscapes_1024':
        return
    network = (r'(linear-|focal-|mamba2-|conv-|hybrid-)?'
               r'(vit|adventurer|convnext|mixer|mamba-reg|clip|siglip|dinov2)'
               r'-(pico|nano|tiny|small|base|large)(-window)?')
    what = {'cls': '', 'distill': rf'(linearizer|l2|phi-s|logits|lolcats|adala-\w+)_({network}_)?'}
    data = r'(in1k|coco|cityscapes|ade20k|camvid|cifar10|streets|images)(-\d+(x\d+)?)?'
    order = what.get(room, r'[a-z0-9]+(-[a-z]+)?_') + network + '_' + data + r'(_[a-z0-9]+)?'
    assert re.fullmatch(order, name)


def test_old_names_give_new_ones(monkeypatch):
    monkeypatch.chdir(ROOT)
    names = dict(line.split(': ', 1) for line in (ROOT / 'configs/old_names.yml').read_text(
        ).splitlines() if not line.startswith('#'))
    for old, now in names.items():
        new, *options = now.split(' ')
        assert (ROOT / 'configs' / new).is_file()
        assert not (ROOT / 'configs' / old).exists(), old
        assert all('=' in option for option in options)
        for option in options:
            if option.startswith('switches='):
                load_config(f'configs/{new}', {'switches': option[9:].strip('[]').split(',')})
    with pytest.raises(ConfigError, match='configs/seg/ade20k_512.py, which has another name: '
                                          'configs/seg/upernet_adventurer-base_ade20k-512.py$'):
        load_config('configs/seg/ade20k_512.py')
    with pytest.raises(ConfigError, match='mmvitlin::det/coco_1024_cascade.py has another name: '
                       'mmvitlin::det/mask-rcnn_adventurer-base_coco-1024.py, with --cfg-options '
                       'switches=cascade$'):
        load_config('mmvitlin::det/coco_1024_cascade.py')
