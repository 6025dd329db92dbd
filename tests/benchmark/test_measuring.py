"""The instrument itself: known times, memory, operations and growth are found."""
import json
from functools import partial

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope

from mmvitlin.benchmark.measuring import Grid as FullGrid
from mmvitlin.benchmark.measuring import _left, in_words, measure
from mmvitlin.benchmark.subjects import Built, Subject, parse_subject, softmax_baselines
from mmvitlin.benchmark.trends import (
    changed,
    growth,
    series,
)
from mmvitlin.engine.runner.config import load_config
from mmvitlin.utils.errors import CheckpointError, ConfigError
from mmvitlin.utils.machine import peak_memory
from tests.benchmark.toys import MIB
from tests.conftest import ROOT
from tests.forked import python

pytestmark = pytest.mark.slow
Grid = partial(FullGrid, repeats=0)  # beside other tests, and of networks that sleep


def toy(name):
    return Subject(name, 'python', f'tests.benchmark.toys:{name}')


@pytest.fixture(scope='module')
def measured(tmp_path_factory):
    """All toys at three sizes."""
    out = tmp_path_factory.mktemp('speed') / 'results.json'
    grid = Grid([toy(n) for n in ('sleeper', 'hoarder', 'linear', 'quadratic', 'breaks',
                                  'product')],
                [(64, 64), (64, 128), (128, 128)], rounds=5, seconds=1.)
    return measure(grid, out, lambda text: None), grid, out


def row(results, name, size='64x64'):
    where = f'cpu, {torch.get_num_threads()} threads'
    return results['rows'][f'{name}|backbone|inference|{size}|batch 1|fp32|eager|{where}']


def test_a_known_sleep(measured):
    ms = row(measured[0], 'sleeper')['ms']
    assert 50 <= ms['median'] < 500  # beside whatever else the machine does
    assert ms['p10'] <= ms['median'] <= ms['p90']


def test_a_known_allocation(measured):
    assert row(measured[0], 'hoarder')['peak_mib'] == pytest.approx(MIB, rel=0.1)
    assert row(measured[0], 'sleeper')['peak_mib'] < 5


def test_known_operations(measured):
    actual = row(measured[0], 'product', '128x128')
    assert actual['flops'] == 2 * 3 * 128 * 128 * 64
    assert 0 < actual['fraction'] < 1.5


def test_growth_of_known_times(measured):
    """Of rows that were measured, with the times that their networks sleep."""
    lines = {k.split(' · ')[0]: v for k, v in series(measured[0]).items()}
    assert 'breaks' not in lines
    for name, power in (('linear', 1), ('quadratic', 2)):
        asleep = [20 * (r['tokens'] / 16)**power for r in lines[name]]
        assert [r['tokens'] for r in lines[name]] == [16, 32, 64]
        assert all(r['ms']['p10'] >= ms for r, ms in zip(lines[name], asleep, strict=True))
        rows = [dict(r, load=None, ms=dict(r['ms'], median=ms))
                for r, ms in zip(lines[name], asleep, strict=True)]
        assert growth(rows) == pytest.approx(power, abs=0.01)


