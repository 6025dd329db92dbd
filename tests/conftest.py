"""Shared fixtures."""
import gc
import os
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
WORKERS = int(os.environ.get('PYTEST_XDIST_WORKER_COUNT', '1'))
THREADS = int(os.environ.get('MMVITLIN_TEST_THREADS', '2' if WORKERS == 1 else '1'))
if WORKERS > 1:  # nor may the processes that tests start crowd one another
    os.environ.setdefault('OMP_NUM_THREADS', str(THREADS))
torch.set_num_threads(THREADS)  # for fixtures that come before the one below
SHARED = ROOT.parent / 'shared' / 'data'


LONGEST = ('engine/test_sharding', 'benchmark/test_measuring', 'apis/test_export',
           'integration/test_own_project', 'engine/test_exact_resume',
           'integration/test_command_lines', 'test_fuzz', 'test_package', 'integration/test_tools',
           'models/test_detectors', 'experiments/test_sweep', 'experiments/test_recipe_files',
           'integration/test_examples', 'apis/test_quantize')


def pytest_collection_modifyitems(items):
    """The longest files first, so that one worker is not left with one of them at the end."""
    names = [f'tests/{name}.py' for name in LONGEST]
    order = {name: n for n, name in enumerate(names)}
    items.sort(key=lambda item: order.get(item.nodeid.split('::')[0], len(order)))


def pytest_collection_finish():
    """What the libraries hold is not looked through again: mmengine collects garbage for every
    data set, which took 0.7 s each."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)
    torch.set_num_threads(THREADS)


@pytest.fixture(autouse=True)
def _fresh_scope():
    """A default scope set by one test's runner must not reach the next."""
    from mmengine.logging import MessageHub
    from mmengine.registry import DefaultScope
    yield
    DefaultScope._instance_dict.clear()
    MessageHub._instance_dict.clear()  # runs of one config in one second would share theirs


@pytest.fixture(scope='session')
def streets(tmp_path_factory):
    """A few drawn scenes in the Cityscapes layout, 64x128, and single objects."""
    from mmvitlin.datasets.streets import write_streets
    root = tmp_path_factory.mktemp('streets')
    write_streets(root, dict(train=6, val=3), (64, 128), dict(train=1, val=1), 32, seed=3)
    return root


@pytest.fixture(scope='session')
def segmentor(tmp_path_factory):
    """A small segmentor of streets with random weights: its config and checkpoint."""
    from mmengine.config import Config
    from mmengine.registry import MODELS, init_default_scope
    folder = tmp_path_factory.mktemp('model')
    cfg = Config.fromfile(ROOT / 'configs/seg/fcn_adventurer-nano_streets.py')
    cfg.model.backbone.update(arch=dict(embed_dims=32, num_layers=2))
    cfg.model.decode_head.update(in_channels=32, channels=16)
    cfg.dump(folder / 'config.py')
    init_default_scope('mmseg')
    torch.manual_seed(0)
    net = MODELS.build(cfg.model)
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.3)
    torch.save(dict(state_dict=net.state_dict()), folder / 'iter_1.pth')
    return str(folder / 'config.py'), str(folder / 'iter_1.pth')


@pytest.fixture(scope='session')
def exported(segmentor, tmp_path_factory):
    """That segmentor as ONNX files: 'any' size and batch, and 'fixed' to 64x96."""
    pytest.importorskip('onnxscript', reason='writing ONNX needs onnxscript')
    from mmvitlin.apis.export import export, load_trained
    folder = tmp_path_factory.mktemp('exported')
    net = load_trained(*segmentor)
    export(net, folder / 'any.onnx', 'onnx', (64, 128))
    export(net, folder / 'fixed.onnx', 'onnx', (64, 96), dynamic=False)
    return dict(any=folder / 'any.onnx', fixed=folder / 'fixed.onnx')


@pytest.fixture
def camvid():
    """Folder of the real CamVid images."""
    root = SHARED / 'camvid'
    if not root.is_dir():
        pytest.skip('needs the CamVid images in ../shared/data/camvid')
    return root
