"""Where the configs and tools are: in an installed package, or beside it in a checkout."""
from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent
PLACES = (_PACKAGE / '.mim', _PACKAGE.parent)


def folder(kind: str) -> Path:
    """The folder 'configs' or 'tools'.

    Raises:
        FileNotFoundError: this installation has none.
    """
    for place in PLACES:
        if (place / kind).is_dir():
            return place / kind
    raise FileNotFoundError(f'this installation of mmvitlin has no {kind} (looked in '
                            f'{" and ".join(str(p / kind) for p in PLACES)}); install it anew')
