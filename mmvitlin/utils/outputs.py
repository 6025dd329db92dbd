"""Folders that a tool writes results into, which may be somebody's."""
from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from mmvitlin.utils.errors import ConfigError
from mmvitlin.utils.files import write_whole

MARK = '.mmvitlin'  # a file in folders of results, by which a later call knows them


def claim(folder: str | Path, kinds: Iterable[str], inputs: Iterable[object] = ()) -> None:
    """Make folders for results and mark them; what former calls wrote there may be replaced.

    Args:
        folder: That holds them.
        kinds: Their names.
        inputs: What is read; of it, folders must not hold ``folder``.

    Raises:
        ConfigError: one of them holds files that no such call wrote, such as labels made by hand;
            ``folder`` lies inside one that is read, so that a second call would read its results;
            or they cannot be made.
    """
    for source in inputs:
        if isinstance(source, (str, Path)) and Path(source).is_dir() \
                and Path(folder).resolve().is_relative_to(Path(source).resolve()):
            raise ConfigError(f'--out-dir: {folder} lies inside {source}, which is read: the next '
                              'call would take its results for images; give a folder elsewhere')
    places = [Path(folder) / kind for kind in kinds]
    try:
        for place in places:
            there = next(place.iterdir(), None) if place.is_dir() else None
            if there is not None and not (place / MARK).exists():
                raise ConfigError(f'--out-dir: {place} holds files that this tool did not write '
                                  f'({there.name}), and might replace them; give another folder, '
                                  'or move them')
        for place in places:
            place.mkdir(parents=True, exist_ok=True)
            (place / MARK).touch()
    except OSError as error:
        raise ConfigError(f'--out-dir: {folder} cannot be a folder ({error.strerror}); give '
                          'another') from error


def save_png(picture: Image.Image, path: Path, **options) -> None:
    """Write a picture as PNG, whole or not at all.

    Args:
        picture: Of Pillow.
        path: Of the file; its folder is made.
        **options: Of Pillow's PNG writer.

    Raises:
        DiskFullError: no room.
    """
    content = io.BytesIO()
    picture.save(content, 'PNG', **options)
    write_whole(content.getbuffer(), path, sync=False)
