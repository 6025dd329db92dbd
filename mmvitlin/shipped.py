"""Where things are: configs and tools of an installation or a checkout, files kept beside it."""
from __future__ import annotations

import os
import re
from pathlib import Path

_PACKAGE = Path(__file__).parent
PLACES = (_PACKAGE / '.mim', _PACKAGE.parent)


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


def cache() -> Path:
    """Where files are kept between runs: $MMVITLIN_CACHE, or ~/.cache/mmvitlin."""
    return Path(os.environ.get('MMVITLIN_CACHE') or Path.home() / '.cache' / 'mmvitlin')


def locate(path: str | Path) -> Path:
    """The file that a checkpoint's name means, which need not be there.

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
        if found := [f for n, f in files.items() if hashed.fullmatch(n)]:
            return max(found, key=lambda f: f.stat().st_mtime)
    raise FileNotFoundError(f"no checkpoint at {path}: neither {' nor '.join(map(str, folders))} "
                            f'has a file {name}.pth, {name}.safetensors or {name}-<hash>.pth. '
                            'Copy it there, or give its path.')
