"""Configs as text, without executing them."""
from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from mmvitlin.compat.mmengine import config_path
from mmvitlin.utils.errors import ConfigError


def chain(config: str) -> Iterator[tuple[Path, str]]:
    """The files a config is made of, bases first, each once.

    Raises:
        ConfigError: a file is not there, is no Python, inherits from itself, or computes its bases,
            which are known only by running it.
    """
    yield from _walk(config, None, (), set())


def _walk(name: str, parent: Path | None, above: tuple[Path, ...], done: set[Path]
          ) -> Iterator[tuple[Path, str]]:
    path = _locate(name, parent)
    if path in above:
        raise ConfigError(f'{path} inherits from itself')
    if path in done:
        return
    done.add(path)
    text = path.read_text(encoding='utf-8')
    for base in _bases(path, text):
        yield from _walk(base, path, (*above, path), done)
    yield path, text


def _locate(name: str, parent: Path | None) -> Path:
    if '::' in name:
        path = Path(config_path(name))
    else:
        path = (parent.parent / name if parent is not None else Path(name)).resolve()
    if not path.is_file():
        raise ConfigError(f'no config file at {path}'
                          + (f' (a base of {parent})' if parent else ''))
    return path


def _bases(path: Path, text: str) -> list[str]:
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        raise ConfigError(f'{path}, line {error.lineno}: {error.msg}') from error
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(getattr(t, 'id', '') == '_base_'
                                                for t in node.targets):
            try:
                bases = ast.literal_eval(node.value)
            except ValueError as error:
                raise ConfigError(f'{path}, line {node.lineno}: _base_ is computed; only running '
                                  'the config shows it') from error
            return [bases] if isinstance(bases, str) else list(bases)
    return []
