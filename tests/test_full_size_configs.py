"""What full-size configs of a kind have in common."""
import pytest

from mmvitlin.engine.runner.config import load_config
from tests.conftest import ROOT

CONFIGS = sorted(str(path.relative_to(ROOT)) for path in (ROOT / 'configs').glob('[cds]*/*.py'))


@pytest.mark.parametrize('path', [p for p in CONFIGS if 'adala-attention_' in p and (
    'coco-448' in p or 'vit-small' in p)])
def test_the_first_stage_has_the_relative_error(path):
    assert load_config(str(ROOT / path)).model.objectives.attention.relative


@pytest.mark.parametrize('path', [p for p in CONFIGS if '_in1k-' in p or '_coco-1024' in p])
def test_labelled_images_are_pinned(path):
    assert load_config(str(ROOT / path)).train_dataloader.pin_memory


@pytest.mark.parametrize('path', [p for p in CONFIGS if 'adala-attention_' in p and
                                  'coco-448' in p])
def test_the_first_stage_is_not_decayed_at_a_rate_that_keeps_the_weights(path):
    optimizer = load_config(str(ROOT / path)).optim_wrapper.optimizer
    assert optimizer.type == 'AdamW'
    assert 3e-4 <= optimizer.lr <= 1e-3
    assert optimizer.weight_decay == 0


@pytest.mark.parametrize(('path', 'edge', 'crop'), [
    (p, *((256, 224) if '224' in p else (448, 448) if '448' in p else (512, 512)))
    for p in CONFIGS if p.startswith('configs/cls/') and '_in1k-' in p])
def test_the_crops_of_imagenets_test(path, edge, crop):
    """0.875 of the shorter side at 224, all of it where images are larger."""
    steps = {step.type.rpartition('.')[2]: step for step in load_config(
        str(ROOT / path)).val_dataloader.dataset.pipeline}
    assert (steps['ResizeEdge'].scale, steps['CenterCrop'].crop_size) == (edge, crop)


def test_the_third_stage_of_fine_tuning():
    cfg = load_config(str(ROOT / 'configs/cls/adventurer-base_in1k-224_stage3.py'))
    assert (cfg.train_cfg.max_epochs, cfg.optim_wrapper.optimizer.lr) == (20, 1e-5)


@pytest.mark.parametrize('path', ['cls/linear-vit-large_in1k-224',
                                  'seg/upernet_linear-vit-large_cityscapes-1024'])
def test_the_normalisation_of_clip_wherever_the_preprocessor_is(path):
    cfg, plain = (load_config(f'{ROOT}/configs/{path}.py', options) for options in (
        {'switches': 'clip_large'}, {}))
    found, own = (c.model.get('data_preprocessor') or c.data_preprocessor for c in (cfg, plain))
    assert found.mean == [122.7709, 116.7460, 104.0937]
    assert {**found, **{k: own[k] for k in ('mean', 'std')}} == own  # order of channels too
    assert cfg.model.get('data_preprocessor') in (None, found)
