"""Requirements of detection: mmdet and mmcv's compiled ops."""
from __future__ import annotations

from importlib.util import find_spec

from mmvitlin.utils.errors import ConfigError


def lacking() -> list[str]:
    """What of mmdet and mmcv's compiled ops is not installed; empty where detection works."""
    missing = [] if find_spec('mmdet') else ['mmdet']
    ops = find_spec('mmcv') and find_spec('mmcv._ext')
    return missing + ([] if ops else ["mmcv's compiled ops"])


def prepare(what: str) -> None:
    """Prepare for a config of mmdet, or raise an error that says what it needs and how to get it.

    Raises:
        ConfigError: mmdet or mmcv's compiled ops are missing; starts with ``what``.
    """
    if missing := lacking():
        raise ConfigError(f'{what} needs mmdet with the compiled ops of mmcv, and '
                          f"{' and '.join(missing)} {'is' if missing == ['mmdet'] else 'are'} "
                          "missing: run `make setup-full` (elsewhere: pip install "
                          "'mmvitlin[onedl-det]' beside an mmcv with ops)")
