"""The statistics of docs/results: intervals of pairs, of many rows together, and in points."""
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from tests.conftest import ROOT


@pytest.fixture
def tables(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / 'tools' / 'results')
    import accuracy_tables
    import deployed_tables
    import evidence_tables
    import scores
    yield SimpleNamespace(accuracy=accuracy_tables, evidence=evidence_tables, scores=scores,
                          deployed=deployed_tables)
    for name in ('accuracy_tables', 'evidence_tables', 'speed_tables', 'trust_table', 'commands',
                 'deployed_tables', 'scores'):
        sys.modules.pop(name, None)


def row(*values):
    return dict(values=list(values), mean=float(np.mean(values)))


def test_an_interval_is_that_of_the_paired_t_test(tables):
    a, b = [31., 33.5, 32.], [30., 31., 31.5]
    low, high = tables.scores.interval(row(*a), row(*b))
    want = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert (low, high) == pytest.approx((want.low, want.high))
    assert tables.scores.beside(row(*a), row(*b)) == 'level with'
    assert tables.scores.beside(row(5., 6.), row(1., 2.)) == 'better than'
    shared = row(30.)
    assert tables.scores.gaps_of(row(*a), shared) == [1., 3.5, 2.]
    assert tables.scores.gaps_of(shared, row(*a)) == [-1., -3.5, -2.]
    of_all, second = row(*a) | dict(seeds=[0, 1, 2]), row(30.) | dict(seeds=[1], incomplete=True)
    assert tables.scores.gaps_of(of_all, second) == [3.5]  # no shared run: seed 1 with seed 1
    assert tables.scores.gaps_of(second, of_all) == [-3.5]
    assert tables.scores.gaps_of(second, shared) == [0.]
    assert tables.scores.interval(of_all, second) is None


def test_many_rows_tell_the_spread_that_a_pair_cannot(tables):
    """Seeds that lift all rows, and rows that differ, are no scatter."""
    rng, sigma = np.random.default_rng(0), 0.5
    scores = rng.normal(0, 9, (60, 1)) + rng.normal(0, 9, (1, 5)) + rng.normal(0, sigma, (60, 5))
    stages = {f'distilled-{n}': row(*values) for n, values in enumerate(scores)}
    stages['teacher'] = row(*rng.normal(50, 20, 5))
    results = dict(stages=stages, seeds=[0, 1, 2, 3, 4])
    spread = tables.scores.spread_of(results)
    assert spread.freedom == 59 * 4
    assert spread.deviation == pytest.approx(sigma, rel=0.1)
    one, two = stages['distilled-0'], stages['distilled-1']
    low, high = tables.scores.interval(one, two, spread)
    assert (high - low) / 2 == pytest.approx(1.97 * spread.deviation * (2 / 5)**0.5, rel=1e-2)
    assert tables.scores.interval(one, stages['teacher'], spread) == tables.scores.interval(
        one, stages['teacher'])  # not one of those rows
    few = dict(results, stages=dict(list(stages.items())[:5]))
    assert tables.scores.spread_of(few) is None


def test_the_intervals_hold_what_they_say(tables):
    """About 95 of 100 intervals of equal rows hold 0."""
    rng, held = np.random.default_rng(1), 0
    for _ in range(300):
        stages = {f'distilled-{n}': row(*rng.normal(0, 1, 3)) for n in range(8)}
        spread = tables.scores.spread_of(dict(stages=stages, seeds=[0, 1, 2]))
        low, high = tables.scores.interval(stages['distilled-0'], stages['distilled-1'], spread)
        held += low <= 0 <= high
    assert 0.92 < held / 300 < 0.98


def test_points_under_shifts_are_compared_within_seeds(tables):
    summary = {f'{name}/{seed}': {'clean': base + 10 * seed, 'corruption': base / 2 + 10 * seed,
                                  'corruption drop': 50.}
               for name, base in (('distilled', 30.), ('scratch', 20.)) for seed in (2, 0, 1)}
    text, _ = tables.evidence.in_points(summary, ['corruption'])
    assert ('“distilled” − “scratch”: +10.0 [+10.0, +10.0] without shift, +5.0 [+5.0, +5.0] under '
            'corruptions') in text
    assert tables.evidence.in_points({'vit': summary['scratch/0']}, ['corruption']) == []


