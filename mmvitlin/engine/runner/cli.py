"""Shared parts of the command lines."""
from __future__ import annotations

import argparse
import functools
import os
import sys
from collections.abc import Callable

from mmvitlin.compat.quiet import expect_no_accelerator
from mmvitlin.utils.environment import shared_file
from mmvitlin.utils.errors import UserError, message_of

_OF_FILES = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError,
             PermissionError)  # a path that a user named


def _of_file(error: OSError) -> str:
    """What is wrong with which file."""
    if error.strerror is None or error.filename is None:
        return message_of(error)
    return f'{error.filename2 or error.filename}: {error.strerror}'


_SAID = 'mmvitlin-error'


def _is_first() -> bool:
    """Whether no other process of the run has printed an error."""
    file = shared_file(_SAID)
    if file is None:
        return True
    try:
        file.touch(exist_ok=False)
    except FileExistsError:
        return False
    except OSError:  # no folder for the lock
        pass
    return True


def friendly(main: Callable[[], None]) -> Callable[[], None]:
    """Print a user's mistake as one line, not as a traceback.

    Errors of mmvitlin for bad input end with exit status 2; set MMVITLIN_TRACEBACK=1 to
    see where they came from. Anything unforeseen keeps its traceback. Of several processes of a run
    on one machine only the first error is printed; the errors of the others are often only that
    they lost the first process. Without a GPU, loaders do not warn that they pin no memory.
    """

    @functools.wraps(main)
    def wrapped() -> None:
        expect_no_accelerator()
        try:
            main()
        except (UserError, *_OF_FILES) as error:
            if os.environ.get('MMVITLIN_TRACEBACK'):
                raise
            words = _of_file(error) if isinstance(error, _OF_FILES) else message_of(error)
            if _is_first():
                print(f'error: {words}', file=sys.stderr)
            sys.exit(2)
        except Exception:
            file = shared_file(_SAID)
            if file is None or not file.is_file() or os.environ.get('MMVITLIN_TRACEBACK'):
                raise
            sys.exit(1)

    return wrapped


_HELP = {  # of what several tools take
    'config': 'file, or mmvitlin:: and its place under configs/',
    'checkpoint': 'what a run of the config wrote',
    '--batch-size': 'images at once',
    '--cfg-options': 'keys of the config to set, such as data_root=FOLDER',
    '--device': 'such as cpu or cuda:1; a GPU where there is one',
    '--images': 'how many',
    '--launcher': 'who started the processes',
    '--metric': 'of the table',
    '--out': 'file to write',
    '--out-dir': 'folder to write to',
    '--precision': 'fp32, bf16 or fp16',
    '--seed': 'of everything random',
    '--seeds': 'one run of everything for each',
    '--threads': 'of the CPU; all of them',
    '--work-dir': 'folder of the runs',
}


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the layout of the module's docstring, and shows defaults that are not empty."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text, default = action.help or '', action.default
        silent = default in (None, False, argparse.SUPPRESS, '') or default in ([], (), {})
        if silent or not action.option_strings or 'default' in text:
            return text
        shown = ' '.join(map(str, default)) if isinstance(default, (list, tuple)) else str(default)
        return f"{text} (default: {shown.replace('%', '%%')})".strip()


class Parser(argparse.ArgumentParser):
    """Arguments of a tool; its ``--help`` shows the defaults, and the help of shared options."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **{'formatter_class': _Formatter, **kwargs})

    def add_argument(self, *names, **kwargs) -> argparse.Action:
        """As ``argparse`` does; options that several tools have need no help of their own."""
        if (known := _HELP.get(names[0])) and 'help' not in kwargs:
            kwargs['help'] = known
        return super().add_argument(*names, **kwargs)


def split_name(text: str, is_whole: Callable[[str], bool] = lambda text: False
               ) -> tuple[str | None, str]:
    """Name and rest of ``[NAME=]REST``.

    Args:
        text: What a command line says.
        is_whole: Whether a text is REST as a whole: a folder's own name may have an equals sign.
    """
    name, mark, rest = text.partition('=')
    return (name, rest) if mark and not is_whole(text) else (None, text)
