"""Atomic writes."""
from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from mmvitlin.utils.errors import DiskFullError

_UMASK = os.umask(0o022)  # there is no other way to read it
os.umask(_UMASK)


def write_whole(content: bytes | memoryview | Callable[[BinaryIO], object], path: str | Path,
                sync: bool = True) -> None:
    """Write a file atomically: under another name, synced to the disk, and renamed.

    ``path`` always holds the old content or the new one, never a part. What a link points at is
    written, and the link stays.

    Args:
        content: Or what writes it into an open file.
        path: Of the file; its folder is made.
        sync: False where only a stop of the process matters, not one of the machine: for many
            small files that can be made again.

    Raises:
        DiskFullError: no room; says how much is missing. The partial file is removed.
        OSError: anything else.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name[-60:]}.')
    try:
        with os.fdopen(handle, 'wb') as file:
            content(file) if callable(content) else file.write(content)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.chmod(aside, 0o666 & ~_UMASK)
        os.replace(aside, path)
    except OSError as error:
        Path(aside).unlink(missing_ok=True)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        room = shutil.disk_usage(path.parent).free / 2**20
        needs = '' if callable(content) else f' needs {len(content) / 2**20:.1f} MiB'
        raise DiskFullError(
            error.errno, f'{error.strerror}: {path}{needs}, {room:.1f} MiB are free; what was '
            f"there before is whole. Make room{', and go on with --resume' if sync else ''}"
            ) from error
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise
    if not sync:
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name, too
    finally:
        os.close(folder)
