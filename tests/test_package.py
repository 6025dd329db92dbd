"""The package as a whole: light import, one family of libraries, names that resolve."""
import os
import shutil
import subprocess
import sys
import tarfile

import pytest

import mmvitlin
from mmvitlin import compat
from tests.conftest import ROOT


def test_importing_it_imports_nothing_heavy():
    code = ('import sys, mmvitlin; heavy = {"torch", "mmengine", "mmcv", "mmseg", "timm", "cv2"}; '
            'sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)')
    assert subprocess.run([sys.executable, '-c', code]).returncode == 0
    assert mmvitlin.__version__


def test_files_are_short_enough_to_be_read():
    """At most 350 lines; a longer one holds a second idea."""
    files = [p for folder in ('mmvitlin', 'tools', 'tests', 'configs', '.ci')
             for p in (ROOT / folder).rglob('*.py')]
    assert len(files) > 500
    assert {str(p.relative_to(ROOT)): n for p in files
            if (n := len(p.read_text().splitlines())) > 350} == {}


def test_both_families_are_refused():
    present = {'onedl-mmengine', 'mmengine', 'onedl-mmcv', 'mmcv'}
    with pytest.raises(RuntimeError, match='onedl-mmengine and mmengine.*pip uninstall -y'):
        compat.check_distributions(present.__contains__)
    compat.check_distributions({'onedl-mmengine', 'onedl-mmcv'}.__contains__)
    compat.check_distributions({'mmengine', 'mmcv'}.__contains__)


def test_the_pages_of_results_are_what_the_files_hold():
    done = subprocess.run([sys.executable, ROOT / 'tools/results/write.py', '--check'],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


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


def test_without_mmdet():
    """Segmentation is trained, tested and scored without it."""
    code = ("import sys\n"
            "sys.modules['mmdet'] = None\n"
            "import mmvitlin.datasets.registered, mmvitlin.evaluation.submission\n"
            "from mmseg.registry import METRICS\n"
            "assert METRICS.get('mmvitlin.PanopticQuality')\n"
            "assert METRICS.get('mmvitlin.InstanceMetric') is None")
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr


def test_public_names():
    from mmvitlin import models
    for name in ('Adventurer', 'TimmViT', 'FrozenTeacher', 'ViTLinearizer',
                 'ActivationMatchingLoss', 'MaskedPredictionLoss', 'SimpleFPN',
                 'AttentionAlignment', 'AttentionAlignmentLoss', 'FeatureAlignment',
                 'FeatureAlignmentLoss'):
        assert getattr(models, name).__doc__


FOREIGN_CONFIG = """_base_ = ['mmvitlin::seg/cityscapes_1024.py']
model = dict(decode_head=dict(num_classes=5), auxiliary_head=dict(num_classes=5))
"""


def read_from_another_folder(folder, **env):
    (folder / 'mine.py').write_text(FOREIGN_CONFIG)
    code = ("from mmvitlin.engine.runner.config import load_config; import mmvitlin\n"
            "cfg = load_config('mine.py')\n"
            "assert cfg.default_scope == 'mmseg' and '_scope_' not in cfg.model.decode_head\n"
            "print(mmvitlin.__file__, cfg.model.decode_head.num_classes, cfg.crop_size)")
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], cwd=folder, text=True,
                          capture_output=True, env=dict(os.environ, **env))
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_a_shipped_base_resolves_from_another_folder(tmp_path):
    assert read_from_another_folder(tmp_path).endswith(' 5 (1024, 1024)')
    from mmvitlin.engine.runner.config import load_config
    from mmvitlin.utils.errors import ConfigError
    (tmp_path / 'typo.py').write_text("_base_ = ['mmvitlin::seg/cityscape.py']")
    with pytest.raises(ConfigError, match='typo.py is no config.*cityscape.py: mmvitlin has no'):
        load_config(str(tmp_path / 'typo.py'))


def _copy(target):
    """The checkout without what a build leaves behind, or git keeps."""
    if not (ROOT / 'mmvitlin').is_dir():
        pytest.skip('the tests of an installed package: there is no source to build')
    return shutil.copytree(ROOT, target, ignore=shutil.ignore_patterns(
        '.*', 'work_dirs', 'build', 'data', '*.egg-info', '__pycache__'))


@pytest.mark.slow
def test_the_wheel_carries_configs_and_tools(tmp_path):
    pip = [sys.executable, '-m', 'pip', '-q', '--disable-pip-version-check']
    source = _copy(tmp_path / 'source')
    subprocess.run([*pip, 'wheel', '--no-deps', '--no-build-isolation', '-w', tmp_path, source],
                   check=True, capture_output=True)
    wheel, = tmp_path.glob('mmvitlin-*.whl')
    subprocess.run([*pip, 'install', '--no-deps', '--target', tmp_path / 'site', wheel],
                   check=True, capture_output=True)
    assert (tmp_path / 'site/mmvitlin/.mim/tools/train.py').is_file()
    assert not (tmp_path / 'site/tests').exists()
    output = read_from_another_folder(tmp_path, PYTHONPATH=str(tmp_path / 'site'))
    assert output.startswith(str(tmp_path / 'site'))
    assert output.endswith(' 5 (1024, 1024)')


def test_the_sdist_carries_what_its_tests_need(tmp_path):
    done = subprocess.run([sys.executable, 'setup.py', '-q', 'sdist', '-d', tmp_path],
                          cwd=_copy(tmp_path / 'source'), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    archive, = tmp_path.glob('mmvitlin-*.tar.gz')
    with tarfile.open(archive) as tar:
        names = {name.partition('/')[2] for name in tar.getnames()}
    kinds = ('.py', '.sh', '.yml', '.md', '.json', '.txt', '.ipynb')
    for folder in ('mmvitlin', 'configs', 'tools', 'tests', 'docs', 'examples', 'requirements'):
        needed = {str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob('*')
                  if path.is_file() and path.suffix in kinds and '_build' not in path.parts}
        assert needed - names == set()
    assert {'Makefile', 'LICENSE', 'README.md', 'model-index.yml', 'pyproject.toml'} <= names
    assert not any('__pycache__' in name for name in names)
