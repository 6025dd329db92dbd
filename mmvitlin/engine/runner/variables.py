"""Variables of configs: a base has used its own before a config that inherits can set them."""
from __future__ import annotations

import ast
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mmvitlin.engine.runner.config_source import chain
from mmvitlin.utils.errors import ConfigError


@dataclass
class Source:
    """A file of a config.

    Attributes:
        path: The file.
        values: What it sets at its top level, as far as it is literal; ``None`` for the rest.
        used: Names that it reads, its own and those of its bases.
    """
    path: Path
    values: dict[str, object]
    used: set[str]


def sources(path: str) -> list[Source]:
    """The files of a config, bases first; none where its bases are computed."""
    with suppress(ConfigError, SyntaxError):
        return [_source(file, text) for file, text in chain(path)]
    return []


def _source(path: Path, text: str) -> Source:
    # {{_base_.name}} is mmengine's, and no Python where it stands alone in braces
    tree = ast.parse(re.sub(r'\{\{\s*_base_\.(\w+)[^}]*\}\}', r'_base_.\1', text))
    values = {}
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        for name in (t.id for t in targets if isinstance(t, ast.Name)):
            values[name] = None
            with suppress(ValueError):
                values[name] = ast.literal_eval(node.value)
    used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    return Source(path, values, used | set(re.findall(r'\b_base_\.(\w+)', text)))


def replaced(files: list[Source], name: str) -> set[str]:
    """Texts that files of a config gave a variable before the last of them did, which may have
    computed its own."""
    *before, last = [f.values[name] for f in files if name in f.values] or [None]
    return {value for value in before if isinstance(value, str)} - {last}


def idle(files: list[Source], taken: set[str]) -> dict[str, Source]:
    """Variables that the last file sets to something new, reads nowhere, and a base has used.

    Args:
        files: Of a config, see :func:`sources`.
        taken: Names that are read from the finished config.

    Returns:
        Name → the base that used it.
    """
    if not files:
        return {}
    *bases, own = files
    found = {}
    for name, value in own.values.items():
        if name in taken or name in own.used or name.startswith('_'):
            continue
        using = [b for b in bases if name in b.used]
        if using and all(b.values.get(name, ...) != value for b in bases):
            found[name] = using[-1]
    return found
