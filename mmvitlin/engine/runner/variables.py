"""Variables of configs: a base has used its own before a config that inherits can set them."""
from __future__ import annotations

import ast
import difflib
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from mmvitlin.engine.runner.config_source import chain
from mmvitlin.utils.errors import ConfigError


@dataclass
class Source:
    """A file of a config.

    Attributes:
        path: The file.
        values: What it sets at its top level, what is no literal as ``(text, )``.
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
            values[name] = (ast.dump(node.value), )  # what is no literal is compared as written
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


_OF_0_X = ('checkpoint_config', 'data', 'evaluation', 'log_config', 'lr_config', 'optimizer',
           'optimizer_config', 'runner', 'total_epochs', 'workflow')


def misnamed(cfg: Config, files: list[Source], taken: set[str]) -> str:
    """Words on what a config sets at its top level, nothing reads, and was meant to be read.

    Args:
        cfg: The finished config.
        files: Of which it was made, see :func:`sources`.
        taken: Names that are read from it.

    Returns:
        '' where there is nothing.
    """
    used = {name for file in files for name in file.used}
    unread = [name for name in cfg if name not in taken | used and not name.startswith('_')]
    wrong = {'switch': 'switches'}
    for name in unread:
        if near := difflib.get_close_matches(name, taken, 1, cutoff=0.9):
            wrong.setdefault(name, near[0])
    said = [f"'{name}' (do you mean {wrong[name]}?)" for name in unread if name in wrong]
    if len(old := [name for name in unread if name in _OF_0_X]) > 1:
        said.append(f"{', '.join(map(repr, old))} (of versions 0.x of the libraries; now "
                    'optim_wrapper, param_scheduler, train_dataloader, train_cfg, val_evaluator)')
    return ' and '.join(said)
