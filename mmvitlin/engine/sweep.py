"""Many variants of one experiment, as stages of a recipe; and one table of what came out."""
from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from mmvitlin.engine.recipe import Stage
from mmvitlin.errors import ConfigError


def expand(stages: Sequence[Stage], of: str, options: Mapping[str, dict]) -> list[Stage]:
    """Repeat a stage, and all that stands on it, once for each variant.

    Args:
        stages: Of a recipe.
        of: Name of the stage that varies.
        options: Variant → what it adds to the stage's ``--cfg-options``; nothing for the stage
            as it is.

    Returns:
        Stages; those that vary or stand on one that does are called ``stage-variant``, the others
        are there once.

    Raises:
        ConfigError: there is no such stage, or no variant.
    """
    if of not in [s.name for s in stages]:
        raise ConfigError(f"variants are of the stage '{of}', the stages are "
                          f'{[s.name for s in stages]}')
    if not options:
        raise ConfigError('variants: options are empty')
    moved, found = {of}, []
    for stage in stages:
        if stage.name != of and not moved & set(stage.inputs.values()):
            found.append(stage)
            continue
        moved.add(stage.name)
        for variant, changes in options.items():
            inputs = {k: f'{v}-{variant}' if v in moved else v for k, v in stage.inputs.items()}
            found.append(replace(stage, name=f'{stage.name}-{variant}', inputs=inputs, options={
                **stage.options, **(changes if stage.name == of else {})}))
    return found


def grid_stages(config: str, grid: Mapping[str, Sequence], name: str = 'run') -> list[Stage]:
    """One stage for each point of a grid over config keys.

    Args:
        config: The base config.
        grid: Key → values.
        name: What stages are called, followed by their values.

    Raises:
        ConfigError: two points would have one name.
    """
    points = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    stages = [Stage('-'.join([name, *(f'{k.rsplit(".", 1)[-1]}={v}' for k, v in point.items())])
                    .replace('/', '_'), config, options=point) for point in points]
    if len({s.name for s in stages}) < len(stages):
        raise ConfigError('two points of the grid have one name; their keys end alike')
    return stages


def score(row: Mapping) -> str:
    """Mean of a row of :func:`mmvitlin.engine.recipe.summarise`, and its spread over seeds."""
    if 'mean' not in row:
        return ''
    digits = 2 if max(row['values']) > 1 else 4  # percents, or fractions and small losses
    spread = f" ± {row['std']:.{digits}f}" if len(row['values']) > 1 else ''
    return f"{row['mean']:.{digits}f}{spread}"


def as_markdown(summary: Mapping[str, dict], metric: str) -> str:
    """Table of :func:`mmvitlin.engine.recipe.summarise`, best first: the highest, of a loss the
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
    writer.writerow(['run', 'place of the seed', metric, 'iterations', 'mean seconds'])
    for name, row in summary.items():
        for place, value in enumerate(row.get('values', [])):
            writer.writerow([name, place, value, row['iterations'], row['seconds']])
    return text.getvalue()