def test_students_without_a_control_have_empty_cells(tables):
    stages = {stage: dict(row(20., 21., 22.2), std=1., iterations=150)
              for names in tables.accuracy.student_stages().values() for stage in names[:2]}
    stages['supervised_long'] = dict(row(25., 26., 27.), std=1., iterations=450)
    stages |= {'teacher': dict(row(30.), iterations=9), 'distill-both': dict(iterations=300)}
    lines = tables.accuracy.students(dict(recipe='configs/recipes/camvid_students.py',
                                          seeds=[0, 1, 2], stages=stages, command='python …'))
    assert 'labels for 450 | gain over it' in next(x for x in lines if x.startswith('| | mIoU'))
    adventurer = next(x for x in lines if x.startswith('| Adventurer'))
    assert '26.0 ± 1.0 | -4.9 [' in adventurer
    mixer = next(x for x in lines if x.startswith('| MLP-Mixer'))
    assert '| – |  | ' in mixer


def speeds(*rows):
    """Results of tools/benchmark.py: network, part, image, precision, ms."""
    return dict(
        calls=[dict(machine=dict(gpu=None, threads=2, processor='a processor'), command='measure')],
        rows={f'{net}|{part}|inference|{size}|batch 1|{precision}|eager|cpu, 2 threads': dict(
            status='ok', call=0, parameters=None if '@' in net else 2_500_000,
            flops=None if '@' in net else 3e12, process_mib=512. if '@' in net else 2048.,
            ms=dict(median=ms, rounds=5)) for net, part, size, precision, ms in rows})


def test_exported_networks_are_compared_within_a_column(tables):
    table = '\n'.join(tables.deployed.deployed(speeds(
        ('vit-base', 'backbone', '64x64', 'fp32', 8000.),
        ('vit-base@openvino', 'backbone', '64x64', 'bf16', 4000.),
        ('adventurer-base', 'backbone', '64x64', 'fp32', 2000.),
        ('adventurer-base@openvino', 'backbone', '64x64', 'bf16', 500.))))
    assert '| image | | torch | OpenVINO, bf16 | fastest forms |' in table
    assert '| 64×64 | vit-base | 8 | 4 |  |' in table
    assert '| 64×64 | adventurer-base | 2 (4.00×) | 0.5 (8.00×) | 8.00× |' in table


def test_peers_are_in_order_of_their_fastest_form(tables):
    table = tables.deployed.peers(dict(speeds(
        ('slow', 'labels', '64x64', 'fp32', 8000.),
        ('slow@openvino', 'labels', '64x64', 'fp32', 400.),
        ('quick', 'labels', '64x64', 'fp32', 500.)),
        published=dict(quick=dict(miou=80.44, source='a paper'))))
    assert [line for line in table if line.startswith(('| slow', '| quick'))] == [
        '| slow | 2.5 | 3,000 | 8 | 0.4 | 512 |  |',
        '| quick | 2.5 | 3,000 | 0.5 | – | – | 80.4, a paper |']
    assert 'Published: quick: a paper.' in table


def test_int8_files_are_beside_their_float32(tables):
    table = tables.deployed.reduced_precision(dict(speeds(
        ('focal_fp32_64x64@openvino', 'labels', '64x64', 'fp32', 800.),
        ('focal_int8_64x64@openvino', 'labels', '64x64', 'fp32', 400.)),
        scores=dict(focal=dict(images=9, miou=dict(torch=51.24, int8=50.96)))))
    assert '| focal ViT-S | 51.2 | 51.0 | – | 0.8, 0.4, 2.00× |' in table


