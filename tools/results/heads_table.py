"""Heads: accuracy beside the time from an image to its labels."""
import json
from pathlib import Path

from commands import commands, ending
from scores import over, score

ROOT = Path(__file__).parents[2]
NETS = {'linear': 'one layer', 'segformer': 'SegFormer', 'upernet': 'UPerNet, 32 channels',
        'upernet-heavy': "UPerNet, 88 channels on maps of the backbone's width", 'eomt': 'EoMT',
        'linear_linear-vit': 'one layer on a linear ViT',
        'eomt_linear-vit': 'EoMT on a linear ViT',
        'linear_adventurer': 'one layer on an Adventurer',
        'eomt_adventurer': 'EoMT on an Adventurer'}
DATA = dict(camvid='CamVid', streets='drawn streets')


def heads(results: dict) -> list[str]:
    """A row for each head, for each set of data its score and times."""
    speed = ROOT / 'docs/results/heads_speed.json'
    timed = json.loads(speed.read_text()) if speed.is_file() else dict(rows={})
    sizes = [name.split() for name in timed['rows']]
    columns = [cell for data in DATA for cell in (
        f'{DATA[data]}, mIoU',
        *(f"{size.replace('x', '×')}, ms" for of, size in sizes if of == data))]
    lines = ['### Which head', '',
             f'A small ViT with softmax attention (8 blocks, 128 channels; others where a row says '
             f"so) from random weights, labels only; {over(results['seeds'])}; milliseconds from "
             'an image to its labels, networks of one column in turn in one process, median:', '',
             f"| | parameters, M | {' | '.join(columns)} |",
             '| --- |' + ' --- |' * (1 + len(columns))]
    for name, text in NETS.items():
        cells = []
        for data in DATA:
            stage = results['stages'].get(f'{data}_{name}', {})
            cells += [score(stage), *(_time(timed['rows'][f'{of} {size}'].get(f'{data}_{name}'))
                                      for of, size in sizes if of == data)]
        params = next((f"{found[f'camvid_{name}']['params'] / 1e6:.2f}"
                       for found in timed['rows'].values() if f'camvid_{name}' in found), '–')
        if set(cells) != {'–'}:
            lines.append(f"| {text} | {params} | {' | '.join(cells)} |")
    disturbed = any(row['load']['disturbed'] for found in timed['rows'].values()
                    for row in found.values())
    return [*lines, '', *['~ disturbed by other processes.', ''] * disturbed, *ending(results),
            *(commands(timed) if timed['rows'] else [])]


def _time(row: dict | None) -> str:
    return '–' if row is None else f"{row['median']:.0f}" + ' ~' * row['load']['disturbed']
