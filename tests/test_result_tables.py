"""The statistics of docs/results: intervals of pairs, of many rows together, and in points."""
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats


@pytest.fixture
def tables(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / 'tools' / 'results')
    import accuracy_tables
    import evidence_tables
    import scores
    import summary
    yield SimpleNamespace(accuracy=accuracy_tables, evidence=evidence_tables, scores=scores,
                          summary=summary)
    for name in ('accuracy_tables', 'advice', 'evidence_tables', 'speed_tables', 'trust_table',
                 'commands', 'large_images', 'scores', 'summary'):
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
    assert ('“distilled” less “scratch”: +10.0 [+10.0, +10.0] as it is, +5.0 [+5.0, +5.0] under '
            'corruptions') in text
    assert tables.evidence.in_points({'vit': summary['scratch/0']}, ['corruption']) == []


def ablation_of(recipe: str, metric: str, **rows: float) -> dict:
    """An ablation whose rows scatter alike over three seeds, by their means."""
    names = ['distilled-both', 'distilled-activation_only', 'distilled-activation_unmasked',
             'distilled-mask_only', 'distilled-plain_l2', 'distilled-stages_1', 'logits_head',
             'supervised', 'supervised_long']
    stages = {name: dict(row(*(rows.get(name.replace('-', '_'), 30.) + d for d in (-1, 0, 1))),
                         std=1., iterations=150) for name in names}
    for n, stage in enumerate(stages.values()):  # what is left beyond row and seed
        stage['values'][n % 3] += 0.01
    return dict(recipe=f'configs/recipes/{recipe}.py', metric=metric, seeds=[0, 1, 2],
                command='python …', stages=dict(stages, **{'distill-both': dict(iterations=300)}))


def test_the_readme_says_what_was_above_the_method_on_every_data_set(tables):
    files = {
        'CamVid': ablation_of('camvid_ablation', 'mIoU', distilled_plain_l2=33.,
                              logits_head=34., supervised=25.),
        'CIFAR-10': ablation_of('cifar10_ablation', 'accuracy/top1', distilled_plain_l2=33.,
                                logits_head=20., supervised=25.)}
    told, = tables.summary.advice.which_objective(files)
    assert 'Better than it: plain L2 on final features (CamVid +3.0 [' in told
    assert ', CIFAR-10 +3.0 [' in told
    assert 'Worse: 150 iterations with labels, without distillation. ' in told
    assert "Better on CamVid only: the teacher's class probabilities" in told
    assert 'Better on CIFAR-10 only' not in told
    assert 'gives an Adventurer mIoU 30.0 ± 1.0 on CamVid and top-1 accuracy 30.0 ± 1.0' in told
    assert 'By its mask ratio: CamVid 30.0 at 0.75; CIFAR-10 30.0 at 0.75. ' in told
    told, = tables.summary.advice.which_objective({'CIFAR-10': files['CIFAR-10']})
    assert 'only' not in told

    lines = tables.summary.ablations(files)
    plain = next(line for line in lines if line.startswith('| plain L2'))
    assert plain.count('**+3.0 [') == 2
    one = next(line for line in lines if line.startswith('| K = 1'))
    assert '+0.0 [' in one
    assert '**' not in one
    two = next(line for line in lines if line.startswith('| K = 2'))  # not measured
    assert two.endswith('| – |  | – |  |')


def test_which_teacher_is_advised_by_what_their_students_gain(tables):
    def taught(teacher, student, gain):
        return dict(stages={teacher: row(50.), student: row(*(20 + gain + d for d in (0, 1, 2))),
                            'supervised': row(20., 21., 22.1)})

    by_patches, cls = taught('teacher', 'distilled-both', 5.), ('teacher_cls', 'distilled-visible')
    told, = tables.summary.advice.which_teacher(by_patches, taught(*cls, 0.))
    assert 'Try one that classifies by the mean of its patches' in told
    assert '(50.0 itself) gives a student +5.0 [' in told
    told, = tables.summary.advice.which_teacher(by_patches, taught(*cls, 6.))
    assert '*Which teacher*? Of two that are alike' in told


def test_what_labels_do_instead_and_what_more_time_does(tables):
    results = ablation_of('camvid_ablation', 'mIoU', supervised_long=32., distilled_plain_l2=33.)
    adventurers = dict(stages={'scratch_long': row(36., 37., 38.), 'distilled': row(33., 34., 35.)})
    vits = dict(stages={'no_alignment_long': row(34., 35., 36.1), 'both_stages': row(34., 35., 36)})
    told, = tables.summary.advice.labels_instead(adventurers, vits, {'CamVid': results})
    assert 'an Adventurer is better than the distilled one (+3.0 [' in told
    assert 'a linear ViT level with the aligned one (+0.0 [' in told
    assert 'on CamVid, beside labels for all 150 iterations: ViT-Linearizer -2.0 [' in told
    assert 'plain L2 on final features +1.0 [' in told
    longer = dict(stages={
        'distill_long-both': dict(iterations=1000),
        'distilled_long-both': dict(row(40., 41., 42.), std=1.),
        'distilled_long-plain_l2': dict(row(43., 44., 45.1), std=1.),
        'supervised_longest': dict(row(39., 40., 41.1), std=1., iterations=1150)})
    told, = tables.summary.advice.labels_instead(adventurers, vits, {'CamVid': results}, longer)
    assert 'on CIFAR-10, beside labels for all 1,150 iterations: ViT-Linearizer +1.0 [' in told
    assert 'plain L2 on final features +4.0 [' in told
    told = tables.summary.advice.with_more_time(longer)
    assert told.startswith('With 1,000 iterations without labels on CIFAR-10: ViT-Linearizer 41.0')
    assert 'plain L2 44.0 ± 1.0 (+3.0 [' in told


def test_students_without_a_control_have_empty_cells(tables):
    stages = {stage: dict(row(20., 21., 22.2), std=1., iterations=150)
              for names in tables.accuracy.student_stages().values() for stage in names[:2]}
    stages['supervised_long'] = dict(row(25., 26., 27.), std=1., iterations=450)
    stages |= {'teacher': dict(row(30.), iterations=9), 'distill-both': dict(iterations=300)}
    lines = tables.accuracy.students(dict(recipe='configs/recipes/camvid_students.py',
                                          seeds=[0, 1, 2], stages=stages, command='python …'))
    assert 'labels for 450 | gained beside it' in next(x for x in lines if x.startswith('| | mIoU'))
    adventurer = next(x for x in lines if x.startswith('| Adventurer'))
    assert '26.0 ± 1.0 | -4.9 [' in adventurer
    mixer = next(x for x in lines if x.startswith('| MLP-Mixer'))
    assert '| – |  | ' in mixer
