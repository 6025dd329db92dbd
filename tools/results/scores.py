"""Scores of runs over seeds: means, paired differences and their intervals."""
import statistics

import numpy as np
from scipy.stats import t

METRICS = {'accuracy/top1': 'top-1 accuracy'}


def measure(results: dict) -> str:
    """Name of the scores of a recipe."""
    return METRICS.get(results.get('metric'), 'mIoU')


def score(stage: dict) -> str:
    """Mean and, of several runs, deviation."""
    if 'mean' not in stage:
        return '–'
    spread = f" ± {stage['std']:.1f}" if len(stage['values']) > 1 else ''
    return f"{stage['mean']:.1f}{spread}"


def over(seeds) -> str:
    """How many seeds, as text."""
    return f'{len(seeds)} seeds, mean ± standard deviation' if len(seeds) > 1 else 'one seed'


def gaps_of(student: dict, other: dict) -> list[float]:
    """Differences of two stages, each seed with its own; a single value is of all seeds.

    For a stage that not every seed has done, only the seeds that both have.
    """
    first, second = student['values'], other['values']
    if student.get('incomplete') or other.get('incomplete'):
        of_seed = [dict(zip(row['seeds'], row['values'], strict=True)) if row.get('incomplete')
                   or len(row['values']) > 1 else None for row in (student, other)]
        seeds = sorted(set.intersection(*(set(row) for row in of_seed if row is not None)))
        first, second = ([row[seed] for seed in seeds] if row is not None else values
                         for row, values in zip(of_seed, (first, second), strict=True))
    count = max(len(first), len(second))
    return [a - b for a, b in zip(*(values * count if len(values) == 1 else values
                                    for values in (first, second)), strict=True)]


class Spread:
    """Residual spread of the scores of comparable rows, without the effects of row and seed.

    Few seeds give a poor estimate for one pair; all rows together show how much a score scatters
    (two-way analysis of variance without interaction).

    Attributes:
        deviation: Of a single score.
        freedom: Degrees of freedom.
    """

    def __init__(self, rows: list[dict]):
        self.rows = rows
        scores = np.array([row['values'] for row in rows])
        left = scores - scores.mean(1, keepdims=True) - scores.mean(0) + scores.mean()
        self.freedom = (len(scores) - 1) * (scores.shape[1] - 1)
        self.deviation = float((left**2).sum() / self.freedom)**0.5

    def covers(self, *rows: dict) -> bool:
        """Whether all of these are among its rows."""
        return all(any(row is own for own in self.rows) for row in rows)


def spread_of(results: dict) -> Spread | None:
    """That of an ablation's variants, if there are enough rows for a better estimate than a
    pair's."""
    rows = [row for name, row in results['stages'].items()
            if name.startswith('distilled') and 'mean' in row and not row.get('incomplete')]
    return Spread(rows) if len(rows) >= 6 and len(results['seeds']) > 1 else None


def interval(student: dict, other: dict, spread: Spread | None = None
             ) -> tuple[float, float] | None:
    """95% interval of the mean difference over seeds, by Student's t; None of one seed."""
    gaps = gaps_of(student, other)
    if len(gaps) < 2:
        return None
    mean, deviation, freedom = statistics.mean(gaps), statistics.stdev(gaps), len(gaps) - 1
    if spread and spread.covers(student, other):
        deviation, freedom = 2**0.5 * spread.deviation, spread.freedom
    half = t.ppf(0.975, freedom) * deviation / len(gaps)**0.5
    return mean - half, mean + half


def beside(student: dict, other: dict, spread: Spread | None = None) -> str:
    """'better than', 'worse than', or 'level with' where the interval holds 0."""
    bounds = interval(student, other, spread)
    if bounds is None or bounds[0] <= 0 <= bounds[1]:
        return 'level with'
    return 'better than' if bounds[0] > 0 else 'worse than'


def gap(student: dict, other: dict, spread: Spread | None = None) -> str:
    """Mean difference with its interval."""
    gaps = gaps_of(student, other)
    if not gaps:  # no seed has both
        return '–'
    bounds = interval(student, other, spread)
    mean = f'{statistics.mean(gaps):+.1f}'
    return mean if bounds is None else f'{mean} [{bounds[0]:+.1f}, {bounds[1]:+.1f}]'
