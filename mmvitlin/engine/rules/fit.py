"""Checkpoints compared with the networks that they are loaded into."""
from __future__ import annotations

from collections.abc import Mapping

import torch
from mmengine.model import BaseTTAModel, is_model_wrapper

from mmvitlin.engine.rules.context import warn
from mmvitlin.models.utils.checkpoint import (
    CheckpointFile,
    as_loaded,
    read_checkpoint,
    with_description,
)
from mmvitlin.models.utils.misnamed import refuse_whole_numbers, without_a_part
from mmvitlin.utils.errors import CheckpointError


def check_start(model: torch.nn.Module, checkpoint: str) -> None:
    """Refuse to start from a checkpoint of another backbone; heads may differ.

    Positions learned on another grid are interpolated while they are loaded, where the backbone
    does so; it gets here what the file says of its own.

    Raises:
        CheckpointError: parameters of the backbone are missing, are of another shape, or are left
            over; or nothing fits a network without a backbone.
    """
    if '://' not in checkpoint:  # a URL is compared when it has been fetched
        file = _whole_file(checkpoint)
        compare_start(model, file.state, file.description, checkpoint)


def _whole_file(checkpoint: str) -> CheckpointFile:
    """A checkpoint of a whole model, of which a Runner loads what is under state_dict.

    Raises:
        CheckpointError: it has averaged weights beside those, or NaN in its weights.
    """
    file = read_checkpoint(checkpoint)
    if 'state_dict' in file.sets[1:]:
        taken = file.sets[0]
        raise CheckpointError(
            f"{checkpoint} has weights under '{taken}' and under 'state_dict', and does not say "
            "which are meant; save them alone, as torch.save(dict(state_dict=torch.load("
            f"'{checkpoint}')['{taken}']), 'averaged.pth')")
    for key, value in file.state.items():
        if value.is_floating_point() and torch.isnan(value).any():
            raise CheckpointError(f'{checkpoint}: {key} has NaN in the place of numbers; its '
                                  'training went wrong before it was written. Give an earlier one')
    return file


def compare_start(model: torch.nn.Module, state: Mapping[str, torch.Tensor], described: dict,
                  checkpoint: str) -> None:
    """See :func:`check_start`, which reads a file for it.

    Args:
        model: That is to be trained on.
        state: Of the checkpoint.
        described: What it says of its backbone, see
            :class:`mmvitlin.models.utils.checkpoint.CheckpointFile`.
        checkpoint: Its file or URL, for messages.

    Raises:
        CheckpointError: see :func:`check_start`.
    """
    while is_model_wrapper(model):
        model = model.module
    state = {k.removeprefix('module.'): v for k, v in state.items()}
    if not hasattr(model, 'backbone'):
        _check_any(model, state, checkpoint)
        return
    if hasattr(model.backbone, 'check_description'):
        model.backbone.check_description(described, checkpoint)
    misfits = misfits_of_backbone(*_shapes(model, with_description(state, described, 'backbone')))
    if misfits:
        raise CheckpointError(f'load_from: {checkpoint} is of another backbone: {misfits}. Give '
                              'the config the arch, patch_size and img_size of the checkpoint, or '
                              'start only a backbone by model.backbone.init_cfg.'
                              f'{without_a_part(model.state_dict(), state)}')
    refuse_whole_numbers(model.state_dict(), state, f'load_from: {checkpoint}')


def compare_resumed(model: torch.nn.Module, state: Mapping[str, torch.Tensor],
                    checkpoint: str) -> None:
    """Refuse to resume from a checkpoint that does not fill the network.

    Raises:
        CheckpointError: parameters are missing or of another shape.
    """
    while is_model_wrapper(model):
        model = model.module
    saved, current = _shapes(model, {k.removeprefix('module.'): v for k, v in state.items()})
    missing = sorted(current.keys() - saved.keys())
    wrong = sorted(k for k in current.keys() & saved.keys() if current[k] != saved[k])
    if missing or wrong:
        raise CheckpointError(
            f'--resume: {checkpoint} is of another network than this config: {len(missing)} keys '
            f'are missing ({missing[:3]}), {len(wrong)} have another shape ({wrong[:3]}); give the '
            'config of its run, or start a new run with --cfg-options load_from='
            f'{checkpoint}')


def _shapes(model: torch.nn.Module, state: dict[str, torch.Tensor]
            ) -> tuple[dict[str, torch.Size], dict[str, torch.Size]]:
    """Shapes of a checkpoint, as modules see it when they load it, and of the model."""
    own = {k: v.shape for k, v in model.state_dict().items()}
    return {k: v.shape for k, v in as_loaded(model, state).items()}, own


