"""Paths of configs and tools, in an installation or a checkout, and of the cache."""
from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

IMAGE_ENDINGS = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp', '.ppm', '.pgm', '.gif')

_PACKAGE = Path(__file__).parents[1]
PLACES = (_PACKAGE / '.mim', _PACKAGE.parent)

# checkpoints that a tool gets: name and tool
FETCHED = {'vit-small-14_saliency': 'mmvitlin fetch_teacher'}


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


def renamed(path: str | Path) -> str | None:
    """The present name, as text, of a config below ``configs/`` that had another name.

    ``configs/old_names.yml`` has them all. None for other paths.
    """
    file = folder('configs') / 'old_names.yml'
    name = str(path).replace('\\', '/').split('configs/')[-1]
    names = file.read_text(encoding='utf-8')
    line = re.search(rf'^{re.escape(name)}: (\S+)(?: (.+))?$', names, re.M)
    if line is None:
        return None
    return f'{line[1]}, with --cfg-options {line[2]}' if line[2] else line[1]


def files_below(folder: str | Path) -> Iterator[Path]:
    """The files below a folder, through links too, as data sets of mmseg and mmpretrain read it."""
    for place, folders, names in os.walk(folder, followlinks=True):
        above = os.path.realpath(place) + os.sep
        folders[:] = sorted(name for name in folders if not above.startswith(
            os.path.realpath(os.path.join(place, name)) + os.sep))  # a link to a folder above it
        yield from (Path(place, name) for name in sorted(names))


def shown(folder: Path) -> list[Path]:
    """The files below a folder, sorted, but hidden ones and those of hidden folders: macOS leaves
    ``._a.jpg`` beside ``a.jpg``, and Jupyter copies in ``.ipynb_checkpoints``."""
    return sorted(p for p in files_below(folder)
                  if not any(part.startswith('.') for part in p.relative_to(folder).parts))


def is_place(text: str) -> bool:
    """Whether a text is a path with a folder in it, or an address. Names of shipped configs and
    weights (``mmvitlin::…``) and of models on Hugging Face's hub are not."""
    return not text.startswith(('mmvitlin::', 'hf-hub:', 'hf_hub:')) and any(
        mark in text for mark in '/\\~')


def cache() -> Path:
    """Where files are kept between runs: $MMVITLIN_CACHE, or ~/.cache/mmvitlin."""
    return Path(os.environ.get('MMVITLIN_CACHE') or Path.home() / '.cache' / 'mmvitlin')


def locate(path: str | Path) -> Path:
    """The file of a checkpoint's name, which need not exist.

    ``mmvitlin::NAME`` is NAME, NAME.pth, NAME.safetensors or the newest NAME-<hash>.pth, as
    ``publish_model.py`` names it, in ``checkpoints`` below :func:`cache` or in ~/.cache/mim, where
    ``mim download`` puts its files. Anything else is a path.

    Raises:
        FileNotFoundError: no folder holds a file of that name, or it is no name but a path; says
            where it was looked for.
    """
    if not str(path).startswith('mmvitlin::'):
        return Path(path).expanduser()
    name = str(path).removeprefix('mmvitlin::')
    folders = cache() / 'checkpoints', Path.home() / '.cache' / 'mim'
    hashed = re.compile(re.escape(name) + '-[0-9a-f]{8}[.]pth')
    for folder in folders if name and Path(name).name == name else ():
        files = {f.name: f for f in folder.glob('*') if f.is_file()}
        for whole in (name, f'{name}.pth', f'{name}.safetensors'):
            if whole in files:
                return files[whole]
        if matches := [f for n, f in files.items() if hashed.fullmatch(n)]:
            return max(matches, key=lambda f: f.stat().st_mtime)
    if name in FETCHED:
        raise FileNotFoundError(f'no checkpoint at {path}: it is not in {folders[0]} yet. Fetch it '
                                f'with `{FETCHED[name]}`.')
    raise FileNotFoundError(f"no checkpoint at {path}: neither {' nor '.join(map(str, folders))} "
                            f'has a file {name}.pth, {name}.safetensors or {name}-<hash>.pth. '
                            'Copy it there, or give its path.')


def why_absent(path: str | Path) -> str | None:
    """Why no checkpoint can be read at a path, as text; None where a file is there."""
    if not str(path):
        return "no checkpoint is named (the path is '')"
    try:
        place = locate(path)
    except FileNotFoundError as error:
        return str(error).rstrip('.')
    if place.is_dir() or place.name == 'last_checkpoint' and place.is_file():
        last = place / 'last_checkpoint' if place.is_dir() else place
        kind = 'a folder' if place.is_dir() else 'the name of one'
        named = f'; give {last.read_text().strip()}' if last.is_file() else ''
        return f"no checkpoint at '{path}', which is {kind}{named}"
    return None if place.is_file() else f"no checkpoint at '{path}'"
