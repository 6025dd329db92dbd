"""Numbers in sentences are those of the results that the sentence is about."""
import json
import statistics
import sys

import pytest

from tests.conftest import ROOT

RESULTS = ROOT / 'docs' / 'results'
WORDS = {3: 'three', 9: 'nine', 12: 'twelve'}
INDEX, README = 'docs/results/index.md', 'README.md'


@pytest.fixture
def scores(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / 'tools' / 'results')
    import scores
    yield scores
    sys.modules.pop('scores')


def load(name):
    return json.loads((RESULTS / f'{name}.json').read_text(encoding='utf-8'))


def says(page, *phrases):
    """Each of the phrases is on the page, where a line may end in the middle of it."""
    text = ' '.join((ROOT / page).read_text(encoding='utf-8').split())
    for phrase in phrases:
        assert phrase in text, f'{page} does not say what was measured: {phrase}'


def seconds(name, part):
    """(network, size, precision) → seconds, of a benchmark's undisturbed rows."""
    found = {}
    for key, row in load(name)['rows'].items():
        net, its_part, mode, size, _, precision, *_ = key.split('|')
        if row['status'] == 'ok' and its_part == part and mode == 'inference':
            found[net, size, precision] = row['ms']['median'] / 1e3
    return found


def test_the_guard_fails(tmp_path):
    with pytest.raises(AssertionError, match='does not say what was measured: 99 points'):
        says(INDEX, '99 points')


def test_students_that_inherit(scores):
    stages = load('pretrained_camvid')['stages']

    def lead(a, b):
        return statistics.mean(scores.gaps_of(stages[a], stages[b]))

    within = max(abs(lead(f'{few}focal_inherited_tuned', f'{few}softmax_tuned'))
                 for few in ('', '37_'))
    lost = {kind: -lead(f'{kind}_inherited_tuned', 'softmax_tuned') for kind in
            ('mamba2', 'linear')}
    back = {kind: lead(f'{kind}_both_tuned', f'{kind}_inherited_tuned') for kind in lost}
    labels = {kind: lead(f'{kind}_inherited_long', f'{kind}_inherited_tuned') for kind in lost}
    words = {kind: [WORDS[round(table[kind])] for table in (lost, back)] for kind in lost}
    says(INDEX, f'stays within {within:.1f} points of the softmax ViT',
         f'Mamba-2 mixers lose {words["mamba2"][0]} points, linear attention {words["linear"][0]}',
         f'give {words["mamba2"][1]} of the {words["mamba2"][0]} and {words["linear"][1]} of the '
         f'{words["linear"][0]} back')
    assert labels['linear'] > back['linear'] - 0.5  # “do as much”
    assert 0.6 < labels['mamba2'] / back['mamba2'] < 0.73  # “two thirds as much”
    says(README, f'alignment gave Mamba-2 mixers +{back["mamba2"]:.0f} points, labels for as many '
                 f'iterations +{labels["mamba2"]:.0f}')


def test_an_adventurer_from_random_weights(scores):
    stages = load('pretrained_camvid')['stages']
    ways = {way: f'adventurer_{way}_500_tuned' for way in ('l2', 'linearizer', 'phi_s_depths')}

    def lead(a, b):
        return statistics.mean(scores.gaps_of(stages[a], stages[b]))

    ahead = {way: lead('adventurer_random_700', stage) for way, stage in ways.items()}
    assert min(ahead, key=ahead.get) == 'phi_s_depths'
    says(INDEX, f"700 iterations with labels are {ahead['phi_s_depths']:.1f} points ahead of the "
                f"best objective's 500 without and 200 with (the interval just holds 0) and "
                f"{ahead['linearizer']:.1f} ahead of ViT-Linearizer")
    labels = stages['adventurer_random_700']
    assert scores.beside(labels, stages[ways['phi_s_depths']]) == 'level with'
    assert scores.beside(labels, stages[ways['linearizer']]) == 'better than'
    assert abs(stages['37_adventurer_random_700']['mean'] - max(
        row['mean'] for name, row in stages.items()
        if name.startswith('37_adventurer') and '_500_' in name)) < 0.5  # “level”
    best, second = (lead(ways[way], ways['l2']) for way in ('phi_s_depths', 'linearizer'))
    between = lead(ways['phi_s_depths'], ways['linearizer'])
    says(INDEX, f'{best:.1f} points ahead of plain L2 over three seeds; ViT-Linearizer is '
                f'{second:.1f} ahead', f'holds 0 ({between:.1f} points)')
    says('docs/methods/vit_linearizer.md', f'was {second:.1f} points better by ViT-Linearizer, and '
                                           f'{best:.1f} by features at four depths')
    assert scores.beside(stages[ways['phi_s_depths']], stages[ways['l2']]) == 'better than'
    assert scores.beside(stages[ways['linearizer']], stages[ways['l2']]) == 'better than'
    assert scores.beside(stages[ways['phi_s_depths']], stages[ways['linearizer']]) == 'level with'


