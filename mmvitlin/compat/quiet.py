"""Imports of libraries, without their messages about missing parts that are not needed."""
from __future__ import annotations

import importlib
import io
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

_SAID = 'Could not import OneDL'  # onedl-mmsegmentation 1.4, onedl-mmdetection 3.4
_WARNED = 'Fail to import ``MultiScaleDeformableAttention``'  # an mmcv without its operators


@contextmanager
def quiet_imports() -> Iterator[None]:
    """Suppress what libraries print on import about parts that are not needed.

    Modules that need a missing part say so when they are built.
    """
    output = io.StringIO()
    try:
        with warnings.catch_warnings(), redirect_stdout(output):
            warnings.filterwarnings('ignore', message=_WARNED)
            yield
    finally:
        rest = [line for line in output.getvalue().splitlines() if _SAID not in line]
        if rest:
            print('\n'.join(rest), file=sys.stdout)


def import_library(scope: str) -> None:
    """Import the library of a default scope; do nothing where it is absent."""
    if scope not in ('mmseg', 'mmdet', 'mmpretrain'):
        return
    if scope in ('mmpretrain', 'mmdet'):  # mmdet imports mmpretrain where there is one
        from mmvitlin.compat.mmpretrain import spare_multimodal
        spare_multimodal()
    try:
        with quiet_imports():
            for part in ('datasets', 'models'):
                importlib.import_module(f'{scope}.{part}')
    except (ImportError, AssertionError):  # building says what is missing
        pass
