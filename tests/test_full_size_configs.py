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
