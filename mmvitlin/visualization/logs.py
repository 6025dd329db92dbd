"""Reading the logs of runs."""
from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from mmvitlin.utils.errors import ConfigError


def logged_rows(folder: str | Path) -> list[dict]:
    """Logged values of the runs in a work directory, one dict for each entry, oldest first."""
    files = sorted(Path(folder).glob('*/vis_data/scalars.json'))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def read_scalars(folder: str | Path) -> dict[str, list[tuple[int, float]]]:
    """Logged scalars of the runs in a work directory: name → (iteration, value).

    A validation is at the iteration of training before it, its times are 'val/time' and the like.
    """
    series: dict[str, list[tuple[int, float]]] = {}
    step = None
    for row in logged_rows(folder):
        trained = 'iter' in row  # validations have a step, which may count epochs
        step = row['iter'] if trained else step if step is not None else row.get('step')
        for name, value in row.items():
            if isinstance(value, (int, float)) and step is not None:
                name = name if trained or not name.endswith('time') else f'val/{name}'
                series.setdefault(name, []).append((step, value))
    return series


def train_time(rows: Sequence[dict]) -> dict[str, float]:
    """Seconds an iteration of a run.

    Args:
        rows: From :func:`logged_rows`; those of validation are left out.

    Returns:
        ``iterations`` (the last logged), ``seconds`` (median), ``slowest``, and ``data_share``,
        the part of the time spent waiting for data.

    Raises:
        ConfigError: no training was logged.
    """
    steps = [row for row in rows if 'loss' in row and 'time' in row]
    if not steps:
        raise ConfigError('no training iteration was logged')
    seconds = [row['time'] for row in steps]
    waits = sum(row.get('data_time', 0.) for row in steps)
    return dict(iterations=max(row.get('iter', row.get('step', 0)) for row in steps),
                seconds=median(seconds), slowest=max(seconds),
                data_share=min(waits / max(sum(seconds), 1e-9), 1.))
