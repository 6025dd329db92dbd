"""Reading weights without executing code."""
from __future__ import annotations

import argparse
import pickle
import re
import zipfile
from contextlib import suppress
from pathlib import Path

from mmvitlin.utils.errors import CheckpointError


def safe_torch_load(file, map_location='cpu', weights_only=None):
    """``torch.load`` of tensors, plain containers and mmengine's log buffers only.

    The one class allowed besides is ``argparse.Namespace``, plain attributes, which the
    released Adventurer files were saved with.

    Raises:
        CheckpointError: the file holds anything else, or is not a whole checkpoint; names
            it and the remedy. Nothing in it has been executed.
    """
    import numpy as np
    import torch
    try:
        from mmengine.runner.checkpoint import get_torch_safe_globals
        allowed = list(get_torch_safe_globals())
    except ImportError:
        allowed = []
    try:
        if hasattr(np, '_core'):  # files whose logs were written with NumPy 1
            allowed += [(np._core.multiarray._reconstruct, 'numpy.core.multiarray._reconstruct'),
                        (np._core.multiarray.scalar, 'numpy.core.multiarray.scalar')]
        numbers = [type(np.dtype(code)) for code in '?bBhHiIlLqQefdg']  # of logged scalars
        with torch.serialization.safe_globals([*allowed, *numbers, argparse.Namespace]):
            return torch.load(file, map_location=map_location, weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged pickle ends in errors of many kinds
        raise CheckpointError(f'{file} {_why(file, error)}') from error


def _why(file, error: Exception) -> str:
    """Why a file was not loaded, with the remedy."""
    if other := _other_format(file):
        return other
    culprit = _culprit(error) if isinstance(error, pickle.UnpicklingError) else None
    if culprit:
        return (f'holds objects other than tensors and plain containers and was not unpickled '
                f'({culprit}). Save only its state_dict, as .safetensors or with torch.save, where '
                'you trust the file.')
    if 'TorchScript' in str(error):
        return ('is a TorchScript archive, a programme, as OpenAI publishes CLIP. Where you trust '
                "it, write its weights: torch.save(torch.jit.load(FILE, map_location='cpu')"
                '.state_dict(), OTHER)')
    if str(file).endswith('.safetensors'):
        return ('is read as a torch file, and is called .safetensors; this needs a checkpoint of '
                'torch')
    words = str(error).rpartition('WeightsUnpickler error: ')[2].strip().splitlines() or ['']
    return (f'is not a readable checkpoint, or is cut short ({type(error).__name__}: {words[0]}). '
            'Copy or download it again.')


def _other_format(file) -> str:
    """What a file of another format is, with the remedy; '' where that is unknown."""
    if not isinstance(file, (str, Path)):
        return ''
    with open(file, 'rb') as opened:
        start = opened.read(10)
    if start[8:] == b'{"':
        return f"is a safetensors file; call it {Path(file).with_suffix('.safetensors').name}"
    names = []
    with suppress(Exception):  # no archive, or a damaged one
        names = zipfile.ZipFile(file).namelist()
    if start.startswith((b'\x89HDF', b'\x93NUMPY')) or any(name.endswith('.npy') for name in names):
        return ('holds arrays of NumPy, TensorFlow or JAX; write them as tensors under the names '
                "of the network, torch.save({name: torch.from_numpy(array), …}, 'weights.pth')")
    return ''


def _culprit(error: Exception) -> str | None:
    match = re.search(r'GLOBAL (\S+)|but got (<.+?>)|function (\S+)', str(error))
    return match and next(filter(None, match.groups()))


def read_safetensors(path: str | Path) -> tuple[dict, dict[str, str]]:
    """Tensors and metadata of a .safetensors file, on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: it is damaged.
    """
    from safetensors import safe_open
    if not Path(path).is_file():
        raise FileNotFoundError(f"no checkpoint at '{path}'")
    try:
        with safe_open(path, 'pt') as file:
            return {k: file.get_tensor(k) for k in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except Exception as error:  # SafetensorError, and what a damaged header leads to
        raise CheckpointError(f'{path} is not a readable checkpoint, or is cut short '
                              f'({type(error).__name__}: {error}). Copy or download it again.'
                              ) from error
