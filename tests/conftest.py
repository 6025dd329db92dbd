"""Shared fixtures."""
import os
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / 'shared' / 'data'


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)
    torch.set_num_threads(int(os.environ.get('MMVITLIN_TEST_THREADS', '2')))


@pytest.fixture(autouse=True)
def _fresh_scope():
    """A default scope set by one test's runner must not reach the next."""
    from mmengine.registry import DefaultScope
    yield
    DefaultScope._instance_dict.clear()


@pytest.fixture(scope='session')
def streets(tmp_path_factory):
    """A few drawn scenes in the Cityscapes layout, 64x128, and single objects."""
    from mmvitlin.datasets.streets import write_streets
    root = tmp_path_factory.mktemp('streets')
    write_streets(root, dict(train=6, val=3), (64, 128), dict(train=1, val=1), 32, seed=3)
    return root


@pytest.fixture
def camvid():
    """Folder of the real CamVid images."""
    root = SHARED / 'camvid'
    if not root.is_dir():
        pytest.skip('needs the CamVid images in ../shared/data/camvid')
    return root
