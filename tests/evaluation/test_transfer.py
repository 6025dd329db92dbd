"""How near a student's token similarities are to its teacher's."""
import json

import numpy as np
import pytest
import torch

from mmvitlin.engine.runner.config import load_config
from mmvitlin.evaluation import transfer
from mmvitlin.evaluation.transfer import (
    RunBackbone,
    centred_alignment,
    correlations,
    transferred,
    unseen_images,
)
from mmvitlin.models import ActivationMatchingLoss
from mmvitlin.utils.errors import ConfigError
from tests.conftest import ROOT
from tests.forked import python

CONFIG = str(ROOT / 'configs/seg/fcn_adventurer-nano_streets.py')


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


def row(name, distance, cka, score, tuned=False, matched=False):
    return dict(name=name, distance=[distance] * 2, cka=[cka], score=score, tuned=tuned,
                matched=matched)


def test_rank_correlation_over_the_runs_with_a_score():
    rows = [row('a', 0.3, 0.5, 20.), row('b', 0.2, 0.7, 30.), row('c', 0.1, 0.6, 40.)]
    actual = correlations([*rows, row('untrained', 9., 9., None)])
    assert list(actual) == ['all']
    assert actual['all']['runs'] == [3]
    assert actual['all']['distance'] == dict(rho=-1., p=pytest.approx(1 / 3, abs=0.02))  # 2 of 6
    assert actual['all']['cka']['rho'] == 0.5
    assert correlations(rows[:2]) == {}
    assert correlations([]) == {}


def test_the_order_of_the_rows_does_not_matter():
    rng, found = np.random.default_rng(1), []
    rows = {(kind, seed): row(f'{kind}/{seed}', *rng.random(3)) for seed in range(3)
            for kind in 'abcde'}
    for orders in (('abcde', 'abcde', 'abcde'), ('abcde', 'edcba', 'cadbe')):
        found.append(correlations([rows[kind, seed] for seed, order in enumerate(orders)
                                   for kind in order]))
    assert found[0] == found[1]


def test_runs_are_ranked_within_their_seed():
    """A better teacher lifts all of its students, near or far."""
    rng = np.random.default_rng(0)
    rows = [row(f'{n}/{seed}', d, 1 - d, 10 * seed - 5 * d, tuned=True, matched=n < 3)
            for seed in range(3) for n, d in enumerate(rng.random(6) + seed)]
    # the maps of 'scratch' are those after training
    actual = correlations([*rows, row('scratch/0', 0., 1., 0.)])
    assert actual['all']['runs'] == [6] * 3
    assert actual['not matched']['runs'] == [3] * 3
    # one order for all seeds: 2 of 720, however many seeds repeat it
    assert actual['all']['distance'] == dict(rho=-1., p=pytest.approx(2 / 720, abs=2e-3))
    assert actual['all']['cka']['rho'] == 1.
    from scipy.stats import spearmanr
    noisy = [dict(r, score=r['score'] + 3 * rng.random()) for r in rows]
    by_hand = np.mean([spearmanr([np.mean(r['distance']) for r in seed],
                                 [r['score'] for r in seed]).statistic
                       for seed in (noisy[:6], noisy[6:12], noisy[12:])])
    assert correlations(noisy)['all']['distance']['rho'] == pytest.approx(by_hand, abs=1e-3)


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


def test_the_figure_has_a_line_for_a_kind_and_a_point_for_a_run(tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(transfer, 'save', lambda figure, path: kept.append(figure))
    transfer.transfer_figure([
        dict(name='a/0', distance=[.1, .3], cka=[.9, .8], score=30.),
        dict(name='a/1', distance=[.3, .5], cka=[.7, .8], score=32.),
        dict(name='b/0', distance=[.2, .2], cka=[.5, .5], score=None)], tmp_path / 'x.png')
    distance, _, scores = kept[0].axes
    lines = {line.get_label(): list(line.get_ydata()) for line in distance.get_lines()}
    assert lines == {'a': pytest.approx([.2, .4]), 'b': [.2, .2]}
    assert [line.get_xydata().tolist() for line in scores.get_lines()] == [
        [[pytest.approx(.2), 30.], [pytest.approx(.4), 32.]]]


def test_a_token_is_most_similar_to_itself(run):
    net = RunBackbone.of_run(run('a'))
    image, = unseen_images(net.cfg, 1)
    result = transfer.similar_tokens(net, image, (0.3, 0.99))
    assert result.shape == (4, 8)
    assert divmod(int(result.argmax()), 8) == (1, 7)
    assert float(result[1, 7]) == pytest.approx(1)
    image = torch.randn(3, 71, 128)  # the fifth row of patches is nearly all padding
    assert divmod(int(transfer.similar_tokens(net, image, (0.9, 0.)).argmax()), 8) == (3, 0)
    with pytest.raises(ConfigError, match='shares of height and width'):
        transfer.similar_tokens(net, image, (1.2, 0.))


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
    done = python('tools/transfer.py', str(teacher), f'one={student}',
         f'two={student}:{teacher}', '--untrained', '--images', '2', '--out-dir',
         str(tmp_path / 'out'))
    assert done.returncode == 0, done.stderr[-2000:]
    results = json.loads((tmp_path / 'out' / 'transfer.json').read_text())
    assert [(r['name'], r['score']) for r in results['rows']] == [('untrained', None), ('one', 30.),
                                                                  ('two', 40.)]
    assert results['rows'][1]['cka'] == results['rows'][2]['cka'] != results['rows'][0]['cka']
    for name in ('transfer.png', 'transfer_tokens.png'):
        assert (tmp_path / 'out' / name).stat().st_size > 5000


@pytest.mark.slow
def test_each_seed_has_its_own_teacher(run, tmp_path):
    for seed in (0, 1):
        (tmp_path / f's{seed}').mkdir()
        run(f's{seed}/teacher', 40., seed=seed)
        run(f's{seed}/student', 30. + seed, seed=2)
    command = ['tools/transfer.py', f'{tmp_path}/s{{seed}}/teacher',
               f'same={tmp_path}/s{{seed}}/teacher', f'other={tmp_path}/s{{seed}}/student',
               '--untrained', f'{tmp_path}/s{{seed}}/student', '--images', '2', '--out-dir',
               str(tmp_path / 'out')]
    done = python(*command, '--seeds', '0', '1')
    assert done.returncode == 0, done.stderr[-2000:]
    rows = json.loads((tmp_path / 'out' / 'transfer.json').read_text())['rows']
    assert [(r['name'], r['score'], r['tuned']) for r in rows] == [
        ('untrained/0', 30., True), ('same/0', 40., False), ('other/0', 30., False),
        ('untrained/1', 31., True), ('same/1', 40., False), ('other/1', 31., False)]
    assert max(rows[1]['distance'] + rows[4]['distance']) < 1e-4 < min(rows[2]['distance'])
    done = python(*command)
    assert done.returncode == 2
    assert '--seeds gives {seed} its values' in done.stderr
