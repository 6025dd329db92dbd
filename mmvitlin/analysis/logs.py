"""What the logs of a run tell of its time."""
from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from mmvitlin.errors import ConfigError


def train_time(rows: Sequence[dict]) -> dict[str, float]:
    """Seconds an iteration of a run.

    Args:
        rows: From :func:`mmvitlin.analysis.figures.logged_rows`; those of validation are left out.

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
