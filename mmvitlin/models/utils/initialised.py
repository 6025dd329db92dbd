"""Whether networks hold what the checkpoints of their ``init_cfg`` hold."""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn as nn
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor

from mmvitlin.models.utils.onnx_weights import read_onnx
from mmvitlin.utils.errors import CheckpointError
from mmvitlin.utils.paths import locate
from mmvitlin.utils.weights import read_safetensors

_SAMPLED = 16  # values by which a tensor is recognised


def pretrained(module: nn.Module, key: str = 'model') -> Iterator[tuple[str, nn.Module, str]]:
    """(key, module, checkpoint) of the modules that name a checkpoint in their ``init_cfg``.

    Modules inside such a module are left out: they are loaded first, and may be overwritten.
    """
    prefixes: list[str] = []
    for name, part in module.named_modules():
        given = getattr(part, 'init_cfg', None)
        cfgs = given if isinstance(given, (list, tuple)) else [given]
        files = [cfg['checkpoint'] for cfg in cfgs if isinstance(cfg, dict)
                 and str(cfg.get('type')).startswith('Pretrained') and cfg.get('checkpoint')]
        if files and not any(name.startswith(outer) for outer in prefixes):
            prefixes.append(f'{name}.' if name else '')
            yield f'{key}.{name}' if name else key, part, str(files[-1])


def refuse_unused(module: nn.Module, key: str = 'model') -> list[tuple[str, str, int]]:
    """Refuse an initialised network that holds nothing of a checkpoint that its config names.

    mmengine loads the keys that fit, which may be none. Networks that convert a checkpoint's keys
    and some of its tensors are recognised by the tensors that stay as they are.

    Args:
        module: After ``init_weights()``.
        key: Its place in the config.

    Returns:
        (key, checkpoint, tensors of the module that hold values of the file) of each checkpoint.

    Raises:
        CheckpointError: names key and file, and a prefix that its keys may need.
    """
    used = []
    for place, part, path in pretrained(module, key):
        in_file = dict(_tensors(_content(path)))
        marks = set(filter(None, map(_mark, in_file.values())))
        own = part.state_dict()
        count = sum(_mark(tensor) in marks for tensor in own.values())
        if marks and not count and any(map(_mark, own.values())):
            raise CheckpointError(
                f'{place}.init_cfg: nothing of {path} was loaded into this {type(part).__name__}: '
                f'the file has {sorted(in_file)[:2]} …, the network {sorted(own)[:2]} …; '
                f'{_remedy(in_file, own, place)}')
        used.append((place, path, count))
    return used


def _remedy(in_file: dict[str, Tensor], own: dict[str, Tensor], place: str) -> str:
    for name, tensor in own.items():
        for key, other in in_file.items():
            if key != name and key.endswith(f'.{name}') and other.shape == tensor.shape:
                return f"set {place}.init_cfg.prefix='{key.removesuffix(name)}'"
    return 'give a checkpoint of the same network, or the prefix of its keys (init_cfg.prefix)'


def _content(path: str):
    local = None if '://' in path else locate(Path(path))
    if local is not None and local.suffix == '.safetensors':
        return read_safetensors(local)[0]
    if local is not None and local.suffix == '.onnx':
        return read_onnx(local)
    return CheckpointLoader.load_checkpoint(str(local or path), map_location='cpu', logger='silent')


def _tensors(content) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of a checkpoint, also inside nested dicts, with the innermost key."""
    if isinstance(content, dict):
        for key, value in content.items():
            if isinstance(value, Tensor):
                yield str(key), value
            elif key not in ('optimizer', 'message_hub', 'meta'):
                yield from _tensors(value)


def _mark(tensor: Tensor) -> tuple | None:
    """Shape and some values; None of tensors that are the same in many networks."""
    if tensor.numel() < 2 or not tensor.is_floating_point() or tensor.is_meta:
        return None
    tensor = tensor.detach()
    flat = (tensor.full_tensor() if hasattr(tensor, 'full_tensor') else tensor).reshape(-1)
    values = flat[::max(1, flat.numel() // _SAMPLED)].to('cpu', torch.float32)
    return None if bool((values == values[0]).all()) else (tuple(tensor.shape), *values.tolist())