def test_memory_that_was_used_before_counts_again():
    """Freed blocks that the C library keeps would hide what the next call takes."""
    def blocks():
        return [torch.ones(MIB * 2**18 // 100) for _ in range(100)]

    blocks()
    assert peak_memory(blocks) == pytest.approx(MIB, rel=0.1)


def test_out_of_memory_is_a_row(measured):
    assert row(measured[0], 'breaks')['status'] == 'out of memory'


def test_what_is_done_is_not_measured_again(measured):
    results, grid, out = measured
    messages = []
    assert measure(grid, out, messages.append)['rows'] == results['rows']
    assert messages == []


def test_two_runs_of_one_network_agree(measured, tmp_path):
    results, _, _ = measured
    again = measure(Grid([toy('sleeper')], [(64, 64)], rounds=5, seconds=1., memory=False),
                    tmp_path / 'r.json', lambda text: None)
    assert again['rows'].keys() <= results['rows'].keys()

    def timed(results, ms):
        spread = dict(p10=ms - 1, median=ms, p90=ms + 1)
        return dict(results, rows={k: dict(r, ms=dict(r.get('ms', {}), **spread), load=None)
                                   for k, r in results['rows'].items()})

    assert changed(timed(results, 51.), timed(again, 52.)) == []
    (change, ) = changed(timed(results, 51.), timed(again, 102.))
    assert change['ratio'] == 2
    given_up = dict(again, rows={k: dict(r, status='over the time limit', load=None)
                                 for k, r in again['rows'].items()})
    assert [c['new'] for c in changed(timed(results, 51.), given_up)] == ['over the time limit']
    for row in given_up['rows'].values():
        row['load'] = dict(disturbed=True)
    assert changed(timed(results, 51.), given_up) == []


def test_time_limits(tmp_path, monkeypatch):
    """A long run is the only one; a far too long one is given up, and larger ones not tried."""
    out = tmp_path / 'r.json'
    # else a row that the tests beside this one disturbed tells nothing of larger images
    monkeypatch.setattr('mmvitlin.benchmark.measuring.undisturbed', lambda rows: True)

    def rows(limit, shapes, **kwargs):
        return list(measure(Grid([toy('sleeper')], shapes, time_limit=limit, memory=False, rounds=3,
                                 seconds=0.1, **kwargs), out, lambda text: None)['rows'].values())

    once, = rows(0.045, [(64, 64)])
    assert (once['status'], once['ms']['rounds'], once['interleaved']) == ('ok', 1, False)
    given_up, larger = rows(0.005, [(64, 64), (128, 128)], again=True)
    assert given_up['status'] == larger['status'] == 'over the time limit'
    assert larger['why'] == '64x64 already was'
    first, second = rows(1., [(64, 64), (128, 128)])  # with more time they are tried again
    assert first['ms']['rounds'] == second['ms']['rounds'] == 3


def test_a_row_of_something_else_is_measured_again(tmp_path):
    out = tmp_path / 'r.json'

    def messages(**kwargs):
        words = []
        grid = Grid([Subject('toy', **kwargs)], [(64, 64)], rounds=3, seconds=0.1, memory=False)
        measure(grid, out, words.append)
        return words

    assert messages(source='python', what='tests.benchmark.toys:linear')
    assert not messages(source='python', what='tests.benchmark.toys:linear')
    assert messages(source='python', what='tests.benchmark.toys:quadratic')
    results = json.loads(out.read_text())
    assert [r['call'] for r in results['rows'].values()] == [1]
    assert len(results['calls']) == 2
    assert all(c['machine']['threads'] for c in results['calls'])


def test_a_cut_cell_resumes(tmp_path):
    out, messages = tmp_path / 'r.json', []

    class Cut(Exception):
        pass

    def stop(text):
        messages.append(text)
        if 'sleeper: ' in text:
            raise Cut

    grid = Grid([toy('sleeper'), toy('linear')], [(64, 64)], rounds=3, seconds=0.1, memory=False)
    with pytest.raises(Cut):
        measure(grid, out, stop)
    before = json.loads(out.read_text())['rows']
    assert [r['status'] for r in before.values()] == ['ok', 'pending']
    after = measure(grid, out, messages.append)['rows']
    assert [r['status'] for r in after.values()] == ['ok', 'ok']
    assert list(after.values())[0] == list(before.values())[0]


@pytest.mark.parametrize(('kwargs', 'words'), [
    (dict(precisions=['tf32']), 'tf32 is of GPUs'),
    (dict(precisions=['fp8']), r"\['fp8'\] are none of"),
    (dict(compiled=True, part='whole'), "'whole' is not compiled"),
])
def test_what_would_be_measured_as_something_else(kwargs, words, tmp_path):
    with pytest.raises(ConfigError, match=words):
        measure(Grid([toy('linear')], [(64, 64)], **kwargs), tmp_path / 'r.json')


def test_softmax_baselines_of_a_student():
    student = Subject('student', 'backbone', cfg=dict(
        type='mmvitlin.Adventurer', arch=dict(embed_dims=128, num_layers=8), patch_size=8))
    fused, materialised, windows = softmax_baselines(student)
    assert fused.cfg['model_kwargs'] == dict(patch_size=8, embed_dim=128, depth=8, num_heads=2)
    assert materialised.materialised
    assert windows.cfg['softmax_layers'] == [1, 3, 5, 7]
    assert windows.cfg['attend_padding']
    assert fused.name == 'fused softmax baseline of student'
    with pytest.raises(ConfigError, match='no softmax baseline'):
        softmax_baselines(Subject('r', 'timm', 'resnet18'))


def test_a_config_with_its_weights(tmp_path):
    config = str(ROOT / 'configs/seg/fcn_adventurer-nano_streets.py')
    init_default_scope('mmseg')
    first = MODELS.build(load_config(config).model)
    torch.save(dict(state_dict=first.state_dict()), tmp_path / 'trained.pth')
    options = dict(load_from=str(tmp_path / 'trained.pth'))
    again = Built(Subject('a', 'config', config, options=options), (64, 128)).network
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in first.state_dict().items())
    subject = Subject('a', 'config', config, options=options)
    assert all('load_from' not in s.options for s in softmax_baselines(subject))
    other = str(ROOT / 'configs/seg/fcn_vit-nano_streets.py')
    with pytest.raises(CheckpointError, match="no checkpoint of this config's model"):
        Built(Subject('a', 'config', other, options=options), (64, 128))
    with pytest.raises(FileNotFoundError, match='nowhere.pth'):
        Built(Subject('a', 'config', config, options=dict(load_from='nowhere.pth')), (64, 128))


def test_softmax_baselines_of_a_config_have_its_head():
    whole = parse_subject('mine=configs/seg/fcn_adventurer-nano_streets.py')
    for baseline in softmax_baselines(whole):
        built = Built(baseline, (64, 128))
        assert baseline.name.endswith('softmax baseline of mine')
        assert type(built.network.backbone).__name__ == 'TimmViT'
        assert built.network.backbone.vit.patch_embed.grid_size == (4, 8)
        built.call('whole', torch.randn(1, 3, 64, 128), 'inference', 'fp32')()


def test_a_distillation_step_is_timed(tmp_path):
    grid = Grid([parse_subject('configs/distill/linearizer_adventurer-nano_streets.py')],
                [(64, 128)], part='whole', mode='train', rounds=3, seconds=0.1)
    row, = measure(grid, tmp_path / 'r.json', lambda text: None)['rows'].values()
    assert row['status'] == 'ok', row
    assert row['peak_mib'] > 0


def test_subjects():
    assert parse_subject('resnet18').source == 'timm'
    assert parse_subject('torchvision:resnet18').source == 'torchvision'
    assert parse_subject('tests.benchmark.toys:linear').source == 'python'
    for kind, width in (('adventurer', 256), ('linear-vit', 192), ('mamba2-vit', 192),
                        ('vit', 192)):
        own = parse_subject(f'mmvitlin:{kind}-tiny')
        net = Built(own, (64, 96)).network
        assert net.embed_dims == width
        assert getattr(net, 'attention', ('none', ))[0] == {
            'adventurer': 'none', 'linear-vit': 'linear', 'mamba2-vit': 'mamba2',
            'vit': 'softmax'}[kind]
    with pytest.raises(ConfigError, match="'mmvitlin:vit-huge' is not known; take adventurer-"):
        parse_subject('mmvitlin:vit-huge')
    with pytest.raises(ConfigError, match='no config file, timm:NAME'):
        parse_subject('resnet_of_nobody')
    with pytest.raises(ConfigError, match='two subjects have one name'):
        measure(Grid([toy('linear')] * 2, [(64, 64)]), ROOT / 'no.json')


def test_the_command_line_on_a_config(streets, tmp_path):
    """Backbone with its softmax baselines, then the parts of the whole segmentor."""
    config = 'configs/seg/fcn_adventurer-nano_streets.py'
    common = ['--shapes', '64', '64x128', '--rounds', '3', '--seconds', '0.1', '--repeats', '0',
              '--out-dir', str(tmp_path)]
    scores = tmp_path / 'result.json'
    scores.write_text(json.dumps(dict(metrics=dict(mIoU=41.5))))
    done = python('tools/benchmark.py', f'net={config}', '--baselines', '--scores',
                  f'net={scores}', *common)
    assert done.returncode == 0, done.stderr[-2000:]
    results = json.loads((tmp_path / 'results.json').read_text())
    assert len(results['rows']) == 8
    assert all(r['status'] == 'ok' for r in results['rows'].values()), results['rows']
    for file in ('results.csv', 'latency.png', 'memory.png', 'throughput.png', 'roofline.png',
                 'accuracy.png'):
        assert (tmp_path / file).stat().st_size > 0
    assert 'time grows as tokens' in done.stdout or 'nothing is concluded' in done.stdout
    out = tmp_path / 'parts.json'
    for part, mode in (('head', 'inference'), ('post', 'inference'), ('whole', 'inference'),
                       ('whole', 'train'), ('backbone', 'train')):
        results = measure(Grid([parse_subject(config)], [(64, 128)], part=part, mode=mode, rounds=3,
                               seconds=0.1, memory=False), out, lambda text: None)
    assert [r['status'] for r in results['rows'].values()] == ['ok'] * 5, results['rows']


def test_pieces_of_what_is_compiled_are_reported(tmp_path):
    grid = Grid([toy('in_two_graphs')], [(32, 32)], rounds=3, seconds=0.1, compiled=True,
                memory=False)
    rows = measure(grid, tmp_path / 'results.json', lambda text: None)['rows']
    compiled, = (r for k, r in rows.items() if '|compiled|' in k)
    eager, = (r for k, r in rows.items() if '|eager|' in k)
    assert compiled['graph_breaks'] == 1
    assert 'graph_breaks' not in eager
    assert '1 graph break' in in_words(compiled)


def test_the_time_left_counts_what_every_cell_costs():
    """Networks that run 1 s in all, in a cell of 99 s: 90 s went into processes that start."""
    grid = Grid([], [], seconds=5., rounds=8)
    small, large = (dict(shape=shape, batch=1) for shape in ((256, 256), (512, 512)))
    assert _left(grid, [], [small]) == ''
    assert 'about 2 min' in _left(grid, [(small, 99., 1., 0.)], [small])  # 99 s
    assert 'about 2 min' in _left(grid, [(small, 99., 1., 0.)], [large])  # 90 + 7 runs of 5.3 s
    assert 'about 5 min' in _left(grid, [(small, 99., 1., 0.)], [small, large, small])
    assert 'less than a minute' in _left(grid, [(small, 10., 0., 0.)], [small])
    assert 'about 10 min' in _left(grid, [(small, 600., 0., 590.)], [small])  # once, not in turn


def test_figures_of_several_ways(tmp_path, monkeypatch):
    """A panel a way, named by what differs; sizes named once for all; nothing of nothing."""
    from mmvitlin.benchmark import figures

    def rows(times):
        return [dict(tokens=t, shape=f'{s}x{s}', ms=dict(median=ms, p10=ms, p90=ms), peak_mib=1.,
                     images_per_second=1.)
                for t, s, ms in zip((256, 1024, 4096), (256, 512, 1024), times, strict=False)]

    lines = {f'{name} · backbone · batch 1 · {way}': rows(times)
             for way in ('fp32 · eager', 'fp32 · compiled', 'bf16 · eager', 'bf16 · compiled')
             for name, times in (('a-tiny', (2, 3, 4)), ('b-tiny', (1, 4)), ('b-base', (1, 2, 8)))}
    drawn = []
    monkeypatch.setattr(figures, 'save', lambda figure, path: drawn.append(figure) or path)
    assert figures.speed_figures({}, [], {}, tmp_path) == []
    pairs = [dict(faster='a-tiny', slower='b-tiny', setting='backbone · batch 1 · fp32 · eager',
                  tokens=500, level=None, always=False),
             dict(faster='a-tiny', slower='b-base', setting='backbone · batch 1 · fp32 · eager',
                  tokens=2500, level=None, always=False),
             dict(faster='a-base', slower='b-base', setting='backbone · batch 1 · fp32 · eager',
                  tokens=None, level='512x512', since='1024x1024', always=False)]
    names = figures.speed_figures(lines, pairs, dict(fp32=dict(flops=1e9, bytes=1e9)), tmp_path)
    assert [p.name for p in names] == ['latency.png', 'memory.png', 'throughput.png',
                                       'roofline.png']
    panels = drawn[0].axes
    assert [p.get_title() for p in panels] == ['fp32 · eager', 'fp32 · compiled', 'bf16 · eager',
                                               'bf16 · compiled']
    for panel in panels:
        assert [t.get_text().split()[0] for t in panel.get_xticklabels()] == ['256', '1,024',
                                                                              '4,096']
        assert panel.xaxis.get_tick_params()['labelbottom']
    labels = [t.get_text() for t in panels[0].get_legend().get_texts()]
    assert labels == ['1: a-tiny faster than b-tiny from 500 tokens',
                      '2: a-base faster than b-base from 1024×1024 (level at 512×512)',
                      '1 more pair in the results file']
    assert drawn[0]._suptitle.get_text() == 'backbone · batch 1'
    for row in (row for line in lines.values() for row in line):
        row.update(peak_mib=None)
    monkeypatch.undo()
    names = figures.speed_figures(lines, [], dict(fp32=dict(flops=1e9, bytes=1e9)), tmp_path)
    assert [p.name for p in names] == ['latency.png', 'throughput.png', 'roofline.png']
