"""The config that a run recorded, read as text: nothing in it is executed."""
from __future__ import annotations

import ast
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path


def recorded_config(meta: Mapping, folder: Path) -> dict:
    """The config in a checkpoint, or the one that the log of the same run has.

    Args:
        meta: Of the checkpoint.
        folder: Work directory of the run; its logs lie in folders named by the time of its start,
            which the name of the experiment ends in.

    Returns:
        Its values as far as they are literals; empty where there is none that can be read.
    """
    text = meta.get('cfg')
    if isinstance(text, str):
        return literals(text)
    name = str(meta.get('experiment_name', ''))
    for path in folder.glob('*/vis_data/config.py'):
        if name.endswith(f'_{path.parents[1].name}'):
            return literals(path.read_text(encoding='utf-8', errors='replace'))
    return {}


def literals(text: str) -> dict:
    """Name → value of the top-level assignments of Python text, ``dict(…)`` included; computed
    values are left out.

    Example:
        >>> literals('a = dict(b=[1, 2])\\nc = open(a)')
        {'a': {'b': [1, 2]}}
    """
    values = {}
    with suppress(SyntaxError):
        for node in ast.parse(text).body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                with suppress(ValueError, TypeError):
                    values[node.targets[0].id] = _value(node.value)
    return values


def _value(node: ast.expr) -> object:
    """Raises ValueError: it is computed."""
    if isinstance(node, ast.Call) and getattr(node.func, 'id', '') == 'dict' and not node.args:
        values: dict = {}
        for keyword in node.keywords:
            value = _value(keyword.value)
            values.update(value if keyword.arg is None else {keyword.arg: value})
        return values
    if isinstance(node, ast.Dict):
        if None in node.keys:
            raise ValueError('a dict that is computed')
        return {_value(k): _value(v) for k, v in zip(node.keys, node.values, strict=True)}
    if isinstance(node, ast.List):
        return [_value(one) for one in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_value(one) for one in node.elts)
    return ast.literal_eval(node)
