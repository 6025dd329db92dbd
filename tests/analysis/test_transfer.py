"""How near a student's token similarities are to its teacher's."""
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from mmvitlin.analysis.transfer import (
    RunBackbone,
    centred_alignment,
    correlations,
    transferred,
    unseen_images,
)
from mmvitlin.engine.config import load_config
from mmvitlin.errors import ConfigError
from mmvitlin.models import ActivationMatchingLoss
from tests.conftest import ROOT

CONFIG = str(ROOT / 'configs/seg/streets_adventurer-nano.py')


@pytest.fixture
def run(streets, tmp_path):
    """A function that leaves what a run leaves: config, weights, result."""
    from mmengine.registry import MODELS, init_default_scope

    def leave(name, score=None, seed=0, **options):
        cfg = load_config(CONFIG, {'data_root': str(streets), 'model.backbone.img_size': (64, 128),
                                   'model.backbone.arch': dict(embed_dims=32, num_layers=4),
                                   'model.decode_head.in_channels': 32, **options})
        cfg.test_dataloader.dataset.pipeline[1].scale = (128, 64)
        folder = tmp_path / name
        folder.mkdir()
        cfg.dump(folder / 'config.py')
        init_default_scope('mmseg')
        torch.manual_seed(seed)
        net = MODELS.build(cfg.model)
        torch.save(dict(state_dict=net.state_dict()), folder / 'iter_1.pth')
        (folder / 'last_checkpoint').write_text('iter_1.pth')
        (folder / 'result.json').write_text(json.dumps(dict(metrics=dict(mIoU=score) if score
                                                            else {})))
        return folder
    return leave


def test_cka():
    torch.manual_seed(0)
    x = torch.randn(2, 30, 8)
    turn = torch.linalg.qr(torch.randn(8, 8))[0]
    same = centred_alignment(3 * x @ turn + 5, x)  # turned, scaled and moved
    torch.testing.assert_close(same, torch.ones(2), atol=1e-5, rtol=0)
    y = torch.randn(2, 30, 6)
    gram_x, gram_y = (t @ t.mT for t in (x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)))
    by_maps = (gram_x * gram_y).sum((1, 2)) / (gram_x.norm(dim=(1, 2)) * gram_y.norm(dim=(1, 2)))
    torch.testing.assert_close(centred_alignment(x, y), by_maps)
    assert (by_maps < 0.5).all()


def test_rank_correlation_over_the_runs_with_a_score():
    rows = [dict(distance=[d, d], cka=[c], score=s) for d, c, s in (
        (0.3, 0.5, 20.), (0.2, 0.7, 30.), (0.1, 0.6, 40.))]
    got = correlations([*rows, dict(distance=[9.], cka=[9.], score=None)])
    assert got == dict(distance=-1., cka=0.5, runs=3)
    assert correlations(rows[:2]) == {}


def test_a_network_is_next_to_itself(run):
    teacher, other = RunBackbone.of_run(run('a', 31.)), RunBackbone.of_run(run('b', seed=7))
    assert (teacher.score, other.score) == (31., None)
    images = list(unseen_images(teacher.cfg))
    assert len(images) == 3
    assert images[0].shape == (3, 64, 128)
    same = transferred(teacher, teacher, images)
    assert len(same['cka']) == 4
    np.testing.assert_allclose(same['distance'], 0, atol=1e-5)
    np.testing.assert_allclose(same['cka'], 1, atol=1e-5)
    apart = transferred(teacher, other, images, stages=2)
    assert len(apart['cka']) == 2
    assert min(apart['distance']) > 1e-3
    loss = ActivationMatchingLoss(2, scope='all')
    by_loss = [float(loss(other.tokens(i, (1, 3)), teacher.tokens(i, (1, 3)))) for i in images]
    assert np.mean(apart['distance']) == pytest.approx(np.mean(by_loss), abs=1e-5)


def test_what_cannot_be_compared(run, tmp_path):
    teacher = RunBackbone.of_run(run('a'))
    finer = RunBackbone.of_run(run('fine', **{'model.backbone.patch_size': 8}))
    with pytest.raises(ConfigError, match=r'sees \(8, 16\) tokens and a \(4, 8\)'):
        transferred(teacher, finer, unseen_images(teacher.cfg, 1))
    with pytest.raises(ConfigError, match='num_stages=9 does not fit'):
        transferred(teacher, teacher, unseen_images(teacher.cfg, 1), stages=9)
    with pytest.raises(ConfigError, match='no run left its config'):
        RunBackbone.of_run(tmp_path / 'nowhere')


@pytest.mark.slow
def test_the_command_line(run, tmp_path):
    teacher, student = run('teacher', 40.), run('student', 30., seed=2)
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', 'tools/transfer.py', str(teacher), f'one={student}',
         f'two={student}:{teacher}', '--untrained', '--images', '2', '--out-dir',
         str(tmp_path / 'out')], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads((tmp_path / 'out' / 'transfer.json').read_text())
    assert [(r['name'], r['score']) for r in told['rows']] == [('untrained', None), ('one', 30.),
                                                               ('two', 40.)]
    assert told['rows'][1]['cka'] == told['rows'][2]['cka'] != told['rows'][0]['cka']
    assert (tmp_path / 'out' / 'transfer.png').stat().st_size > 5000
