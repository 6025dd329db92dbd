"""Folders that a tool writes results into, which may be somebody's."""
from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mmvitlin.utils.errors import ConfigError

MARK = '.mmvitlin'  # a file in folders of results, by which a later call knows them


def claim(folder: str | Path, kinds: Iterable[str], inputs: Iterable[object] = ()) -> Path:
    """A folder for results, marked as such; files of a former call in it may be replaced.

    Args:
        folder: Made where it is not there.
        kinds: Its subfolders that will be written to.
        inputs: What is read; of it, folders must not hold ``folder``.

    Returns:
        The folder.

    Raises:
        ConfigError: a subfolder holds files that no such call wrote, such as labels made by hand;
            the folder lies inside one that is read, so that a second call would read its results;
            or it cannot be made.
    """
    folder = Path(folder)
    for source in inputs:
        if isinstance(source, (str, Path)) and Path(source).is_dir() \
                and folder.resolve().is_relative_to(Path(source).resolve()):
            raise ConfigError(f'--out-dir: {folder} lies inside {source}, which is read: the next '
                              'call would take its results for images; give a folder elsewhere')
    try:
        if not (folder / MARK).exists():
            for kind in kinds:
                there = next((folder / kind).iterdir(), None) if (folder / kind).is_dir() else None
                if there is not None:
                    raise ConfigError(f'--out-dir: {folder / kind} holds files that this tool did '
                                      f'not write ({there.name}), and might replace them; give '
                                      'another folder, or move them')
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MARK).touch()
    except OSError as error:
        raise ConfigError(f'--out-dir: {folder} cannot be a folder ({error.strerror}); give '
                          'another') from error
    return folder
