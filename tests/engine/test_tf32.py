"""TF32 in training on a GPU: a key of the config, said in the log, set back afterwards."""
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger

from mmvitlin.engine.hooks import TF32Hook
from tests.conftest import ROOT


@pytest.mark.parametrize(('gpu', 'cfg', 'expected'), [
    (True, dict(tf32=True), True), (True, dict(tf32=False), False),
    (True, {}, False), (False, dict(tf32=True), False)])
def test_it_is_on_where_the_config_says_so_and_there_is_a_gpu(monkeypatch, gpu, cfg, expected):
    MMLogger.get_current_instance()  # asks for the number of the GPU when it is made
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: gpu)
    matmul = SimpleNamespace(allow_tf32=False)
    monkeypatch.setattr(torch.backends.cuda, 'matmul', matmul)
    hook, runner = TF32Hook(), SimpleNamespace(cfg=Config(cfg))
    hook.before_train(runner)
    assert matmul.allow_tf32 == expected
    hook.after_train(runner)
    assert not matmul.allow_tf32


@pytest.mark.parametrize('path', sorted((ROOT / 'configs/_base_').glob('runtime_*.py')),
                         ids=lambda path: path.stem)
def test_every_runtime_names_it(path: Path):
    assert Config.fromfile(path).tf32
