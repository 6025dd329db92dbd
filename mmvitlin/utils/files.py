"""Atomic writes."""
from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path

from mmvitlin.utils.errors import DiskFullError

_UMASK = os.umask(0o022)  # there is no other way to read it
os.umask(_UMASK)


def write_whole(content: bytes | memoryview, path: str | Path, sync: bool = True) -> None:
    """Write a file atomically: under another name, synced to the disk, and renamed.

    ``path`` always holds the old content or the new one, never a part. What a link points at is
    written, and the link stays. Without ``sync`` that holds where the process is stopped, not where
    the machine is: for many small files that can be made again.

    Raises:
        DiskFullError: no room; says how much is missing. The partial file is removed.
        OSError: anything else.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.')
    try:
        with os.fdopen(handle, 'wb') as file:
            file.write(content)
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
        raise DiskFullError(
            error.errno, f'{error.strerror}: {path} needs {len(content) / 2**20:.1f} MiB, '
            f'{room:.1f} MiB are free; what was there before is whole. Make room'
            f"{', and go on with --resume' if sync else ''}") from error
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
