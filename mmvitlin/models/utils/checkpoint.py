"""Loads weights from files into backbones; nothing is silently left out."""
from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn as nn
from mmengine.logging import print_log
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor

from mmvitlin.compat.mmengine import read_tensors_only
from mmvitlin.models.utils.misnamed import refuse_whole_numbers, without_a_part
from mmvitlin.models.utils.onnx_weights import read_onnx
from mmvitlin.utils.errors import CheckpointError, in_words
from mmvitlin.utils.paths import locate, why_absent
from mmvitlin.utils.weights import read_safetensors, safe_torch_load

_WRAPPERS = ('state_dict_ema', 'model_ema', 'state_dict', 'model', 'teacher', 'student')  # first
_PREFIXES = ('module.', 'backbone.')
_NOT_BACKBONE = ('head.', 'mask_token', 'neck.', 'norm_neck.', 'decode_head.', 'auxiliary_head.',
                 'projector.', 'data_preprocessor.', 'objectives.', 'fc_norm.', 'attn_pool.')
_SHOWN = 8


@dataclass
class LoadReport:
    """The keys of a checkpoint by what happened to them.

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


@dataclass(frozen=True)
class CheckpointFile:
    """The content of a checkpoint file.

    Attributes:
        path: The file or URL.
        state: Its tensors, by the names they have there.
        meta: Its metadata; empty for files that are not of this toolkit.
        sets: Keys under which the file has weights, the one that was taken first; none where they
            are at its top.
    """
    path: str
    state: dict[str, Tensor]
    meta: dict
    sets: tuple[str, ...] = ()

    @property
    def description(self) -> dict:
        """Description of its backbone, or an empty dict."""
        return self.meta.get('backbone') or {}

    def state_dict(self, prefix: str | None = None) -> dict[str, Tensor]:
        """Its tensors without a prefix of their names.

        Args:
            prefix: Keep the keys that start so and cut it off, with the dot behind it; None cuts
                'module.' and 'backbone.' where present.

        Raises:
            CheckpointError: no key starts with the prefix.
        """
        if prefix is not None:
            prefix += '.' * (prefix != '' and not prefix.endswith('.'))
            kept = {k[len(prefix):]: v for k, v in self.state.items() if k.startswith(prefix)}
            if not kept:
                raise CheckpointError(f"no key of {self.path} starts with '{prefix}'; it has e.g. "
                                      f'{sorted(self.state)[:4]}')
            return kept
        state = dict(self.state)
        for cut in _PREFIXES:
            if any(k.startswith(cut) for k in state):
                state = {k[len(cut):] if k.startswith(cut) else k: v for k, v in state.items()}
        return state


def read_checkpoint(path: str | Path) -> CheckpointFile:
    """Read a checkpoint file.

    Args:
        path: A ``.safetensors``, ``.onnx`` or torch file, or a URL of the last. Unpickles tensors
            and plain containers only.

    Raises:
        FileNotFoundError: no such file.
        CheckpointError: not a readable checkpoint.
    """
    content, meta = _read(path)
    state = unwrapped_state(content, str(path))
    if not isinstance(state, dict):
        raise CheckpointError(f'{path} holds a {type(state).__name__}, not a state dict')
    state = {k: v for k, v in state.items() if isinstance(v, Tensor)}
    if not state:
        raise CheckpointError(f'{path} holds no tensors at its top or under {_WRAPPERS}; it has '
                              f'{sorted(map(str, content))[:_SHOWN]}. Save its state dict alone')
    return CheckpointFile(str(path), state, meta, tuple(_sets(content)))


def read_meta(path: str | Path) -> dict:
    """Metadata of a file of this toolkit; empty for other files and for URLs.

    Raises:
        FileNotFoundError: no such file.
        CheckpointError: not a readable checkpoint.
    """
    if '://' in str(path) or locate(path).suffix == '.onnx':
        return {}
    return _read(path)[1]


def read_state_dict(path: str | Path, prefix: str | None = None) -> dict[str, Tensor]:
    """Tensors of a checkpoint file, keys without wrapper and prefix; see :func:`read_checkpoint`
    and :meth:`CheckpointFile.state_dict`."""
    return read_checkpoint(path).state_dict(prefix)


def with_description(state: Mapping[str, Tensor], description: Mapping, prefix: str = ''
                     ) -> OrderedDict[str, Tensor]:
    """A state dict that carries the description of its network, in torch's own metadata.

    Modules get that when they load it, as they get their version: a backbone finds there the grid
    on which positions were learned.

    Args:
        state: Of a network, or of a model that it is a part of.
        description: See :attr:`CheckpointFile.description`.
        prefix: Of the network in the model, such as 'backbone'.
    """
    described = OrderedDict(state)
    metadata = dict(getattr(state, '_metadata', None) or {})
    metadata[prefix] = dict(metadata.get(prefix) or {}, description=dict(description))
    described._metadata = metadata
    return described


def description_in(state: Mapping[str, Tensor]) -> dict:
    """The description that :func:`with_description` put into a state dict, or an empty dict."""
    return (getattr(state, '_metadata', None) or {}).get('', {}).get('description') or {}


def as_loaded(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict as the model's modules make it before they load it: positions resized, say."""
    metadata = getattr(state, '_metadata', None) or {}
    fitted = dict(state)
    for name, module in model.named_modules():
        for hook in module._load_state_dict_pre_hooks.values():
            hook(fitted, f'{name}.' if name else '', metadata.get(name, {}), False, [], [], [])
    return fitted


