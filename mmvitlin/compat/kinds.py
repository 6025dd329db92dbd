"""What the types of a config are."""
from __future__ import annotations

from collections.abc import Collection

from mmengine.registry import TRANSFORMS, Registry


def kind_of(node) -> str:
    """Name of the type that a config names, without its scope."""
    kind = node.get('type') if isinstance(node, dict) else None
    return kind.rsplit('.', 1)[-1] if isinstance(kind, str) else getattr(kind, '__name__', '')


def class_of(node: dict, registry: Registry) -> type | None:
    """The class that a config names; None where it is not registered or cannot be imported."""
    kind = node.get('type')
    if not isinstance(kind, str):
        return kind if isinstance(kind, type) else None
    try:
        with registry.switch_scope_and_registry(None) as current:
            known = current.get(kind)
    except Exception:  # of a library that is not installed; building it says so
        return None
    return known if isinstance(known, type) else None


def is_kind(step: dict, names: Collection[str]) -> bool:
    """Whether a transform is of one of these names, or derives from one."""
    if kind_of(step) in names:
        return True
    return any(base.__name__ in names for base in getattr(class_of(step, TRANSFORMS), '__mro__',
                                                          ()))