def test_an_adventurer_that_is_distilled_for_longer():
    stages = load('pretrained_camvid')['stages']
    distilled, labels = ([stages[f'{few}{name}'] for few in ('', '37_')] for name in (
        'adventurer_phi_s_depths_2000_tuned', 'adventurer_random_2200'))
    assert {row['seeds'][0] for row in (*distilled, *labels)} == {0}
    assert all(len(row['seeds']) == 1 for row in (*distilled, *labels))  # “one seed”
    (all_, few), (of_all, of_few) = ([row['mean'] for row in rows] for rows in (distilled, labels))
    assert abs(all_ - of_all) < 0.5  # “level”
    says(INDEX, f'({all_:.1f} and {of_all:.1f})', f'{few - of_few:.1f} points ahead with 37 frames '
                f'({few:.1f} and {of_few:.1f})')
    says('docs/faq.md', f'{few - of_few:.0f} points ahead with a tenth')
    shorter = stages['37_adventurer_random_700']
    assert 0 < of_few - shorter['values'][shorter['seeds'].index(0)] < 1  # “next to nothing”


def test_verdicts_of_small_networks(scores):
    linearizer, adala = load('camvid')['stages'], load('adala_camvid')['stages']
    verdicts = [(linearizer, 'distilled', 'scratch', 'better than'),
                (linearizer, 'distilled', 'scratch_long', 'worse than'),
                (linearizer, 'distilled', 'distilled_l2', 'level with'),
                (adala, 'both_stages', 'softmax_finetuned', 'level with'),
                (adala, 'both_stages', 'no_alignment', 'better than'),
                (adala, 'both_stages', 'no_alignment_long', 'level with')]
    for stages, student, other, verdict in verdicts:
        assert scores.beside(stages[student], stages[other]) == verdict, (student, other)


def test_exported_backbones():
    by_net, by_form = {}, {}
    for (name, size, precision), time in seconds('deployed_cpu', 'backbone').items():
        net, _, runtime = name.partition('@')
        by_net.setdefault(size, {}).setdefault(net, []).append(time)
        if (runtime, precision) == ('openvino', 'bf16'):
            by_form[size, net] = time
    ratios = {size: {net: min(nets['vit-base']) / min(times) for net, times in nets.items()}
              for size, nets in by_net.items()}
    others = sorted(r for net, r in ratios['1024x2048'].items() if net != 'vit-base')
    says(INDEX, f'are {others[0]:.1f} to {others[-1]:.1f} times as fast as the softmax ViT, each',
         f"at 512×512 an Adventurer-B is {100 - 100 * ratios['512x512']['adventurer-base']:.0f}% "
         'behind')
    says(README, f'are {others[0]:.1f} to {others[-1]:.1f} times as fast as the ViT')
    assert all(min(nets[net]) == by_form[size, net] for size, nets in by_net.items()
               for net in nets)  # OpenVINO's bfloat16 is the fastest
    assert ratios['1024x2048']['adventurer-base'] < 4  # aims that the page calls missed
    assert ratios['1024x2048']['linear-vit-base'] < 5
    assert ratios['512x512']['linear-vit-base'] > 1


def test_columns_on_whole_images():
    rows = load('camvid_lengths')['rows']

    def gaps(net, mode, other='labels', seeds=(0, 1)):
        pairs = [zip(rows[f'{net} {mode} seed{n}'], rows[f'{other} whole seed{n}'], strict=True)
                 for n in seeds]
        return [[a['miou'] - b['miou'] for a, b in pair] for pair in pairs]

    gained = sum(gaps('labels_columns', 'whole'), [])
    says(INDEX, f'were {min(gained):.1f} to {max(gained):.1f} points better on whole images')
    windows = gaps('labels', 'slide')
    assert all(a > b for more, less in zip(gaps('labels_columns', 'whole'), windows, strict=True)
               for a, b in zip(more, less, strict=True))
    for one, other in (windows, gaps('labels_crops', 'whole')):  # “one seed and not the other”
        assert sum(one) > 0 > sum(other)


