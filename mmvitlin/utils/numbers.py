"""Numbers of a config."""
from __future__ import annotations

import math
from numbers import Real

from mmvitlin.utils.errors import ConfigError


def number(key: str, value: object, *, above: float | None = None, least: float | None = None,
           below: float | None = None, most: float | None = None, whole: bool = False) -> None:
    """Refuse what is not a finite number within bounds.

    Args:
        key: Of the config, to name it.
        value: Its value.
        above: It must be greater.
        least: It must not be smaller.
        below: It must be smaller.
        most: It must not be greater.
        whole: It must be an integer.

    Raises:
        ConfigError: it is something else; True and strings are no numbers.
    """
    bounds = [(above, 'above', lambda a, b: a > b), (least, 'at least', lambda a, b: a >= b),
              (below, 'below', lambda a, b: a < b), (most, 'at most', lambda a, b: a <= b)]
    fits = isinstance(value, int if whole else Real) and not isinstance(value, bool) \
        and math.isfinite(value)
    if fits and all(holds(value, bound) for bound, _, holds in bounds if bound is not None):
        return
    said = ' and '.join(f'{word} {bound:g}' for bound, word, _ in bounds if bound is not None)
    kind = 'a whole number' if whole else 'a number'
    raise ConfigError(f"{key} must be {kind}{f' {said}' if said else ''}, got {value!r}")
