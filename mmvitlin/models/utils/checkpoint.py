"""Weights from files into backbones, with nothing lost silently."""
from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn as nn
from mmengine.logging import print_log
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor

from mmvitlin.compat import read_safetensors, safe_torch_load
from mmvitlin.errors import CheckpointError, in_words
from mmvitlin.shipped import locate

_WRAPPERS = ('state_dict_ema', 'model_ema', 'state_dict', 'model', 'teacher', 'student')  # first
_PREFIXES = ('module.', 'backbone.')
_NOT_BACKBONE = ('head.', 'mask_token', 'neck.', 'norm_neck.', 'decode_head.', 'auxiliary_head.',
                 'projector.', 'data_preprocessor.', 'objectives.', 'fc_norm.', 'attn_pool.')
_SHOWN = 8


@dataclass
class LoadReport:
    """What became of each key of a checkpoint.

    Attributes:
        matched: Keys loaded.
        missing: Parameters of the model that the file does not have.
        unexpected: Keys of the file that the model does not have, heads not counted.
        mismatched: 'key: shape in the file, shape in the model'.
        resized: Keys loaded at another size than the file's (positions, patches).
    """
    matched: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)
    resized: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f'{len(self.matched)} keys matched']
        for name in ('resized', 'missing', 'unexpected', 'mismatched'):
            keys = getattr(self, name)
            if keys:
                more = f', and {len(keys) - _SHOWN} more' if len(keys) > _SHOWN else ''
                lines.append(f'{len(keys)} {name}: ' + ', '.join(keys[:_SHOWN]) + more)
        return '; '.join(lines)


def read_meta(path: str | Path) -> dict:
    """What a file of this toolkit says beside the weights; empty of other files and of URLs.

    Raises:
        FileNotFoundError: no such file.
        CheckpointError: not a readable checkpoint.
    """
    if '://' in str(path):
        return {}
    if locate(path).suffix == '.safetensors':
        told = read_safetensors(locate(path))[1].get('mmvitlin', '{}')
        try:
            meta = json.loads(told)
        except json.JSONDecodeError as error:
            raise CheckpointError(f'{path}: its metadata is damaged ({error}); copy or download it '
                                  'again') from error
        return meta if isinstance(meta, dict) else {}
    content = _read_file(locate(path))
    meta = content.get('meta') if isinstance(content, dict) else None
    return meta if isinstance(meta, dict) else {}


def read_description(path: str | Path) -> dict:
    """What a file says of its backbone beside the weights, or an empty dict."""
    return read_meta(path).get('backbone') or {}


def read_state_dict(path: str | Path, prefix: str | None = None) -> dict[str, Tensor]:
    """Tensors of a checkpoint file, keys without wrapper and prefix.

    Args:
        path: A ``.safetensors`` or torch file, or a URL of the latter. Unpickles tensors and
            plain containers only.
        prefix: Keep the keys that start so and cut it off, with the dot behind it; None cuts
            'module.' and 'backbone.' where present.

    Raises:
        FileNotFoundError: no such file.
        CheckpointError: not a readable checkpoint, or no key starts with the prefix.
    """
    if '://' in str(path):
        state = CheckpointLoader.load_checkpoint(str(path), map_location='cpu')
    else:
        state = _read_file(locate(path))
    there = [w for w in _WRAPPERS if isinstance(state, dict) and isinstance(state.get(w), dict)]
    if there:
        state = state[there[0]]
        if len(there) > 1:
            print_log(f"{path} holds {' and '.join(there)}; {there[0]} is taken", 'current')
    if not isinstance(state, dict):
        raise CheckpointError(f'{path} holds a {type(state).__name__}, not a state dict')
    state = {k: v for k, v in state.items() if isinstance(v, Tensor)}
    if not state:
        raise CheckpointError(f'{path} holds no tensors under its top level or {_WRAPPERS}')
    if prefix is not None:
        prefix += '.' * (prefix != '' and not prefix.endswith('.'))
        kept = {k[len(prefix):]: v for k, v in state.items() if k.startswith(prefix)}
        if not kept:
            raise CheckpointError(f"no key of {path} starts with '{prefix}'; it has e.g. "
                                  f'{sorted(state)[:4]}')
        return kept
    for cut in _PREFIXES:
        if any(k.startswith(cut) for k in state):
            state = {k[len(cut):] if k.startswith(cut) else k: v for k, v in state.items()}
    return state