def test_memory_of_backbones():
    peaks = [row['peak_mib'] for key, row in load('attention_speed')['rows'].items()
             if '|backbone|inference|' in key]
    assert 250 < max(peaks) < 270
    says(INDEX, 'none needs more than 270 MiB')


def test_int8():
    results, times = load('reduced_precision'), seconds('reduced_precision', 'labels')

    def ratio(net, runtime):
        plain, int8 = (times[f'{net}_{p}_672x896@{runtime}', '672x896', 'fp32']
                       for p in ('fp32', 'int8'))
        return plain / int8

    faster = {net: f"{ratio(net, 'openvino'):.1f} times" for net in results['scores']}
    says(INDEX, f"int8 makes the linear ViT-S {faster['linear']} as fast as float32 at 672×896 and "
                f"the softmax ViT-S {faster['softmax']}")
    assert all(ratio(net, 'onnxruntime') < 1 for net in results['scores'])
    lost = max(row['miou']['torch'] - row['miou']['int8'] for row in results['scores'].values())
    says(INDEX, f'No network loses more than {lost:.1f} mIoU')


def test_peers():
    times, by_net = seconds('peers_cpu', 'labels'), {}
    for (name, size, precision), time in times.items():
        if size == '1024x2048' and precision == 'fp32':
            by_net.setdefault(name.partition('@')[0], []).append(time)
    fastest = {net: min(found) for net, found in by_net.items()}
    published = load('peers_cpu')['published']
    cnns = 'DDRNet-23-slim', 'PIDNet-S', 'EfficientViT-B1', 'EfficientViT-B2'
    low, high = (pick(fastest[net] for net in cnns) for pick in (min, max))
    scored = sorted(published[net]['miou'] for net in cnns)
    base = [fastest['ViT-B'] / fastest[f'{kind}-B'] for kind in ('Adventurer', 'linear ViT')]
    small = max(fastest['ViT-S'] / fastest[f'{kind} ViT-S'] for kind in ('linear', 'focal'))
    says(INDEX, f'take {low:.1f} to {high:.1f} s at 1024×2048 and were published with '
                f'{scored[0]:.1f} to {scored[-1]:.1f} mIoU',
         f'softmax ViTs up to {fastest["ViT-B"]:.0f}',
         f'makes ViT-B {min(base):.1f} to {max(base):.1f} times as fast',
         f'ViT-S up to {small:.1f} times')
    says(README, f'whole ViT-B networks (UPerNet, float32) {min(base):.1f} to {max(base):.1f} '
                 'times')


def test_heads():
    results, timed = load('camvid_heads')['stages'], load('heads_speed')['rows']['camvid 720x960']
    score = {name.removeprefix('camvid_'): row['mean'] for name, row in results.items()
             if name.startswith('camvid_') and 'mean' in row}
    pyramids = [score[head] - score['linear'] for head in ('segformer', 'upernet', 'upernet-heavy')]
    assert [round(gap) for gap in pyramids] == [3, 3, 3]
    assert score['eomt'] < score['linear']
    times = {name.removeprefix('camvid_'): row['median'] / 1e3 for name, row in timed.items()}
    linear = sorted(time for name, time in times.items() if name.endswith('_linear-vit'))
    softmax = sorted(time for name, time in times.items() if '_' not in name)
    says(INDEX, 'the pyramid heads are 3 points ahead of one layer',
         f'takes {softmax[0]:.1f} to {softmax[-1]:.1f} s, on the linear ViT {linear[0]:.2f} to '
         f'{linear[-1]:.2f} s')


def test_time_of_mamba2():
    times = load('demo_adala')['latency_ms']['1024x2048']
    ratio = times['teacher']['median'] / times['student']['median']
    says(README, f'A Mamba-2 ViT-S is {ratio:.1f} times as fast as softmax at 1024×2048')


def test_gains_of_the_demo():
    demo = load('demo')
    times = demo['latency_ms']['1024x2048']
    assert times['teacher']['median'] / times['student']['median'] > 20
    assert demo['miou']['distilled'] > demo['miou']['labels_only'] + 4
