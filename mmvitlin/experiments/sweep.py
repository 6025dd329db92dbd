"""Many variants of one experiment, as stages of a recipe."""
from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mmvitlin.engine.runner.config import locate_config
from mmvitlin.experiments.stage import Stage
from mmvitlin.utils.errors import ConfigError


def expand(stages: Sequence[Stage], of: str, options: Mapping[str, dict]) -> list[Stage]:
    """Repeat a stage, and all that depends on it, once for each variant.

    Args:
        stages: Of a recipe.
        of: Name of the stage that varies.
        options: Variant → what it adds to the stage's ``--cfg-options``; nothing for the stage
            as it is.

    Returns:
        Stages; those that vary or depend on one that does are called ``stage-variant``, the others
        occur once.

    Raises:
        ConfigError: there is no such stage, or no variant.
    """
    if of not in [s.name for s in stages]:
        raise ConfigError(f"variants are of the stage '{of}', the stages are "
                          f'{[s.name for s in stages]}')
    if not options:
        raise ConfigError('variants: options are empty')
    moved, expanded = {of}, []
    for stage in stages:
        if stage.name != of and not moved & set(stage.inputs.values()):
            expanded.append(stage)
            continue
        moved.add(stage.name)
        for variant, changes in options.items():
            inputs = {k: f'{v}-{variant}' if v in moved else v for k, v in stage.inputs.items()}
            expanded.append(replace(stage, name=f'{stage.name}-{variant}', inputs=inputs, options={
                **stage.options, **(changes if stage.name == of else {})}))
    return expanded


def configs_of(places: Sequence[str]) -> list[str]:
    """Configs, of a folder all those in it whose names do not begin with an underscore.

    Raises:
        ConfigError: a file that is not there, or a folder without configs.
    """
    configs: list[str] = []
    for place in places:
        files = [place]
        if Path(place).is_dir():
            files = sorted(str(p) for p in Path(place).glob('*.py') if not p.name.startswith('_'))
            if not files:
                raise ConfigError(f'no config in {place}; those are .py files whose names do not '
                                  'begin with an underscore')
        elif not Path(locate_config(place)).is_file():
            raise ConfigError(f'no config at {place}')
        configs += files
    return configs


def sweep_stages(configs: Sequence[str], grid: Mapping[str, Sequence]) -> list[Stage]:
    """One stage for each config at each point of a grid over config keys.

    Args:
        configs: Files.
        grid: Key → values; with none of them every config is run as it is.

    Raises:
        ConfigError: two stages would have one name, that of the config followed by the values.
    """
    points = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    endings = ['-'.join(f'{k.rsplit(".", 1)[-1]}={v}' for k, v in point.items())
               for point in points]
    stages = [Stage('-'.join(filter(None, (Path(config).stem, values))).replace('/', '_'), config,
                    options=point)
              for config in configs for point, values in zip(points, endings, strict=True)]
    if len({s.name for s in stages}) < len(stages):
        raise ConfigError('two runs have one name; configs are called alike, or keys of the grid '
                          'end alike')
    return stages