def _sets(content) -> list[str]:
    """Keys of a file's content that hold weights, the one to take first."""
    return [w for w in _WRAPPERS if isinstance(content, dict) and isinstance(content.get(w), dict)]


def unwrapped_state(content, name: str = 'the checkpoint'):
    """The state dict in a file's content, the first where there are several, or the content itself.

    Args:
        content: Of the file.
        name: Of it, for the log.
    """
    keys = _sets(content)
    if len(keys) > 1:
        print_log(f"{name} holds {' and '.join(keys)}; {keys[0]} is taken", 'current')
    return content[keys[0]] if keys else content


def _read(path: str | Path) -> tuple[dict, dict]:
    """Content and meta of a file or URL."""
    if '://' in str(path):
        read_tensors_only()
        content = CheckpointLoader.load_checkpoint(str(path), map_location='cpu')
    else:
        file = locate(path)
        if not file.is_file() or file.name == 'last_checkpoint':
            raise FileNotFoundError(why_absent(file))
        if file.suffix == '.safetensors':
            tensors, metadata = read_safetensors(file)
            return tensors, _meta_of_text(metadata.get('mmvitlin', '{}'), path)
        if file.suffix == '.onnx':
            return read_onnx(file), {}
        content = safe_torch_load(file)
    meta = content.get('meta') if isinstance(content, dict) else None
    return content, meta if isinstance(meta, dict) else {}


def _meta_of_text(text: str, path: str | Path) -> dict:
    try:
        meta = json.loads(text)
    except json.JSONDecodeError as error:
        raise CheckpointError(f'{path}: its metadata is damaged ({error}); copy or download it '
                              'again') from error
    return meta if isinstance(meta, dict) else {}


def load_backbone(model: nn.Module,
                  path: str | Path | CheckpointFile,
                  prefix: str | None = None,
                  transform: Callable[[dict], dict] | None = None) -> LoadReport:
    """Load a backbone's weights from a file.

    Heads, necks and the mask token in the file are ignored; everything else must fit.

    Args:
        model: The backbone.
        path: See :func:`read_checkpoint`; or what was read of it.
        prefix: See :meth:`CheckpointFile.state_dict`.
        transform: Converts the state dict first, which comes :func:`with_description`.

    Returns:
        What matched and what did not.

    Raises:
        CheckpointError: keys are missing or of another shape, or the file has more blocks than
            the model; all listed with the file.
    """
    file = path if isinstance(path, CheckpointFile) else read_checkpoint(path)
    path, state = file.path, with_description(file.state_dict(prefix), file.description)
    if hasattr(model, 'check_description'):
        model.check_description(file.description, path)
    shapes = {k: v.shape for k, v in state.items()}
    if transform is not None:
        try:
            state = with_description(transform(state), file.description)
        except CheckpointError:
            raise
        except Exception as error:  # of timm, which goes by shapes
            raise CheckpointError(
                f'{path} does not fit {type(model).__name__}: {in_words(error)}. Take the '
                'model_name and model_kwargs (patch_size, reg_tokens) of the file') from error
    return fit_state_dict(model, state, path, shapes)


def fit_state_dict(model: nn.Module, state: dict[str, Tensor], source: str,
                   shapes: dict[str, torch.Size] | None = None) -> LoadReport:
    """Load a state dict, with :func:`load_backbone`'s rules.

    Args:
        model: The backbone.
        state: Its parameters by name, without prefix; perhaps :func:`with_description`.
        source: Where they come from, for messages.
        shapes: Shapes in the file, to report what was resized.
    """
    own, description = model.state_dict(), description_in(state)
    state = {k: v for k, v in state.items()
             if k in own or not k.removeprefix('vit.').startswith(_NOT_BACKBONE)}
    if 'mask_token' in own:  # optional in both directions
        state.setdefault('mask_token', own['mask_token'])
    fitted = as_loaded(model, with_description(state, description))
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
    refuse_whole_numbers(own, fitted, source)
    if report.missing or report.mismatched or surplus:
        raise CheckpointError(
            f'{source} does not fit {type(model).__name__}: {report}. Check the arch, '
            'patch_size and img_size of the config against those of the checkpoint, or the '
            f'prefix of its keys.{without_a_part(own, fitted)}')
    # as_loaded has converted it to the network's description
    describe = getattr(model, 'describe', dict)
    model.load_state_dict(with_description(fitted, describe()), strict=False)
    print_log(f'{type(model).__name__} from {source}: {report}', logger='current')
    return report
