"""Scores under shifts: what is compared, and what is refused."""
import json
import re
import shutil

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.datasets import BaseSegDataset
from mmseg.structures import SegDataSample

from mmvitlin.datasets.subset import evenly
from mmvitlin.datasets.transforms.corruptions import CentreShare
from mmvitlin.engine.runner.config import load_config
from mmvitlin.evaluation import robustness, robustness_summary
from mmvitlin.evaluation.robustness import (
    check_shifts,
    conditions,
    evaluate_shifts,
    made_of,
    scores_of,
    shifted,
)
from mmvitlin.evaluation.robustness_summary import over_seeds, robustness_figure, summarise
from mmvitlin.utils.errors import CheckpointError, ConfigError
from tests.conftest import ROOT
from tests.forked import python


def test_pipelines_under_a_shift():
    steps = [dict(type='mmvitlin.LoadImage'), dict(type='Resize', scale=(512, 256)),
             dict(type='PackSegInputs')]
    assert shifted(steps, dict(scale=0.5))[1]['scale'] == (256, 128)
    assert [s['type'] for s in shifted(steps, dict(share=0.5))][2] == 'mmvitlin.CentreShare'
    assert [s['type'] for s in shifted(steps, dict(corruption='fog', severity=2))][1] == \
        'mmvitlin.Corrupt'
    assert steps[1]['scale'] == (512, 256)
    by_factor = [dict(type='Resize', scale_factor=1), dict(type='Pad', size=(512, 256))]
    assert shifted(by_factor, dict(scale=0.75)) == [
        dict(type='Resize', scale_factor=0.75), dict(type='Pad', size=(384, 192))]
    with pytest.raises(ConfigError, match='no Resize'):
        shifted(steps[:1], dict(scale=2))


@pytest.mark.slow
def test_scores_under_each_shift(segmentor, streets):
    names = conditions(('resolution', 'context'))
    calls = []
    options = dict(data_root=str(streets))
    scores = evaluate_shifts(dict(net=segmentor), names, options, limit=2,
                             progress=lambda *call: calls.append(call))['net']
    assert sorted(calls) == sorted(('net', *item) for item in scores.items())
    assert scores.keys() == {
        'clean', 'scale 0.5', 'scale 0.75', 'scale 1.5', 'scale 2', 'centre 0.75', 'share 0.75',
        'centre 0.5', 'share 0.5', 'centre 0.25', 'share 0.25'}
    summary = summarise(dict(net=scores))['net']
    scaled = [score for name, score in scores.items() if name.startswith('scale')]
    assert summary['scale'] == pytest.approx(np.mean(scaled), abs=0.01)
    again = evaluate_shifts(dict(net=segmentor), names, options, limit=2,
                            done=dict(net=dict(scores, clean=-1.)))
    assert again['net'] == dict(scores, clean=-1.)


@pytest.mark.slow
def test_networks_side_by_side_score_as_each_by_itself(segmentor, streets, tmp_path, monkeypatch):
    """And an image that they share is drawn once."""
    config, checkpoint = segmentor
    weights = torch.load(checkpoint, weights_only=True)['state_dict']
    torch.save(dict(state_dict={k: -v for k, v in weights.items()}), tmp_path / 'other.pth')
    small = load_config(config)
    small.test_dataloader.dataset.pipeline[1].scale = (128, 64)
    small.dump(tmp_path / 'small.py')
    nets = dict(one=segmentor, two=(config, str(tmp_path / 'other.pth')),
                small=(str(tmp_path / 'small.py'), checkpoint))
    drawn = []
    monkeypatch.setattr('mmvitlin.datasets.transforms.corruptions.CentreShare.transform',
                        lambda self, results, f=CentreShare.transform: (
                            drawn.append(results['img_path']), f(self, results))[1])
    shifts = {k: v for k, v in conditions(('context', )).items() if '0.25' not in k}
    options = dict(data_root=str(streets))
    together = evaluate_shifts(nets, shifts, options)
    assert len(drawn) == 2 * 2 * 3  # shares, test sets, images
    assert together['one'] != together['two']
    for name, net in nets.items():
        assert evaluate_shifts({name: net}, shifts, options)[name] == together[name]


