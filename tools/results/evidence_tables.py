"""Transfer and robustness, as lines of Markdown."""
import statistics

from commands import ending
from scores import gap

TRANSFER_FIGURES = [
    '![distance of maps and CKA by part of the depth, and distance against the score]'
    '(transfer.png)', '',
    '![what chosen tokens are similar to, in the teacher and in students](transfer_tokens.png)', '']
KINDS = {'corruption': 'corruptions', 'scale': 'other resolutions', 'share': 'less context'}


def _by_name(rows) -> dict[str, list]:
    """Rows of several seeds, called NAME/SEED, by name."""
    by_name: dict[str, list] = {}
    for name, row in rows:
        by_name.setdefault(name.partition('/')[0], []).append(row)
    return by_name


def _cell(values: list[float], digits: int = 1) -> str:
    """Mean and, of several values, deviation."""
    spread = f' ± {statistics.stdev(values):.{digits}f}' if len(values) > 1 else ''
    return f'{statistics.mean(values):.{digits}f}{spread}'


SHIFTED = dict(robustness='segmentation of CamVid', robustness_cifar10='classification of CIFAR-10')


def robustness(results: dict, name: str = 'robustness') -> list[str]:
    """Scores of several networks under the same shifts, and the part of them that is lost.

    Args:
        results: Of the file.
        name: Its name without ending, which is that of its figure.
    """
    kinds = [k for k in KINDS if any(k in row for row in results['summary'].values())]
    shifts = [n for n in results['conditions'] if n != 'clean' and not n.startswith('centre ')]
    lines = [f'### Under corruptions, at other resolutions, with less context: {SHIFTED[name]}', '',
             'Mean score in percent, and the part of the score without shift that is lost, over '
             f"{len(shifts)} conditions (mean ± deviation over seeds). The loss "
             'with less context is relative to the score of the same pixels of whole images:', '',
             f"| | without shift | {' | '.join(f'{KINDS[k]} | lost' for k in kinds)} |",
             '| --- | --- |' + ' --- | --- |' * len(kinds)]
    for net, rows in _by_name(results['summary'].items()).items():
        cells = [cell for k in kinds for cell in (
            _cell([row[k] for row in rows]), f"{_cell([row[f'{k} drop'] for row in rows])}%")]
        lines.append(f"| {net} | {_cell([row['clean'] for row in rows])} | {' | '.join(cells)} |")
    return [*lines, '', *in_points(results['summary'], kinds),
            f'![score against severity, and the loss under each corruption]({name}.png)', '',
            *ending(results)]


def in_points(summary: dict[str, dict], kinds: list[str], student: str = 'distilled') -> list[str]:
    """By how many points the student is ahead under shifts: relative losses favour low scores."""
    seeds: dict[str, dict[str, dict]] = {}
    for name, row in summary.items():
        kind, _, seed = name.partition('/')
        seeds.setdefault(kind, {})[seed] = row
    words = []
    for other, rows in seeds.items():
        if rows.keys() == {''}:  # one for all seeds
            rows = dict.fromkeys(seeds.get(student, {}), rows[''])
        common = sorted(seeds.get(student, {}).keys() & rows.keys())
        if other == student or not common:
            continue
        ahead = [gap(*(dict(values=[of[seed][k] for seed in common])
                       for of in (seeds[student], rows))) for k in ('clean', *kinds)]
        gaps = ', '.join(f'{a} {w}' for a, w in zip(
            ahead, ('without shift', *(f'under {KINDS[k]}' for k in kinds)), strict=True))
        words.append(f'“{student}” − “{other}”: {gaps}')
    return ['Differences in points, seed by seed, with 95% intervals: '
            f"{'; '.join(words)}.", ''] if words else []


def transfer(results: dict) -> list[str]:
    """Distance of students' similarity maps from the teacher's, and whether it predicts the
    score."""
    stages = len(results['rows'][0]['distance'])
    lines = ['### What was transferred', '',
             'Distance of token-similarity maps from the teacher\'s (1 − cosine), by part of the '
             f"depth, and linear CKA, on {results['images']} images that neither saw; score of the "
             'network after its fine-tuning:', '',
             f"| | {' | '.join(f'part {n + 1}' for n in range(stages))} | mean distance | mean CKA "
             '| score |', '| --- |' + ' --- |' * (stages + 3)]
    for name, rows in _by_name((row['name'], row) for row in results['rows']).items():
        parts = [statistics.mean(row['distance'][n] for row in rows) for n in range(stages)]
        scores = [row['score'] for row in rows if row['score'] is not None]
        lines.append(
            f"| {name} | {' | '.join(f'{p:.3f}' for p in parts)} | "
            f"{_cell([statistics.mean(row['distance']) for row in rows], 3)} | "
            f"{_cell([statistics.mean(row['cka']) for row in rows], 3)} | "
            f"{_cell(scores) if scores else ''} |")
    return [*lines, '', *correlated(results['correlations']), *TRANSFER_FIGURES,
            *ending(results)]


def correlated(correlations: dict) -> list[str]:
    """Whether similarity to the teacher correlates with the score."""
    words = []
    for group, row in correlations.items():
        runs = '–'.join(str(n) for n in sorted({min(row['runs']), max(row['runs'])}))
        which = 'all of them' if group == 'all' else 'those not trained by activation matching'
        words.append(f"{which} ({runs} runs in each of {len(row['runs'])} seeds): distance "
                     f"{row['distance']['rho']:+.2f} (p = {row['distance']['p']:.2g}), CKA "
                     f"{row['cka']['rho']:+.2f} (p = {row['cka']['p']:.2g})")
    return ['Rank correlation of distance and of CKA with the score within a seed, mean over seeds '
            '(p: share of random orders of the kinds, the same in every seed, that correlate as '
            f"strongly): {'; '.join(words)}.", ''
            ] if words else []
