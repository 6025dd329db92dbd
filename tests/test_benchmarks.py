"""Benchmarks: what is measured again, and what they write."""
import argparse
import json

import pytest
import torch

from mmvitlin.benchmark.subjects import Built
from mmvitlin.engine.runner.launch import train
from mmvitlin.models import TimmViT
from mmvitlin.utils.errors import ConfigError
from tests.engine.nano import nano
from tools.benchmarks import (
    cheaper_teacher,
    heads_cpu,
    highres_camvid,
    peers_cpu,
    replaced_attention,
)


@pytest.fixture
def evaluated(monkeypatch):
    """Replaces the evaluation of a network; the larger scale does not fit into memory."""
    limits = []

    def curve(config, checkpoint, scales, options, limit):
        scale, = scales
        limits.extend([limit] if scale == 1 else [])
        return [dict(scale=scale, miou=30., thin=None, peak_mib=None, ms=3.) if scale == 1 else
                dict(scale=scale, error='out of memory')]

    monkeypatch.setattr(highres_camvid, 'resolution_curve', curve)
    monkeypatch.setattr(highres_camvid, 'checkpoint', lambda *_: 'a.pth')
    return limits


def test_rows_of_a_trial_do_not_stay(evaluated, tmp_path, monkeypatch, capsys):
    out = tmp_path / 'a.json'
    for limit in (['--limit', '2'], [], []):
        monkeypatch.setattr('sys.argv', ['a', '--part', 'scores', '--seeds', '0', '--out', str(out),
                                         *limit])
        highres_camvid.main()
    rows = sum(len(net.modes()) for net in highres_camvid.NETS['camvid_highres'].values())
    assert evaluated == [2] * rows + [None] * rows  # the third call finds all of it
    rows = json.loads(out.read_text())['rows']['vit whole seed0']
    assert [row['limit'] for row in rows] == [None, None]
    assert 'out of' in capsys.readouterr().out


def test_calls_for_single_networks_share_a_file(evaluated, tmp_path, monkeypatch, capsys):
    out = tmp_path / 'a.json'
    nets = highres_camvid.NETS['camvid_lengths']
    for net in nets:
        monkeypatch.setattr('sys.argv', ['a', '--recipe', 'camvid_lengths', '--part', 'scores',
                                         '--seeds', '0', '--nets', net, '--out', str(out)])
        highres_camvid.main()
    results = json.loads(out.read_text())
    assert {key.split()[0] for key in results['rows']} == set(nets)
    assert len(results['commands']) == len(nets)
    monkeypatch.setattr('sys.argv', ['a', '--part', 'scores', '--nets', 'labels_crops'])
    with pytest.raises(SystemExit):
        highres_camvid.main()
    assert "camvid_highres has ['vit', 'adventurer'" in capsys.readouterr().err


def test_times_of_single_networks_share_a_file(tmp_path):
    args = argparse.Namespace(part='times', nets=['vit'], out=tmp_path / 'a.json')
    for net in ('vit whole', 'adventurer whole'):
        highres_camvid.keep(args, times={'1': {net: dict(median=1.)}})
    assert set(highres_camvid.measured(args.out)['times']['1']) == {'vit whole', 'adventurer whole'}


def test_windows_are_the_crop_and_steps_shrink_with_the_length(tmp_path):
    nets = highres_camvid.NETS['camvid_lengths']
    assert nets['labels'].modes()['slide']['model.test_cfg.crop_size'] == (240, 320)
    assert nets['labels_crops'].modes()['slide']['model.test_cfg.crop_size'] == (360, 480)
    assert nets['labels'].modes()['slide']['model.test_cfg.stride'] == (160, 216)
    assert list(nets['labels_steps'].modes()) == ['whole']
    folder = tmp_path / 'seed0/labels'
    folder.mkdir(parents=True)
    bias = torch.linspace(-7, -3, 5)
    torch.save(dict(state_dict={'a.mixer.dt_bias': bias.clone(), 'a.mixer.D': bias.clone()}),
               folder / 'iter_1.pth')
    (folder / 'last_checkpoint').write_text(str(folder / 'iter_1.pth'))
    args = argparse.Namespace(work_dir=tmp_path, recipe='camvid_lengths')
    changed = torch.load(highres_camvid.checkpoint(args, 0, 'labels_steps', 2.))['state_dict']
    assert torch.equal(changed['a.mixer.D'], bias)
    softplus = torch.nn.functional.softplus
    torch.testing.assert_close(softplus(changed['a.mixer.dt_bias']), softplus(bias) / 9,
                               rtol=0.03, atol=0)  # 720×960 are nine crops
    assert highres_camvid.checkpoint(args, 0, 'labels', 2.).endswith('iter_1.pth')