@pytest.mark.slow
def test_batches_score_as_single_images_and_the_set_is_listed_once(segmentor, streets, monkeypatch):
    config, checkpoint = segmentor
    options, shifts = dict(data_root=str(streets)), conditions(('resolution', ))
    sizes, listed = [], []
    monkeypatch.setattr(robustness._Network, 'predict',
                        lambda self, samples, f=robustness._Network.predict: (
                            sizes.append(len(samples)), f(self, samples))[1])
    monkeypatch.setattr(BaseSegDataset, 'load_data_list',
                        lambda self, f=BaseSegDataset.load_data_list: (
                            listed.append(1), f(self))[1])
    result = {}
    for size in (1, 2):
        sizes.clear(), listed.clear()
        result[size] = evaluate_shifts({'net': segmentor}, shifts, dict(
            options, **{'test_dataloader.batch_size': size}))['net']
        assert len(listed) == 1
        assert max(sizes) == size
        assert sum(sizes) == 3 * len(shifts)  # images, conditions
    assert result[1] == pytest.approx(result[2], abs=0.01)


def test_a_subset_is_evenly_spread():
    assert evenly(6) == evenly(6, 6) == evenly(6, 9) == list(range(6))
    assert evenly(100, 4) == [12, 37, 62, 87]
    assert [len({n // 1000 for n in evenly(10000, limit)}) for limit in (10, 1000)] == [10, 10]
    with pytest.raises(ValueError, match='at least one'):
        evenly(6, 0)


def test_means_are_of_what_all_networks_have():
    whole = {'clean': 40., **{f'fog {n}': 40. - 6 * n for n in range(1, 6)}}
    summary = summarise(dict(one=whole, other={'clean': 40., 'fog 1': 34.}, begun={}))
    assert summary['one'] == summary['other'] == {
        'clean': 40., 'fog': 34., 'fog drop': 15., 'corruption': 34., 'corruption drop': 15.}


def test_seeds_are_one_line_of_the_figure(tmp_path, monkeypatch):
    assert over_seeds({'a/0': {'x': 1.}, 'a/1': {'x': 3.}, 'b': {'x': 9.}}) == {
        'a': {'x': 2.}, 'b': {'x': 9.}}
    assert list(over_seeds({'exp/a/0': {'x': 1.}, 'exp/b/0': {'x': 3.}})) == ['exp/a', 'exp/b']
    kept = []
    monkeypatch.setattr(robustness_summary, 'save', lambda figure, path: kept.append(figure))
    robustness_figure({
        'a/0': {'clean': 40., 'fog 1': 20., 'snow 1': 30.},
        'a/1': {'clean': 20., 'fog 1': 20., 'snow 1': 10.},
        'b': {'clean': 10., 'fog 1': 5.}}, tmp_path / 'x.png')  # snow is not shared by all
    left, right = kept[0].axes
    lines = {line.get_label(): list(line.get_ydata()) for line in left.get_lines()}
    assert lines == {'a': [30., 20.], 'b': [10., 5.]}
    assert [bar.get_height() for bar in right.patches] == [25., 50.]  # of 50% and 0%


def test_less_context_is_held_against_the_same_pixels():
    summary = summarise(dict(net={'clean': 40., 'centre 0.5': 20., 'share 0.5': 15.}))['net']
    assert summary == {'clean': 40., 'share': 15., 'share drop': 25.}
    assert conditions(('context', ))['centre 0.5'] == dict(centre=0.5)

    sample = SegDataSample(**{key: PixelData(data=torch.arange(48).view(1, 6, 8))
                              for key in ('pred_sem_seg', 'gt_sem_seg')})
    cut = robustness._middle_of(sample, 0.5)
    assert sample.gt_sem_seg.data.shape == (1, 6, 8)  # the whole one is scored too
    for field in (cut.pred_sem_seg, cut.gt_sem_seg):
        assert field.data.tolist() == [[[10, 11, 12, 13], [18, 19, 20, 21], [26, 27, 28, 29]]]


def test_unsupported_shifts_are_reported_before_anything_is_scored(monkeypatch):
    monkeypatch.chdir(ROOT)
    config = 'configs/cls/vit-pico_cifar10.py'
    options = {'test_dataloader.dataset.pipeline': [
        dict(type='mmvitlin.LoadImage'), dict(type='PackInputs')]}
    check_shifts(load_config(config), conditions(('resolution', 'context')))
    cfg = load_config(config, options)
    check_shifts(cfg, conditions(('context', )))
    with pytest.raises(ConfigError, match='no Resize .* Leave resolution out of --kinds'):
        check_shifts(cfg, conditions(('resolution', 'context')))
    with pytest.raises(ConfigError, match='no Resize'):  # the checkpoint is not even looked for
        evaluate_shifts(dict(net=(config, 'none.pth')), conditions(('resolution', )), options)


def test_scores_of_another_network_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    weights = tmp_path / 'a.pth'
    weights.write_bytes(b'one')
    config = 'configs/cls/vit-pico_cifar10.py'
    cfg = load_config(config)
    with pytest.raises(CheckpointError, match='no checkpoint at none.pth'):
        made_of(cfg, 'none.pth')
    results = dict(nets={})
    scores_of(results, 'net', made_of(cfg, str(weights), 5))  # not begun
    scores_of(results, 'net', made_of(cfg, str(weights)))['clean'] = 40.
    results = json.loads(json.dumps(results))
    assert scores_of(results, 'net', made_of(load_config(config), str(weights))) == {'clean': 40.}
    other = load_config(config, {'model.backbone.drop_path_rate': 0.3})
    for made, word in ((made_of(cfg, str(weights), 5), 'limit'),
                       (made_of(other, str(weights)), 'config')):
        with pytest.raises(ConfigError, match=f"scores of 'net' .* unknown {word}; take another"):
            scores_of(results, 'net', made)
    tuned = 'configs/cls/adventurer-pico_cifar10_distilled.py'
    start = {'model.backbone.init_cfg.checkpoint': 'elsewhere/student.pth'}
    assert made_of(load_config(tuned), str(weights)) == made_of(load_config(tuned, start),
                                                                str(weights))
    weights.write_bytes(b'two')
    with pytest.raises(ConfigError, match='unknown checkpoint; take'):
        scores_of(results, 'net', made_of(cfg, str(weights)))
    del results['made_of']  # a file that does not say
    with pytest.raises(ConfigError, match='config and checkpoint and limit'):
        scores_of(results, 'net', made_of(cfg, str(weights)))


@pytest.mark.slow
def test_the_command_line_continues_where_it_was_stopped(segmentor, streets, tmp_path):
    """Two seeds of a run and a network that is none; one condition at first, three then."""
    for seed in (0, 1):
        folder = tmp_path / f'seed{seed}' / 'tuned'
        folder.mkdir(parents=True)
        for file in segmentor:
            shutil.copy(file, folder)
        (folder / 'last_checkpoint').write_text('iter_1.pth')
    weights = torch.load(segmentor[1], weights_only=True)['state_dict']
    torch.save(dict(state_dict={k: -v for k, v in weights.items()}), folder / 'iter_1.pth')

    def call(*more):
        return python('tools/robustness.py',
             f'{tmp_path}/seed{{seed}}/tuned', f'other={",".join(segmentor)}', '--seeds', '0', '1',
             '--limit', '1', '--corruptions', 'fog', '--out', str(tmp_path / 'r.json'), *more,
             '--cfg-options', f'data_root={streets}')

    first = call('--kinds', 'corruption', '--severities', '2')
    assert first.returncode == 0, first.stderr[-2000:]
    results = json.loads((tmp_path / 'r.json').read_text())
    assert list(results['nets']) == ['tuned/0', 'tuned/1', 'other']
    assert results['conditions'] == ['clean', 'fog 2']
    assert results['nets']['tuned/0'] == results['nets']['other'] != results['nets']['tuned/1']
    assert (tmp_path / 'r.png').stat().st_size > 5000
    second = call('--kinds', 'corruption', '--severities', '2', '5')
    assert second.returncode == 0, second.stderr[-2000:]
    scored = re.findall(r'^(\S+, \w+ \d): ', second.stdout, re.M)
    assert scored == [f'{name}, fog 5' for name in results['nets']]
    assert len(json.loads((tmp_path / 'r.json').read_text())['commands']) == 2
    refused = call('--limit', '2')
    assert refused.returncode == 2
    assert "the scores of 'tuned/0' were made with another or an unknown limit" in refused.stderr
