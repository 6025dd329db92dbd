"""Checkpoints that are whole or not there, and the newest one that can be read."""
from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from mmengine.fileio import LocalBackend
from mmengine.logging import print_log

from mmvitlin.compat import safe_torch_load
from mmvitlin.errors import CheckpointError, ConfigError


def write_whole(content: bytes, path: str | Path) -> None:
    """Write a file to the side, sync it to the disk, and rename it into place.

    Whatever happens, ``path`` holds the old content or the new one, never a part.

    Raises:
        OSError: no room, for one; what was written to the side is removed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.')
    try:
        with os.fdopen(handle, 'wb') as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(aside, 0o644)
        os.replace(aside, path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name, too
    finally:
        os.close(folder)


def install() -> None:
    """Let mmengine write local files whole; it writes in place."""
    LocalBackend.put = lambda self, obj, filepath: write_whole(obj, filepath)


def last_checkpoint(folder: str | Path) -> Path:
    """The checkpoint that a run in this work directory wrote last.

    Raises:
        ConfigError: there is none.
    """
    told = Path(folder) / 'last_checkpoint'
    found = Path(folder) / Path(told.read_text().strip()).name if told.is_file() else None
    if found is None or not found.is_file():
        raise ConfigError(f'no run left a checkpoint in {folder}')
    return found


def newest_readable(work_dir: str | Path) -> Path | None:
    """The checkpoint of a work directory to go on from.

    Checkpoints that cannot be read (a machine that lost power, a copy that broke off) are passed
    over, with a word about each.

    Returns:
        The file, or None where there is no checkpoint at all.

    Raises:
        CheckpointError: there are some, and none can be read.
    """
    work_dir = Path(work_dir)
    found = [(int(m[2]), p.stat().st_mtime, p) for p in work_dir.glob('*.pth')
             if (m := re.fullmatch(r'(iter|epoch)_(\d+)', p.stem))]
    if not found:
        return None
    problems = []
    for *_, path in sorted(found, reverse=True):
        try:
            if 'message_hub' not in safe_torch_load(path):
                raise CheckpointError(f'{path} holds weights, but no state of a run')
        except Exception as error:
            problems.append(f'{path.name}: {str(error).splitlines()[0]}')
            continue
        for problem in problems:
            print_log(f'passed over {problem}', logger='current', level=30)
        if problems:
            print_log(f'resuming from {path.name}', logger='current', level=30)
        return path
    raise CheckpointError(f'no checkpoint in {work_dir} can be read: ' + '; '.join(problems) +
                          '. Restore one, or start again in another --work-dir.')