@pytest.mark.parametrize('busy', [False, True])
def test_the_command_of_a_benchmark_is_the_one_that_was_given(tmp_path, monkeypatch, capsys, busy):
    row = dict(peak_mib=1., teacher_mib=1.)
    monkeypatch.setattr(cheaper_teacher, 'in_fresh_process', lambda *_, **__: dict(row))
    monkeypatch.setattr(cheaper_teacher, 'made', lambda *_: (None, None))
    monkeypatch.setattr(cheaper_teacher, 'without_teacher', lambda *_: None)
    load = dict(disturbed=busy, others=1.2, cores=2, waiting=0.4)
    monkeypatch.setattr(cheaper_teacher, 'time_watched', lambda calls, *_, **__: {
        name: dict(median=1., load=load) for name in calls})
    out = tmp_path / 'a.json'
    monkeypatch.setattr('sys.argv', [cheaper_teacher.__file__, '--batch', '2', '--out', str(out)])
    cheaper_teacher.main()
    results = json.loads(out.read_text())
    assert '--batch 2' in results['command']
    assert 'page cache' in results['note']
    assert ('are not to be compared' in capsys.readouterr().out) == busy


def test_a_ridge_probe_by_hand(monkeypatch):
    """Classes that a linear map tells apart, shares of patches, and the score."""
    labels = torch.tensor([[0, 0, 1, 1], [0, 0, 11, 1]])
    shares = replaced_attention.shares(labels, (1, 2))
    assert shares.shape == (2, 11)
    assert shares[:, :2].tolist() == [[1., 0.], [0., 0.75]]
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(400, 6, generator=draw, dtype=torch.float64)
    truth = (x @ torch.randn(6, 11, generator=draw, dtype=torch.float64)).argmax(1)
    weights = replaced_attention.fit(x, torch.nn.functional.one_hot(truth, 11).double())
    assert ((x @ weights).argmax(1) == truth).double().mean() > 0.6  # chance is about 0.1
    monkeypatch.setattr(replaced_attention, 'CLASSES', 2)
    guess = torch.tensor([[0, 0, 1, 0], [0, 1, 1, 1]])
    known = torch.tensor([[0, 0, 1, 1], [0, 0, 2, 1]])  # 2 is void
    assert replaced_attention.miou([guess], [known]) == pytest.approx(100 * (3 / 5 + 2 / 4) / 2)


def test_the_probe_of_a_replaced_attention(camvid, monkeypatch):
    net = dict(model_name='vit_tiny_patch16_224', model_kwargs=dict(
        patch_size=16, embed_dim=32, depth=2, num_heads=2))
    monkeypatch.setattr(replaced_attention, 'TEACHER', net)
    train, val = (replaced_attention.frames(camvid, split, 120) for split in ('train', 'val'))
    for options in replaced_attention.WAYS.values():
        row = replaced_attention.probe(options, (64, 96), train, val)
        assert row['tokens'] == 24
        assert 0 < row['miou'] < 100


def test_what_a_user_would_run_instead(tmp_path, monkeypatch):
    """One of them from image to labels, and a file that the next call does not measure again."""
    pytest.importorskip('onnxruntime', reason='needs onnxruntime')
    monkeypatch.setattr(peers_cpu, 'has_bfloat16', lambda: False)
    out, lines = tmp_path / 'a.json', []
    monkeypatch.setattr('builtins.print', lambda text, **_: lines.append(text))
    monkeypatch.setattr('sys.argv', ['a', '--nets', 'EfficientViT-B1', '--shapes', '64x96',
                                     '--runtimes', 'torch', 'onnxruntime', '--rounds', '1',
                                     '--out', str(out), '--files', str(tmp_path / 'files')])
    peers_cpu.main()
    results = json.loads(out.read_text())
    assert [key.split('|')[0] for key in results['rows']] == ['EfficientViT-B1',
                                                              'EfficientViT-B1@onnxruntime']
    row, file = results['rows'].values()
    assert row['status'] == file['status'] == 'ok'
    assert row['flops'] > 1e8
    assert file['agreement']['labels'] > 0.999
    assert results['published'].keys() <= {s.name for s in peers_cpu.SUBJECTS}
    lines.clear()
    peers_cpu.main()
    assert not lines


def test_its_vits_have_the_head_of_the_adventurer_of_their_size():
    small = [s for s in peers_cpu.SUBJECTS if s.name in ('ViT-S', 'focal ViT-S', 'Adventurer-S')]
    heads = []
    for subject in small:
        net = Built(subject, (64, 64)).network
        assert net.test_cfg == dict(mode='whole')
        heads.append({name: p.shape for name, p in net.decode_head.named_parameters()})
        assert isinstance(net.backbone, TimmViT) == ('ViT' in subject.name)
    assert heads[0] == heads[1] == heads[2]


@pytest.mark.slow
def test_heads_that_were_trained_are_timed(streets, tmp_path, capsys):
    """A run of the recipe beside one that is not there."""
    train(nano(streets, tmp_path / 'one'))
    size, rows = heads_cpu.times(tmp_path, ['one', 'two'], 2., 3, 0.1)
    assert list(rows) == ['one']
    assert rows['one']['median'] > 0
    assert rows['one']['params'] > 0
    assert [int(side) % 2 for side in size.split('x')] == [0, 0]
    assert 'two has not been trained, and is left out' in capsys.readouterr().out
    with pytest.raises(ConfigError, match=r"holds none of \['two'\]; run the recipe first"):
        heads_cpu.times(tmp_path, ['two'], 1., 3, 0.1)
