"""mmvitlin: linear-time vision models for high-resolution dense prediction.

Importing the package is light: neither torch nor any OpenMMLab library is
imported until something that needs it is asked for.
"""
from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = '0.3.0'

if TYPE_CHECKING:
    from mmvitlin.apis import DetInferencer, SegInferencer
    from mmvitlin.apis.distillation import distill
    from mmvitlin.apis.export import export
    from mmvitlin.deploy import ExportedModel
    from mmvitlin.engine.runner.config import load_config
    from mmvitlin.models import Adventurer, FrozenTeacher, TimmViT, ViTLinearizer

_PLACES = {  # name → module that has it
    'Adventurer': 'models',
    'DetInferencer': 'apis',
    'ExportedModel': 'deploy',
    'FrozenTeacher': 'models',
    'SegInferencer': 'apis',
    'TimmViT': 'models',
    'ViTLinearizer': 'models',
    'distill': 'apis.distillation',
    'export': 'apis.export',
    'load_config': 'engine.runner.config',
}

__all__ = ['Adventurer', 'DetInferencer', 'ExportedModel', 'FrozenTeacher', 'SegInferencer',
           'TimmViT', 'ViTLinearizer', '__version__', 'distill', 'export', 'load_config']


def __getattr__(name: str):
    """The public names, imported when they are first asked for (PEP 562)."""
    if name not in _PLACES:
        raise AttributeError(f"module 'mmvitlin' has no attribute '{name}'")
    value = globals()[name] = getattr(import_module(f'mmvitlin.{_PLACES[name]}'), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
