"""Work directories of runs, as command lines name them."""
from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from mmvitlin.engine.checkpoints import last_checkpoint
from mmvitlin.engine.runner.cli import split_name
from mmvitlin.engine.runner.config import config_of_run
from mmvitlin.utils.errors import ConfigError

_SEED = '{seed}'


def seeds_of(texts: Sequence[str], seeds: Sequence[int] | None) -> list[int | None]:
    """Seeds, or only None where there are none.

    Raises:
        ConfigError: seeds and no ``{seed}`` in any of the texts, or the other way round.
    """
    if (seeds is None) == any(_SEED in text for text in texts):
        raise ConfigError('--seeds gives {seed} its values: both or neither')
    return list(seeds or [None])


def of_seed(text: str, seed: int | None) -> str:
    """A text with every ``{seed}`` replaced by a seed."""
    return text if seed is None else text.replace(_SEED, str(seed))


def networks_of(texts: Sequence[str], seeds: Sequence[int] | None = None
                ) -> dict[str, tuple[str, str]]:
    """Config and checkpoint of each [NAME=]NETWORK, by name.

    Args:
        texts: A network is the work directory of a run, which means the newest config and the last
            checkpoint there, or CONFIG,CHECKPOINT. Its name is that of the folder, or of the
            config, where none is given. Where a text has ``{seed}``, its networks are called
            NAME/SEED; one without is one for all seeds.
        seeds: Values of ``{seed}``.

    Raises:
        ConfigError: neither the one nor the other, two networks with one name, seeds that no text
            uses, or a run that left no config or checkpoint.
    """
    every, networks = seeds_of(texts, seeds), {}
    for text in texts:
        for seed in every if _SEED in text else [None]:
            name, made = _network(of_seed(text, seed))
            name += '' if seed is None else f'/{seed}'
            if name in networks:
                raise ConfigError(f"two networks are called '{name}'; name them: NAME=…")
            networks[name] = made
    return networks


def _network(text: str) -> tuple[str, tuple[str, str]]:
    name, place = split_name(text, lambda rest: Path(rest).is_dir())
    if Path(place).is_dir():
        return name or Path(place).name, (str(config_of_run(place)), str(last_checkpoint(place)))
    config, _, checkpoint = place.partition(',')
    if not checkpoint:
        raise ConfigError(f"'{place}' is no work directory of a run, and no CONFIG,CHECKPOINT")
    return name or Path(config).stem, (config, checkpoint)


def with_tuned(texts: Sequence[str]) -> list[tuple[str | None, str, str]]:
    """Name, run and fine-tuned run ('' for none) of each [NAME=]RUN[:TUNED_RUN].

    Args:
        texts: A ``*`` in RUN matches any text, for the same in TUNED_RUN, and for the name; of
            the runs that it finds, those that an earlier text names are left out.

    Raises:
        ConfigError: nothing is found, more than one ``*``, or a name beside it.
    """
    runs: list[tuple[str | None, str, str]] = []
    for text in texts:
        name, places = split_name(text, lambda rest: Path(rest.partition(':')[0]).is_dir())
        run, _, tuned = places.partition(':')
        if '*' not in run:
            runs.append((name, run, tuned))
            continue
        if name or run.count('*') > 1:
            raise ConfigError(f'{text}: a run may have one *, which then is the name')
        before, after = run.split('*')
        paths = sorted(glob.glob(f'{glob.escape(before)}*{glob.escape(after)}'))
        if not paths:
            raise ConfigError(f'no folder is called {run}')
        known = {place for _, place, _ in runs}
        for path in paths:
            part = path[len(before):len(path) - len(after)]
            if path not in known:
                runs.append((part, path, tuned.replace('*', part)))
    return runs
