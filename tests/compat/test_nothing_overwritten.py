"""Importing mmvitlin changes no other library; a config that is read or run leaves few patches."""
import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from mmvitlin.compat import detection
from tests.conftest import ROOT

SNAPSHOT = '''
import json, os, sys, types, warnings
import torch, timm, mmcv, mmengine, mmengine.hub, mmengine.runner, mmengine._strategy
import mmengine.visualization, mmseg.datasets, mmseg.models, mmseg.evaluation, mmpretrain.models
{more}
LIBRARIES = ('mmengine', 'mmcv', 'mmseg', 'mmdet', 'mmpretrain', 'timm', 'torch', 'pycocotools')

def snapshot():
    found = {{}}
    for name, module in list(sys.modules.items()):
        if not isinstance(module, types.ModuleType) or name.split('.')[0] not in LIBRARIES:
            continue
        for key, value in list(vars(module).items()):
            found[name, key] = value  # itself: the address of what is gone is used again
            if isinstance(value, type) and (value.__module__ or '').split('.')[0] in LIBRARIES:
                for attribute, member in list(vars(value).items()):
                    found[value.__module__, value.__qualname__, attribute] = member
    return found

def rest():
    from mmengine.runner.checkpoint import CheckpointLoader
    from mmengine.config.utils import MODULE2PACKAGE
    return dict(os.environ), list(warnings.filters), dict(CheckpointLoader._schemes), \\
        dict(MODULE2PACKAGE)

def differences(before, after):
    # what appears is a submodule or a cache; what changes or goes is overwritten
    return sorted('.'.join(key) for key, value in before.items() if after.get(key) is not value
                  and key[-1] not in ('__warningregistry__', '__doc__', '_abc_impl', 'next_id'))

before, rest_before = snapshot(), rest()
import mmvitlin, mmvitlin.registry
phases = [[differences(before, snapshot()), rest_before == rest()]]

from mmengine.registry import HOOKS, MODELS, FUNCTIONS, RUNNERS, init_default_scope
from mmvitlin.engine.runner.config import load_config
import mmvitlin.engine.runner.launch
cfg = load_config('configs/distill/linearizer_adventurer-nano_streets.py')
assert load_config('mmvitlin::seg/cityscapes_1024.py').crop_size == (1024, 1024)
cfg.model.teacher.checkpoint = None
MODELS.build(cfg.model)
for hook in cfg.default_hooks.values():
    HOOKS.build(hook)
FUNCTIONS.get('mmvitlin.patient_worker'), RUNNERS.get('mmvitlin.FlexibleRunner')
phases.append([differences(before, snapshot())])
if {detectors}:
    init_default_scope('mmdet')
    model = load_config('configs/det/mask-rcnn_adventurer-base_coco-1024.py').model
    model.backbone.arch = dict(embed_dims=32, num_layers=1)
    model.neck.in_channels = 32
    MODELS.build(model)
    phases.append([differences(before, snapshot())])
print(json.dumps(phases))
'''


def test_no_other_library_is_overwritten():
    """Names of modules and classes, environment, warning filters, loaders, config packages: by
    the import nothing, by a config that is read and built, a detector too, what is registered."""
    detectors = not detection.lacking()
    more = 'import mmdet.datasets, mmdet.models, mmdet.evaluation, mmcv.ops' if detectors else ''
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', SNAPSHOT.format(more=more, detectors=detectors)],
        text=True, capture_output=True, cwd=ROOT, env=dict(os.environ, PYTHONPATH=str(ROOT)))
    assert done.returncode == 0, done.stderr
    imported, built, *detector = json.loads(done.stdout.splitlines()[-1])
    assert imported == [[], True]
    registered = 'mmengine.runner.checkpoint.CheckpointLoader._schemes'  # by register_scheme
    assert built == [[registered]]
    assert detector in ([], [[[registered]]])


def test_the_names_that_are_patched_still_need_it():
    """Fails when upstream has fixed one: then remove its patch."""
    from mmengine.config import Config

    from mmvitlin.compat import installed
    if not installed('mmsegmentation'):
        with pytest.raises(ModuleNotFoundError, match='mmsegmentation is not installed'):
            Config._get_cfg_path('mmseg::_base_/default_runtime.py', '')
    with pytest.raises(AssertionError, match='does not support to load mmvitlin'):
        Config._get_cfg_path('mmvitlin::seg/cityscapes_1024.py', '')
    if find_spec('deepspeed') is not None:
        from mmengine._strategy.deepspeed import register_deepspeed_optimizers
        with pytest.raises(Exception):  # noqa: B017, PT011 -- of whichever part is missing
            register_deepspeed_optimizers()


def test_mmcv_still_needs_the_work_around_for_one_pixel():
    from mmcv.image import geometric

    from mmvitlin.compat.mmcv import keep_a_pixel
    keep_a_pixel()
    patched = geometric.rescale_size
    assert patched((500, 1), (128, 128)) == (128, 1)
    assert patched((500, 1), (128, 128), return_scale=True) == ((128, 1), 0.256)
    assert 0 in patched.__wrapped__((500, 1), (128, 128)), 'take mmvitlin/compat/mmcv.py out'
    keep_a_pixel()
    assert geometric.rescale_size is patched


def test_mmpretrain_still_needs_its_multimodal_models_left_out():
    from mmengine.utils import digit_version
    from mmpretrain import __version__
    from mmpretrain.utils import dependency
    assert hasattr(dependency, 'WITH_MULTIMODAL')
    assert digit_version(__version__) <= digit_version('1.3.6'), \
        'try transformers 5 beside it, and take mmvitlin/compat/mmpretrain.py out if it imports'


def test_transformers_5_does_not_break_mmpretrain(monkeypatch):
    from mmpretrain.utils import dependency

    from mmvitlin.compat import mmpretrain
    real = mmpretrain.metadata.version
    monkeypatch.setattr(mmpretrain.metadata, 'version',
                        lambda name: '5.23.0' if name == 'transformers' else real(name))
    monkeypatch.setattr(dependency, 'WITH_MULTIMODAL', True)
    monkeypatch.delitem(sys.modules, 'mmpretrain.models', raising=False)
    mmpretrain.spare_multimodal()
    assert dependency.WITH_MULTIMODAL is False


@pytest.mark.slow
def test_imports_print_nothing():
    """What onedl's libraries print at import is left out, whatever else they say is not."""
    from mmvitlin.compat.quiet import quiet_imports
    code = 'import mmvitlin.apis, mmvitlin.models.segmentors, mmvitlin.datasets.registered'
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], text=True, check=True,
                          capture_output=True, env=dict(os.environ, PYTHONPATH=str(ROOT)))
    assert done.stdout == ''
    import contextlib
    import io
    with contextlib.redirect_stdout(io.StringIO()) as out, quiet_imports():
        print('Could not import OneDL\nsomething else')
    assert out.getvalue() == 'something else\n'
