"""Types that pure-Python configs import, by the names that other configs have for them."""
from __future__ import annotations

from mmengine import registry
from mmengine.registry import Registry
from mmengine.utils import get_object_from_string


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
