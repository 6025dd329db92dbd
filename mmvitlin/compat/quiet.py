"""Libraries without what they say of parts that are not needed, or of their own future.

Each message is named here; any other is shown.
"""
from __future__ import annotations

import importlib
import io
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

_SAID = 'Could not import OneDL'  # onedl-mmsegmentation 1.4, onedl-mmdetection 3.4
_WARNED = 'Fail to import ``MultiScaleDeformableAttention``'  # an mmcv without its operators
# torch 2.11: pinning is left out where there is nothing to pin memory for
_NOT_PINNED = "'pin_memory' argument is set as true but no accelerator is found"
# torch 2.11, of its own copies of a program that it exports, and of files that it reads back
_EXPORTING = ('`isinstance\\(treespec, LeafSpec\\)` is deprecated',
              'The given buffer is not writable')
_OF_FILE_CLIENTS = ('"FileClient" will be deprecated', '"HardDiskBackend" is the alias of')


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


def expect_no_accelerator() -> None:
    """Let no loader warn, from here on, that it pins no memory on a machine without a GPU; configs
    ask for it for those with one."""
    warnings.filterwarnings('ignore', message=_NOT_PINNED)


@contextmanager
def quiet_export() -> Iterator[None]:
    """Suppress torch's warnings about its own code while it writes or reads a program."""
    with warnings.catch_warnings():
        for message in _EXPORTING:
            warnings.filterwarnings('ignore', message=message)
        yield


def not_of_file_clients(record: logging.LogRecord) -> bool:
    """Filter of a logger: leave out what mmengine says of parts of its own that its
    ``CheckpointHook`` makes and does not use."""
    return not record.getMessage().startswith(_OF_FILE_CLIENTS)


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