def _check_any(model: torch.nn.Module, state: Mapping[str, torch.Tensor], checkpoint: str) -> None:
    own = {k: v.shape for k, v in model.state_dict().items()}
    if not any(own.get(k) == v.shape for k, v in state.items()):
        raise CheckpointError(f'load_from: nothing of {checkpoint} fits this {type(model).__name__}'
                              f': it has {sorted(state)[:2]} …, the network {sorted(own)[:2]} …; '
                              f'give a checkpoint of the same network.{without_a_part(own, state)}')


def misfits_of_backbone(file_shapes: dict[str, torch.Size],
                        model_shapes: dict[str, torch.Size]) -> str:
    """What of a backbone does not fit, as text; by shapes of whole models."""
    def of_backbone(shapes: dict[str, torch.Size]) -> set[str]:
        return {k for k in shapes if k.startswith('backbone.') and not k.endswith('.mask_token')}

    own, in_file = of_backbone(model_shapes), of_backbone(file_shapes)
    wrong = {f'{k}: {tuple(file_shapes[k])} in the file, {tuple(model_shapes[k])} in the model'
             for k in own & in_file if file_shapes[k] != model_shapes[k]}
    words = [f"{len(keys)} {what} ({'; '.join(sorted(keys)[:3])})" for what, keys in (
        ('keys are not in the file', own - in_file), ('keys have no place in it', in_file - own),
        ('have another shape', wrong)) if keys]
    return ', '.join(words)


def _same_weights(here: list[str], there: list[str]) -> bool:
    """Whether layers differ only in focal against softmax attention."""
    return len(here) == len(there) and all(
        a == b or {a, b} == {'focal', 'softmax'} for a, b in zip(here, there, strict=True))


def in_words(value: object) -> str:
    """A value of a description; a list of equal values once."""
    if isinstance(value, (list, tuple)) and value and all(v == value[0] for v in value) \
            and isinstance(value[0], str):
        return value[0]
    return str(value)


def check_whole(model: torch.nn.Module, checkpoint: str) -> dict[str, torch.Tensor]:
    """Read a checkpoint and refuse to evaluate a model that the checkpoint does not fill.

    Focal attention in the place of softmax, which has the same weights, is only said.

    Raises:
        CheckpointError: parameters are missing, of another shape, or of the backbone and left
            over, or the file says that its backbone computed something else with them (softmax for
            linear attention, say).
    """
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    file = _whole_file(checkpoint)
    description = getattr(getattr(model, 'backbone', None), 'describe', dict)()
    if not any(k.endswith('pos_embed') for k in model.state_dict()):
        description.pop('grid', None)  # rotary positions fit any
    differing = {}
    for key, actual in description.items():
        in_file = file.description.get(key, actual)
        if isinstance(actual, dict) and isinstance(in_file, dict):  # what both of them know
            actual, in_file = ({k: d[k] for k in sorted(actual.keys() & in_file.keys())}
                               for d in (actual, in_file))
        if key == 'attention' and actual != in_file and _same_weights(actual, in_file):
            warn(f'{checkpoint} was trained with {in_words(in_file)} attention and is run with '
                 f'{in_words(actual)}, which has the same weights and computes something else')
        elif actual != in_file:
            differing[key] = actual, in_file
    if differing:
        raise CheckpointError(f'{checkpoint} is of another backbone than this config: ' + '; '.join(
            f'{key} is {in_words(actual)} here and {in_words(in_file)} there'
            for key, (actual, in_file) in differing.items()) + '. Give the config that it was '
            'trained with; another network starts from it by load_from, in a training')
    own, state = model.state_dict(), file.state_dict(prefix='')
    missing = [k for k in own if k not in state]
    wrong = [k for k in own if k in state and state[k].shape != own[k].shape]
    surplus = [k for k in state if k.startswith('backbone.') and k not in own
               and not k.endswith('.mask_token')]
    if missing or wrong or surplus:
        raise CheckpointError(
            f"{checkpoint} is no checkpoint of this config's model: {len(missing)} keys are "
            f'missing ({missing[:3]}), {len(wrong)} have another shape ({wrong[:3]}), '
            f'{len(surplus)} of its backbone have no place in it ({surplus[:3]}). '
            'A student.pth holds only the backbone; give the checkpoint that training with this '
            f'config wrote.{without_a_part(own, state)}')
    refuse_whole_numbers(own, state, checkpoint)
    return state
