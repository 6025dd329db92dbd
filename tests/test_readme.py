"""README.md: short, and with the numbers that the results hold."""
import json
import re

from tests.conftest import ROOT

README = (ROOT / 'README.md').read_text(encoding='utf-8')
RESULTS = ROOT / 'docs' / 'results'


def rows_after(heading):
    """Cells of the table whose first line starts with ``heading``, by the first cell of a row."""
    start = README.index(f'| {heading}')
    table = README[start:README.index('\n\n', start)].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip('|').split('|')] for line in table]
    return {first: rest for first, *rest in rows}


def load(name):
    return json.loads((RESULTS / f'{name}.json').read_text(encoding='utf-8'))


def test_it_is_short():
    assert len(README.split()) <= 1200


def test_times():
    measured = {}
    for key, row in load('attention_speed')['rows'].items():
        name, _, _, shape, *_ = key.split('|')
        measured[name, shape] = row['ms']['median'] / 1e3
    names = ('vit-base', 'linear-vit-base', 'focal-vit-base', 'adventurer-base')
    rows = rows_after('backbones, one image')
    assert len(rows) == 3
    for first, cells in rows.items():
        of = [measured[n, first.replace('×', 'x')] for n in names]
        assert cells == [f'{of[0]:#.3g} s', *(f'{t:.2f} s, {of[0] / t:.1f}×' for t in of[1:])]


def test_what_it_names_exists():
    for target in re.findall(r'\]\(([^)#]+?)(?:#[^)]*)?\)', README):
        if '://' not in target:
            assert (ROOT / target).exists(), target
    for config in re.findall(r'configs/[\w./-]+\.py', README):
        assert (ROOT / config).is_file(), config
    for room, name in re.findall(r'`(seg|det)/([\w-]+)`', README):
        assert (ROOT / 'configs' / room / f'{name}.py').is_file(), name
    for name in re.findall(r'`((?:linearizer|adala)[\w-]+)`', README):
        assert (ROOT / 'configs/distill' / f'{name}.py').is_file(), name


def test_scores_with_the_attention_replaced():
    rows = load('replaced_attention')['rows']
    table = rows_after('CamVid, the pretrained ViT-S')
    sizes = re.search(r'\| CamVid, the pretrained ViT-S.*', README)[0].strip('| ').split(' | ')[1:]
    assert len(table) >= 3
    for first, cells in table.items():
        name = re.match(r'[\w ]+', first)[0].strip()
        key = next(key for key in rows if key.split('|')[0].split(',')[0] == name)
        assert cells == [f"{rows[key.split('|')[0] + '|' + size.replace('×', 'x')]['miou']:.1f}"
                         for size in sizes]


def test_scores_with_few_labels():
    stages, names = load('pretrained_camvid')['stages'], {
        'softmax ViT-S, pretrained': 'softmax_tuned',
        'focal ViT-S, the same weights': 'focal_inherited_tuned',
        'Mamba-2 ViT-S, aligned': 'mamba2_both_tuned',
        'linear ViT-S (Hedgehog maps), aligned (two seeds)': 'linear_both_tuned',
        'Mamba-2 ViT-S, the same weights, not aligned': 'mamba2_inherited_tuned',
        'focal ViT-S from random weights': 'focal_random'}
    for first, cells in rows_after('CamVid, fine-tuned').items():
        rows = [stages.get(f'{few}{names[first]}') for few in ('', '37_')]
        assert cells == ['–' if row is None else f"{row['mean']:.1f} ± {row['std']:.1f}"
                         for row in rows]
        assert all(len(row['seeds']) == (2 if 'two' in first else 3) for row in rows if row)