def _read_file(path: Path) -> dict:
    if not path.is_file():
        raise FileNotFoundError(f'no checkpoint at {path}')
    if path.suffix == '.safetensors':
        return read_safetensors(path)[0]
    return safe_torch_load(path)


def load_backbone(model: nn.Module,
                  path: str | Path,
                  prefix: str | None = None,
                  transform: Callable[[dict], dict] | None = None) -> LoadReport:
    """Load a backbone's weights from a file.

    Heads, necks and the mask token in the file are ignored; everything else must fit.

    Args:
        model: The backbone.
        path: See :func:`read_state_dict`.
        prefix: See :func:`read_state_dict`.
        transform: Converts the state dict first.

    Returns:
        What matched and what did not.

    Raises:
        CheckpointError: keys are missing or of another shape, or the file has more blocks than
            the model; all listed with the file.
    """
    state = read_state_dict(path, prefix)
    if hasattr(model, 'heed'):
        model.heed(read_description(path), str(path))
    shapes = {k: v.shape for k, v in state.items()}
    if transform is not None:
        try:
            state = transform(state)
        except CheckpointError:
            raise
        except Exception as error:  # of timm, which goes by shapes
            raise CheckpointError(
                f'{path} does not fit {type(model).__name__}: {in_words(error)}. Take the '
                'model_name and model_kwargs (patch_size, reg_tokens) of the file') from error
    return fit_state_dict(model, state, str(path), shapes)


def fit_state_dict(model: nn.Module, state: dict[str, Tensor], source: str,
                   shapes: dict[str, torch.Size] | None = None) -> LoadReport:
    """Load a state dict, with :func:`load_backbone`'s rules.

    Args:
        model: The backbone.
        state: Its parameters by name, without prefix.
        source: Where they come from, for messages.
        shapes: Shapes as they were in the file, to tell what was resized since.
    """
    own = model.state_dict()
    state = {k: v for k, v in state.items()
             if k in own or not k.removeprefix('vit.').startswith(_NOT_BACKBONE)}
    if 'mask_token' in own:  # optional in both directions
        state.setdefault('mask_token', own['mask_token'])
    fitted = dict(state)
    for hook in model._load_state_dict_pre_hooks.values():
        hook(fitted, '', {}, True, [], [], [])
    report = LoadReport(
        missing=[k for k in own if k not in fitted],
        unexpected=[k for k in fitted if k not in own],
        mismatched=[
            f'{k}: {tuple(fitted[k].shape)} in the file, {tuple(own[k].shape)} in the model'
            for k in own if k in fitted and fitted[k].shape != own[k].shape
        ])
    bad = {line.split(':')[0] for line in report.mismatched}
    report.matched = [k for k in own if k in fitted and k not in bad]
    sizes = {shape.numel() for shape in (shapes or {}).values()}
    for key in report.matched:
        if sizes and 'pos_embed' in key and own[key].numel() not in sizes:
            report.resized.append(key)  # whatever it is called there
            continue
        before = (shapes or {}).get(key, (shapes or {}).get(key.removeprefix('vit.')))
        if before is not None and before != own[key].shape:
            report.resized.append(key)
    surplus = [k for k in report.unexpected if re.search(r'(layers|blocks)\.\d+\.', k)]
    if report.missing or report.mismatched or surplus:
        raise CheckpointError(
            f'{source} does not fit {type(model).__name__}: {report}. Check the arch, '
            'patch_size and img_size of the config against those of the checkpoint, or the '
            'prefix of its keys.')
    model.load_state_dict(fitted, strict=False)
    print_log(f'{type(model).__name__} from {source}: {report}', logger='current')
    return report
