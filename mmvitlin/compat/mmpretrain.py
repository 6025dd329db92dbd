"""mmpretrain beside transformers 5."""
from __future__ import annotations

import sys
from importlib import import_module, metadata
from types import ModuleType


def spare_multimodal() -> None:
    """Keep mmpretrain importable beside transformers 5.

    Its multimodal models subclass names that transformers 5 no longer has and raise at import.
    Patches ``mmpretrain.utils.dependency.WITH_MULTIMODAL`` of mmpretrain up to 1.3.6, before
    ``mmpretrain.models`` is imported, where transformers is 5 or newer.
    """
    try:
        major = int(metadata.version('transformers').split('.')[0])
    except metadata.PackageNotFoundError:
        return
    if major >= 5 and 'mmpretrain.models' not in sys.modules:
        try:
            from mmpretrain.utils import dependency
        except ImportError:
            return
        dependency.WITH_MULTIMODAL = False


def part(name: str) -> ModuleType:
    """``mmpretrain.<name>``, imported with that in place."""
    spare_multimodal()
    return import_module(f'mmpretrain.{name}')
