"""Many variants of one experiment, as stages of a recipe."""
from __future__ import annotations

import itertools
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
