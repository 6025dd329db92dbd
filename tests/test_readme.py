"""README.md: short, and with the numbers that the results hold."""
import json
import re

import pytest

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


def test_times_and_memory():
    measured = {}
    for key, row in load('speed_cpu')['rows'].items():
        name, part, mode, shape, *_, precision, way, _ = key.split('|')
        if (part, mode, precision, way, row['status']) == ('backbone', 'inference', 'fp32',
                                                          'eager', 'ok'):
            measured[name, shape] = row
    names = ('vit-base', 'linear-vit-base', 'adventurer-base')
    rows = rows_after('base networks')
    assert len(rows) == 4
    for first, cells in rows.items():
        shape = re.search(r'\d+×\d+', first)[0].replace('×', 'x')
        shape = shape.split('x')[0] if len(set(shape.split('x'))) == 1 else shape
        of = [measured.get((n, shape)) or measured[n, f'{shape}x{shape}'] for n in names]
        if first.startswith('memory'):
            assert cells == [f"{row['peak_mib']:,.0f} MiB" for row in of]
            continue
        for cell, row in zip(cells, of, strict=True):
            seconds = float(cell.split(' s')[0])
            assert seconds == pytest.approx(row['ms']['median'] / 1e3, rel=5e-3)
            if 'faster' in cell or '×' in cell:
                ratio = float(re.search(r'([\d.]+)×', cell)[1])
                assert ratio == pytest.approx(of[0]['ms']['median'] / row['ms']['median'], abs=0.05)


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
