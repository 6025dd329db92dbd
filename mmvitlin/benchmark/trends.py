"""Trends in measured rows: growth, crossovers, changes since an earlier file."""
from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from mmvitlin.utils.machine import undisturbed


def series(results: dict) -> dict[str, list[dict]]:
    """Rows that ran, by everything but their size: name → rows, small to large."""
    lines: dict[str, list[dict]] = {}
    for key, row in results['rows'].items():
        name, part, mode, shape, *rest = key.split('|')
        if row['status'] == 'ok' and not row.get('stale'):
            label = ' · '.join([name, part, mode, *rest])
            lines.setdefault(label, []).append(dict(row, shape=shape))
    return {k: sorted(v, key=lambda r: r['tokens']) for k, v in lines.items()}


def growth(rows: Sequence[dict]) -> float | None:
    """Exponent of time in tokens, fitted over the last two octaves; None for too few sizes that
    nothing disturbed."""
    rows = undisturbed(rows)
    if not rows:
        return None
    last = rows[-1]['tokens']
    kept = [r for r in rows if r['tokens'] * 4 >= last]
    if len({r['tokens'] for r in kept}) < 2:
        return None
    x = np.log([r['tokens'] for r in kept])
    y = np.log([r['ms']['median'] for r in kept])
    return round(float(np.polyfit(x, y, 1)[0]), 3)


def standing(a: dict, b: dict) -> int:
    """Of two measured times: 1 if ``a`` is faster, -1 if slower, 0 if they are level, which is with
    overlapping spreads (10–90%) and medians within a tenth."""
    near = abs(a['median'] - b['median']) < 0.1 * b['median']
    if near and a.get('p90', a['median']) >= b.get('p10', b['median']) \
            and b.get('p90', b['median']) >= a.get('p10', a['median']):
        return 0
    return 1 if a['median'] < b['median'] else -1


def crossover(a: Sequence[dict], b: Sequence[dict]) -> float | None:
    """Tokens from which ``a`` is faster than ``b``, between measured sizes on log axes.

    Returns:
        The number; 0 if ``a`` is faster throughout; None if it is not at the largest size.
    """
    other = {r['shape']: r['ms']['median'] for r in b}
    points = [(r['tokens'], np.log(r['ms']['median'] / other[r['shape']])) for r in a
              if r['shape'] in other]
    if not points or points[-1][1] >= 0:
        return None
    for (t0, r0), (t1, r1) in reversed(list(itertools.pairwise(points))):
        if r0 >= 0 > r1:
            share = r0 / (r0 - r1)
            return round(float(np.exp(np.log(t0) + share * np.log(t1 / t0))))
    return 0


def pairs(lines: dict[str, list[dict]]) -> list[dict]:
    """Crossovers: one entry for every pair of networks measured with the same settings where one is
    faster at the largest common size, see :func:`standing`. Rows that were disturbed do not count.

    Returns:
        dict(faster, slower, setting, always, since, level, tokens, side): ``since`` is the smallest
        image from which on the one is faster at every size measured; ``always`` if that is the
        smallest one; ``level`` the image before, if they are level there, and otherwise ``tokens``
        where the medians cross, with the ``side`` of such a square image in pixels; ``sizes`` were
        compared, and ``left_out`` were not because a time was disturbed.
    """
    whole = lines
    faster, lines = [], {name: undisturbed(rows) for name, rows in lines.items()}
    for a, b in itertools.permutations(lines, 2):
        (first, *setting), (second, *other) = a.split(' · '), b.split(' · ')
        by_shape = {r['shape']: r['ms'] for r in lines[b]}
        common = [r for r in lines[a] if r['shape'] in by_shape]
        if setting != other or not common:
            continue
        stands = [standing(r['ms'], by_shape[r['shape']]) for r in common]
        behind = max((n for n, stand in enumerate(stands) if stand != 1), default=-1)
        if behind == len(common) - 1:
            continue
        level = behind >= 0 and stands[behind] == 0
        tokens = crossover(lines[a], lines[b]) if behind >= 0 and not level else None
        both = {r['shape'] for r in whole[a]} & {r['shape'] for r in whole[b]}
        faster.append(dict(faster=first, slower=second, setting=' · '.join(setting),
                           always=behind < 0, since=common[behind + 1]['shape'],
                           level=common[behind]['shape'] if level else None, tokens=tokens,
                           side=round(16 * tokens**0.5) if tokens else None,
                           sizes=len(common), left_out=len(both) - len(common)))
    return faster


def faster_from(pair: dict) -> str:
    """From where on the one of :func:`pairs` is faster."""
    if pair['always']:
        if pair.get('sizes') == 1:
            return f"{pair['since']}, the only size compared".replace('x', '×')
        return 'every size' + ' that was not disturbed' * bool(pair.get('left_out'))
    if pair['level']:
        return f"{pair['since']} (level at {pair['level']})".replace('x', '×')
    return f"about {pair['side']}×{pair['side']} ({pair['tokens']:,} tokens)"


def changed(old: dict, new: dict, margin: float = 0.02) -> list[dict]:
    """Rows of both files that differ: key, old and new ms, ratio.

    Two times differ where their spreads (10–90%) stay apart by more than ``margin``, a fraction
    of the old median: the spread within a run does not show how runs vary; what was disturbed is
    not compared. Peak memory differs by more than a tenth.
    """
    changes = []
    for key, row in new['rows'].items():
        before = old['rows'].get(key)
        if before is None or row['status'] != 'ok' or before['status'] != 'ok':
            if before is not None and before['status'] != row['status'] and len(
                    undisturbed([before, row])) == 2:
                changes.append(dict(key=key, old=before['status'], new=row['status'], ratio=None))
            continue
        a, b = before['ms'], row['ms']
        differ = max(b['p10'] - a['p90'], a['p10'] - b['p90']) > margin * a['median']
        if differ and len(undisturbed([before, row])) == 2:
            changes.append(dict(key=key, old=a['median'], new=b['median'],
                                ratio=round(b['median'] / a['median'], 3)))
        old_peak, new_peak = before.get('peak_mib'), row.get('peak_mib')
        if old_peak and new_peak and abs(new_peak - old_peak) > 0.1 * old_peak:
            changes.append(dict(key=f'{key}, peak MiB', old=old_peak, new=new_peak,
                                ratio=round(new_peak / old_peak, 3)))
    return changes


def other_conditions(old: dict, new: dict) -> list[str]:
    """What differs between the machines and versions of two files, as text."""
    def conditions(results: dict) -> dict[str, str]:
        used = {row['call'] for row in results['rows'].values() if 'call' in row}
        values: dict[str, set] = {}
        for call in [results['calls'][n] for n in sorted(used)] or [results]:
            for part in ('machine', 'versions'):
                for k, v in (call.get(part) or {}).items():
                    values.setdefault(f'{part}.{k}', set()).add(str(v))
        return {k: ' and '.join(sorted(v)) for k, v in values.items()}

    a, b = conditions(old), conditions(new)
    return [f'{k}: {a.get(k)} then, {b.get(k)} now' for k in sorted({*a, *b})
            if a.get(k) != b.get(k)]
