"""The package as a whole: light import, one family of libraries, names that resolve."""
import subprocess
import sys

import pytest

import mmvitlin
from mmvitlin import compat


def test_importing_it_imports_nothing_heavy():
    code = ('import sys, mmvitlin; heavy = {"torch", "mmengine", "mmcv", "mmseg", "timm", "cv2"}; '
            'sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)')
    assert subprocess.run([sys.executable, '-c', code]).returncode == 0
    assert mmvitlin.__version__


def test_both_families_are_refused():
    have = {'onedl-mmengine', 'mmengine', 'onedl-mmcv', 'mmcv'}
    with pytest.raises(RuntimeError, match='onedl-mmengine and mmengine.*pip uninstall -y'):
        compat.check_distributions(have.__contains__)
    compat.check_distributions({'onedl-mmengine', 'onedl-mmcv'}.__contains__)
    compat.check_distributions({'mmengine', 'mmcv'}.__contains__)


@pytest.mark.parametrize('registry', ['mmengine', 'mmseg', 'mmpretrain'])
def test_names_resolve_from_every_library_with_nothing_imported(registry):
    code = (f'from {registry}.registry import MODELS, HOOKS\n'
            "assert MODELS.get('mmvitlin.Adventurer').__name__ == 'Adventurer'\n"
            "assert HOOKS.get('mmvitlin.StudentCheckpointHook')\n"
            "net = MODELS.build(dict(type='mmvitlin.Adventurer',"
            " arch=dict(embed_dims=32, num_layers=1)))\n"
            'assert net.num_layers == 1')
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr


def test_transformers_5_does_not_break_mmpretrain(monkeypatch):
    from mmpretrain.utils import dependency
    real = compat.metadata.version
    monkeypatch.setattr(compat.metadata, 'version',
                        lambda name: '5.23.0' if name == 'transformers' else real(name))
    monkeypatch.setattr(dependency, 'WITH_MULTIMODAL', True)
    monkeypatch.delitem(sys.modules, 'mmpretrain.models', raising=False)
    compat.spare_mmpretrain_multimodal()
    assert dependency.WITH_MULTIMODAL is False


def test_public_names():
    from mmvitlin import models
    for name in ('Adventurer', 'TimmViT', 'FrozenTeacher', 'ViTLinearizer',
                 'ActivationMatchingLoss', 'MaskedPredictionLoss', 'SimpleFPN'):
        assert getattr(models, name).__doc__
