"""What every command line shares."""
from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable


def _essence(error: Exception) -> str:
    """The message alone: errors of data-loading workers carry a whole traceback."""
    text = str(error)
    if 'Original Traceback' in text:
        text = text.rsplit(f'{type(error).__name__}: ', 1)[-1].strip()
    return text


def friendly(main: Callable[[], None]) -> Callable[[], None]:
    """Print a user's mistake as one line, not as a traceback.

    Errors that we raise for bad input end with exit status 2; set MMVITLIN_TRACEBACK=1 to
    see where they came from. Anything unforeseen keeps its traceback.
    """

    @functools.wraps(main)
    def wrapped() -> None:
        from mmvitlin.errors import UserError
        try:
            main()
        except (UserError, FileNotFoundError) as error:
            if os.environ.get('MMVITLIN_TRACEBACK'):
                raise
            print(f'error: {_essence(error)}', file=sys.stderr)
            sys.exit(2)

    return wrapped


def split_name(text: str, is_whole: Callable[[str], bool] = lambda text: False
               ) -> tuple[str | None, str]:
    """Name and rest of ``[NAME=]REST``.

    Args:
        text: What a command line says.
        is_whole: Whether a text is a rest by itself, whatever it holds: a folder's own name may
            have an equals sign.
    """
    name, found, rest = text.partition('=')
    return (name, rest) if found and not is_whole(text) else (None, text)
