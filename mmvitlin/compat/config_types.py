"""Types that pure-Python configs import, by the names that other configs have for them."""
from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import PurePath

from mmengine import registry
from mmengine.registry import Registry
from mmengine.utils import get_object_from_string

from mmvitlin.utils.errors import ConfigError


def name_types(node: dict | list | tuple) -> None:
    """Put names in the place of the classes under ``type``, at any depth: those of a registry, with
    its scope, or else that of the module. What no name leads back to stays."""
    for key in node if isinstance(node, dict) else range(len(node)):
        value = node[key]
        if key == 'type' and hasattr(value, '__qualname__'):
            if (name := _registered(value) or _importable(value)) is not None:
                node[key] = name
        elif isinstance(value, (dict, list, tuple)):
            name_types(value)


def plain(value: object, key: str) -> object:
    """A value of a config in what a file of Python can say: registered classes and paths by their
    names, arrays and tensors as lists.

    Raises:
        ConfigError: something else is in it; names its key.
    """
    if isinstance(value, Mapping):
        return {name: plain(one, f'{key}.{name}') for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(plain(one, f'{key}[{n}]') for n, one in enumerate(value)) \
            if type(value) in (list, tuple) else [plain(one, key) for one in value]
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if isinstance(value, PurePath):
        return str(value)
    if hasattr(value, 'tolist'):  # of NumPy and torch
        return plain(value.tolist(), key)
    if hasattr(value, '__qualname__') and (name := _registered(value) or _importable(value)):
        return name
    raise ConfigError(f'{key}: {value!r} cannot stand in a config; give a number, a string, a list '
                      'or a dict')


def _registered(value: object) -> str | None:
    """Its name in a registry: of the library that it is of, or else in mmengine's."""
    own = value.__module__.partition('.')[0]
    for root in vars(registry).values():
        if not isinstance(root, Registry):
            continue
        part = root.children.get(own, root)
        name = next((n for n, known in part.module_dict.items() if known is value), None)
        if name is not None and part is not root:
            return f'{own}.{name}'
        if name is not None:  # another library may have one of this name, and come first
            apart = any(name in child.module_dict for child in root.children.values())
            return f'{root.scope}.{name}' if apart else name
    return None


def _importable(value: object) -> str | None:
    name = f'{value.__module__}.{value.__qualname__}'
    try:
        return name if get_object_from_string(name) is value else None
    except Exception:  # of a function, or of the config itself
        return None
