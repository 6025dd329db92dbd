"""Results of the stages of a recipe over seeds: one file, and tables of it."""
from __future__ import annotations

import csv
import io
import itertools
import json
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmvitlin.utils.errors import ConfigError

OF_THE_CALL = ('seeds', 'command', 'versions', 'machine')


def _scalars(result: dict) -> dict[str, float]:
    return {**result.get('train', {}), **result.get('metrics', {})}


def metrics_of(runs: dict[int, dict[str, dict]]) -> list[str]:
    """Metrics that :func:`summarise` can take."""
    return sorted({k for run in runs.values() for row in run.values() for k in _scalars(row)})


def summarise(runs: Mapping[int, Mapping[str, dict]], metric: str = 'mIoU',
              shared: Sequence[str] = ()) -> dict[str, dict]:
    """Mean and spread of a metric over seeds.

    Args:
        runs: Seed → stage → result, from :func:`mmvitlin.experiments.running.run_recipe`; a stage
            is summarised over the seeds that have done it.
        metric: Key in the results' metrics, or among the last losses; stages without it have no
            mean.
        shared: Stages that seeds have in common; one run counts once.

    Returns:
        Stage → dict(mean, std (sample deviation, 0 for one seed), values and the seeds they are
        of, iterations, seconds; incomplete=True where other seeds have not done it; precision
        where the runs say one, 'bfloat16, float32' where seeds differ).

    Raises:
        ConfigError: no stage has this metric; names those that there are.
    """
    table: dict[str, dict] = {}
    names = metrics_of(runs)
    if names and metric not in names:
        raise ConfigError(f"no stage has the metric '{metric}'; give one of {names} as --metric")
    for name in dict.fromkeys(itertools.chain.from_iterable(runs.values())):
        rows = {int(seed): run[name] for seed, run in runs.items() if name in run}
        if name in shared:
            rows = {seed: row for n, (seed, row) in enumerate(rows.items())
                    if row not in list(rows.values())[:n]}
        scores = {seed: scalars[metric] for seed, row in rows.items()
                  if metric in (scalars := _scalars(row))}
        values = list(scores.values())
        entry = dict(iterations=next(iter(rows.values()))['iterations'],
                     seconds=round(statistics.mean(row['seconds'] for row in rows.values()), 1))
        precisions = {row['precision'] for row in rows.values() if row.get('precision')}
        if precisions:
            entry['precision'] = ', '.join(sorted(precisions))
        if values:
            digits = 2 if max(values) > 10 else 4  # percents, or losses, or fractions as COCO's
            entry.update(mean=round(statistics.mean(values), digits),
                         std=round(statistics.stdev(values), digits) if len(values) > 1 else 0.0,
                         values=[round(v, digits) for v in values], seeds=list(scores))
            if name not in shared and len(values) < len(runs):
                entry['incomplete'] = True
        table[name] = entry
    return table


def read_results(path: str | Path) -> dict:
    """A results file of ``tools/run_recipe.py``.

    Raises:
        ConfigError: it is none.
    """
    try:
        results = json.loads(Path(path).read_text())
        missing = {'recipe', 'runs', *OF_THE_CALL} - results.keys()
    except OSError as error:
        raise ConfigError(f'no results file at {path} ({error.strerror})') from error
    except (ValueError, AttributeError) as error:
        raise ConfigError(f'{path} is no results file of `mmvitlin run_recipe`') from error
    if missing:
        raise ConfigError(f'{path} is no results file of `mmvitlin run_recipe`: it has no '
                          f'{sorted(missing)}')
    return results


def join(results: dict, others: Mapping[str, dict]) -> dict:
    """Seeds of several calls, also of several machines, in one file.

    Args:
        results: 'recipe', 'made_of' (stage → digest of its settings), 'runs' (seed → stage →
            result) and the description of the call (:data:`OF_THE_CALL`).
        others: The same by the name of the file they were read from.

    Returns:
        The file's content with the runs of all; 'added' holds the descriptions of the other calls.

    Raises:
        ConfigError: another recipe, other settings, a file that does not say its settings, or
            two different runs of one seed.
    """
    runs, made_of = dict(results['runs']), dict(results['made_of'])
    own, added = set(results['seeds']), []
    for name, other in others.items():
        if Path(other['recipe']).stem != Path(results['recipe']).stem:
            raise ConfigError(f"{name} holds results of {other['recipe']}, not of "
                              f"{results['recipe']}")
        if 'made_of' not in other:
            raise ConfigError(f'{name} does not say what its stages were made with; its seeds '
                              'have to be run again to be joined')
        changed = sorted(stage for stage, made in other['made_of'].items()
                         if made_of.setdefault(stage, made) != made)
        if changed:
            raise ConfigError(f"{name}: {', '.join(changed)} ran with another config or other "
                              'options than here; one table needs one setting')
        for seed, run in other['runs'].items():
            here = runs.setdefault(seed, run)
            if any(here[stage] != run[stage] for stage in here.keys() & run.keys()):
                raise ConfigError(f'{name} holds another run of seed {seed}; leave one of the two '
                                  'out')
            runs[seed] = {**run, **here}
        before = other.get('added', [])
        first = set(other['seeds']).difference(*(call['seeds'] for call in before))
        calls = [{**{k: other[k] for k in OF_THE_CALL}, 'seeds': sorted(first)}, *before]
        more = any(other['runs'][seed].keys() - run.keys()
                   for seed, run in results['runs'].items() if seed in other['runs'])
        added += [call for call in calls if call not in added and (
            not own.issuperset(call['seeds'])
            or more and any(call[k] != results[k] for k in OF_THE_CALL))]
    runs = dict(sorted(runs.items(), key=lambda run: int(run[0])))
    joined = dict(results, seeds=[int(seed) for seed in runs], made_of=made_of, runs=runs)
    notes = [other['note'] for other in others.values() if other.get('note')]
    return joined | (dict(added=added) if added else {}) | (
        dict(note=' '.join(dict.fromkeys(notes))) if notes else {})


def score(row: Mapping) -> str:
    """Mean of a row of :func:`summarise`, and its spread over seeds."""
    if 'mean' not in row:
        return ''
    digits = 2 if max(row['values']) > 1 else 4  # percents, or fractions and small losses
    spread = f" ± {row['std']:.{digits}f}" if len(row['values']) > 1 else ''
    return f"{row['mean']:.{digits}f}{spread}"


def as_markdown(summary: Mapping[str, dict], metric: str) -> str:
    """Table of :func:`summarise`, best first: the highest, of a loss the
    lowest; rows without it left out."""
    rows = sorted(((n, r) for n, r in summary.items() if 'mean' in r),
                  key=lambda row: row[1]['mean'], reverse='loss' not in re.split('[./_]', metric))
    lines = [f'| run | {metric} | seeds | iterations | seconds |',
             '| --- | --- | --- | --- | --- |']
    lines += [f"| {name} | {score(row)} | {len(row['values'])} | "
              f"{row['iterations']} | {row['seconds']:.0f} |" for name, row in rows]
    return '\n'.join(lines) + '\n'


def as_csv(summary: Mapping[str, dict], metric: str) -> str:
    """The same with one line for each seed's value."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(['run', 'seed', metric, 'iterations', 'mean seconds'])
    for name, row in summary.items():
        for seed, value in zip(row.get('seeds', []), row.get('values', []), strict=True):
            writer.writerow([name, seed, value, row['iterations'], row['seconds']])
    return text.getvalue()