def test_no_fastest_form_where_one_is_missing(tables):
    """The fastest of the softmax ViT may be the one that others disturbed."""
    results = json.loads((ROOT / 'docs/results/deployed_cpu.json').read_text())
    size, lost = '1024x2048', 'vit-base@openvino|backbone|inference|1024x2048|batch 1|bf16'

    def ratios():
        return {cells[2].strip(): cells[-2].strip() for line in tables.deployed.deployed(results)
                if (cells := line.split('|'))[1:2] == [f" {size.replace('x', '×')} "]}

    before = ratios()
    assert all(text.endswith('×') for net, text in before.items() if net != 'vit-base')
    key, = (k for k in results['rows'] if k.startswith(lost))
    results['rows'][key]['load'] = dict(disturbed=True)
    assert set(ratios().values()) == {''}


def test_pages_have_the_published_errors_of_bfloat16():
    rows = json.loads((ROOT / 'docs/results/deployed_cpu.json').read_text())['rows']
    errors = {key.split('|')[0]: 100 * row['agreement']['error'] for key, row in rows.items()
              if '@openvino' in key and '|1024x2048|' in key and '|bf16|' in key}
    adventurer = errors.pop('adventurer-base@openvino')
    of_vits = {100 * row['agreement']['error'] for key, row in rows.items() if '@openvino' in key
             and '|bf16|' in key and not key.startswith('adventurer')}
    words = (f'by up to {max(of_vits):.1f}% of the largest value in the ViTs and '
             f'{adventurer:.1f}% in')
    for page in ('docs/results/index.md', 'docs/deployment.md'):
        assert words in ' '.join((ROOT / page).read_text().split()), page


def test_every_figure_of_the_page_is_drawn(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / 'tools' / 'results')
    import site_figures
    site_figures.draw({path.stem: json.loads(path.read_text(encoding='utf-8'))
                       for path in (ROOT / 'docs/results').glob('*.json')}, tmp_path)
    shown = set(re.findall(r'\((site_\w+\.png)\)',
                           (ROOT / 'docs/results/index.md').read_text(encoding='utf-8')))
    assert shown == {path.name for path in tmp_path.iterdir()}


def test_heads_beside_their_times(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / 'tools' / 'results')
    import heads_table
    monkeypatch.setattr(heads_table, 'ROOT', tmp_path)
    results = dict(seeds=[0, 1], recipe='r.py', command='run', runs={}, stages={
        name: dict(row(*values), std=float(np.std(values, ddof=1))) for name, values in (
            ('camvid_linear', (30., 32.)), ('streets_linear', (20., 20.)),
            ('camvid_eomt', (28., 30.)))})
    lines = heads_table.heads(results)
    assert '| one layer | – | 31.0 ± 1.4 | 20.0 ± 0.0 |' in lines  # not timed yet
    (tmp_path / 'docs/results').mkdir(parents=True)
    (tmp_path / 'docs/results/heads_speed.json').write_text(json.dumps(dict(command='time', rows={
        'camvid 360x480': {name: dict(median=12.4, params=2.1e6, load=dict(disturbed=mark))
                           for name, mark in (('camvid_linear', False), ('camvid_eomt', True))}})))
    lines = heads_table.heads(results)
    assert '| | parameters, M | CamVid, mIoU | 360×480, ms | drawn streets, mIoU |' in lines
    assert '| one layer | 2.10 | 31.0 ± 1.4 | 12 | 20.0 ± 0.0 |' in lines
    assert '| EoMT | 2.10 | 29.0 ± 1.4 | 12 ~ | – |' in lines
    assert '~ disturbed by other processes.' in lines
    assert not any('SegFormer' in line for line in lines)
    sys.modules.pop('heads_table')
    sys.modules.pop('commands')


def test_many_calls_of_one_recipe_are_one_command(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / 'tools' / 'results')
    import commands
    results = dict(command='python x r.py --seeds 1 --out o.json', recipe='r.py', runs={
        '1': {'b': {}}, '0': {'a': {}}}, added=[dict(command=f'call {n}') for n in range(3)])
    assert commands.commands(results)[1:3] == [
        '# in 4 calls, not every stage with every seed',
        'python tools/run_recipe.py r.py --seeds 0 1 --stages a b --out o.json']
    results['added'].pop()
    assert commands.commands(results)[1:4] == [results['command'], 'call 0', 'call 1']
    sys.modules.pop('commands')
