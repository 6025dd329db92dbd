"""Checkpoints that are written atomically, and the newest one that can be read."""
from __future__ import annotations

import re
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend
from mmengine.logging import print_log

from mmvitlin.utils.errors import CheckpointError, ConfigError
from mmvitlin.utils.files import write_whole
from mmvitlin.utils.weights import safe_torch_load


class AtomicLocalBackend(LocalBackend):
    """mmengine's backend of local files, which writes them whole (:func:`write_whole`).

    Named in a config as ``backend_args=dict(backend='mmvitlin_local')``.
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes; ``filepath`` holds the old content or the new one, never a part."""
        write_whole(obj, filepath)


LOCAL = 'mmvitlin_local'
register_backend(LOCAL, AtomicLocalBackend, force=True)


def clear_debris(work_dir: str | Path) -> None:
    """Remove what killed runs of this work directory left beside their checkpoints."""
    for path in Path(work_dir).glob('.*.pth.*'):
        path.unlink(missing_ok=True)


def last_checkpoint(folder: str | Path) -> Path:
    """The checkpoint that a run in this work directory wrote last.

    Raises:
        ConfigError: there is none.
    """
    checkpoint = _pointed_at(Path(folder))
    if checkpoint is None:
        raise ConfigError(f'no run left a checkpoint in {folder}')
    return checkpoint


def _pointed_at(folder: Path) -> Path | None:
    """What the run's ``last_checkpoint`` names: in the folder, which may have been moved, or in the
    hook's ``out_dir``; None where there is none."""
    pointer = folder / 'last_checkpoint'
    if not pointer.is_file():
        return None
    named = Path(pointer.read_text().strip())
    return next((path for path in (folder / named.name, named) if path.is_file()), None)


def newest_readable(work_dir: str | Path, since: Path | None = None) -> Path | None:
    """The checkpoint of a work directory to resume from: the one that was written last, or else the
    one of the most iterations.

    Checkpoints that cannot be read (a machine that lost power, a copy that broke off) are passed
    over, with a warning for each.

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
    candidates = [(int(m[1]), int(m[2] or 0), p.stat().st_mtime, p) for p in work_dir.glob('*.pth')
                  if p.stat().st_mtime >= start and (m := pattern.fullmatch(p.stem))]
    last = _pointed_at(work_dir)
    paths = [last] if last is not None and last.stat().st_mtime >= start else []
    paths += [path for *_, path in sorted(candidates, reverse=True) if path != last]
    if not paths:
        return None
    problems = []
    for path in paths:
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
