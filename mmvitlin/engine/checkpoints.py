"""Checkpoints that are whole or not there, and the newest one that can be read."""
from __future__ import annotations

import errno
import functools
import hashlib
import io
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook
from mmengine.logging import print_log

from mmvitlin.compat import safe_torch_load
from mmvitlin.errors import CheckpointError, ConfigError, DiskFullError
from mmvitlin.shipped import locate


def write_whole(content: bytes, path: str | Path) -> None:
    """Write a file to the side, sync it to the disk, and rename it into place.

    Whatever happens, ``path`` holds the old content or the new one, never a part.

    Raises:
        DiskFullError: no room; says how much is missing. What was written to the side is removed.
        OSError: anything else.
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
    except OSError as error:
        Path(aside).unlink(missing_ok=True)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        room = shutil.disk_usage(path.parent).free / 2**20
        raise DiskFullError(
            error.errno, f'{error.strerror}: {path} needs {len(content) / 2**20:.1f} MiB, '
            f'{room:.1f} MiB are free; what was there before is whole. Make room, and go on with '
            '--resume') from error
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name, too
    finally:
        os.close(folder)


def install() -> None:
    """Let mmengine write local files whole, and remove old checkpoints after the new one is there.

    All mmengine: it writes in place, and removes first.
    """
    LocalBackend.put = lambda self, obj, filepath: write_whole(obj, filepath)
    for name in ('_save_checkpoint_with_step', '_save_best_checkpoint'):
        usual = getattr(CheckpointHook, name)
        if not hasattr(usual, 'saves_first'):
            setattr(CheckpointHook, name, _saving_first(usual))


def _saving_first(usual: Callable) -> Callable:

    @functools.wraps(usual)
    def save(self, *args, **kwargs):
        if not hasattr(self, 'file_backend'):  # nothing was trained
            return usual(self, *args, **kwargs)
        backend = self.file_backend
        self.file_backend = later = _RemovesLater(backend)
        try:
            result = usual(self, *args, **kwargs)
        finally:
            self.file_backend = backend
        written = {self.last_ckpt, getattr(self, 'best_ckpt_path', None),
                   *getattr(self, 'best_ckpt_path_dict', {}).values()}
        for remove, path in later.waiting:
            if path not in written:  # a best one may have been written under its old name
                remove(path)
        return result

    save.saves_first = True
    return save


class _RemovesLater:
    """A file backend that notes what is to be removed."""

    def __init__(self, backend):
        self.backend, self.waiting = backend, []

    def __getattr__(self, name: str):
        return getattr(self.backend, name)

    def remove(self, path: str) -> None:
        """Note a file."""
        self.waiting.append((self.backend.remove, path))

    def rmtree(self, path: str) -> None:
        """Note a folder."""
        self.waiting.append((self.backend.rmtree, path))


def clear_debris(work_dir: str | Path) -> None:
    """Remove what killed runs of this work directory left beside their checkpoints."""
    for path in Path(work_dir).glob('.*.pth.*'):
        path.unlink(missing_ok=True)


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


def newest_readable(work_dir: str | Path, since: Path | None = None) -> Path | None:
    """The checkpoint of a work directory to go on from.

    Checkpoints that cannot be read (a machine that lost power, a copy that broke off) are passed
    over, with a word about each.

    Args:
        work_dir: Of the run.
        since: Checkpoints older than this file are of another run.

    Returns:
        The file, or None where there is no checkpoint at all.

    Raises:
        CheckpointError: there are some, and none can be read.
    """
    work_dir = Path(work_dir)
    start = since.stat().st_mtime if since is not None and since.is_file() else 0.
    pattern = re.compile(r'(?:iter|epoch)_(\d+)(?:_iter_(\d+))?')
    found = [(int(m[1]), int(m[2] or 0), p.stat().st_mtime, p) for p in work_dir.glob('*.pth')
             if p.stat().st_mtime >= start and (m := pattern.fullmatch(p.stem))]
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


def publish(checkpoint: str | Path, target: str | Path) -> Path:
    """Write a checkpoint's weights alone, ``<target>-<first eight digits of its SHA-256>.pth``.

    Where an ``EMAHook`` ran these are the averaged weights. Of the rest, the names of the classes,
    what the backbone is, how images were normalised and the number of iterations stay; the config,
    which may name a machine's folders, goes.

    Args:
        checkpoint: What training wrote.
        target: Name to write.

    Raises:
        CheckpointError: not a checkpoint.
    """
    content = safe_torch_load(locate(checkpoint))
    state = content.get('state_dict') if isinstance(content, dict) else None
    if state is None:
        raise CheckpointError(f'{checkpoint} holds no state_dict; it is no checkpoint of a run')
    meta = {k: v for k, v in (content.get('meta') or {}).items()
            if k in ('mmvitlin_version', 'backbone', 'normalisation', 'finished', 'dataset_meta',
                     'iter', 'epoch')}
    buffer = io.BytesIO()
    torch.save(dict(meta=meta, state_dict=state), buffer)
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()[:8]
    target = Path(target)
    path = target.with_name(f"{target.name.removesuffix('.pth')}-{digest}.pth")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(buffer.getvalue(), path)
    return path
