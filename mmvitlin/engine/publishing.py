"""Publication of weights: a file of only the weights, and a model card."""
from __future__ import annotations

import hashlib
import io
from pathlib import Path

import torch

from mmvitlin.engine.model_card import check_licence, model_card
from mmvitlin.utils.errors import CheckpointError
from mmvitlin.utils.files import write_whole
from mmvitlin.utils.paths import locate
from mmvitlin.utils.weights import safe_torch_load

_KEPT = ('mmvitlin_version', 'backbone', 'normalisation', 'finished', 'dataset_meta', 'iter',
         'epoch')


def publish(checkpoint: str | Path, target: str | Path, licence: str | None = None) -> Path:
    """Write only a checkpoint's weights, ``<target>-<first eight digits of its SHA-256>.pth``, and
    a model card of that name, ``.md``.

    Where an ``EMAHook`` ran these are the averaged weights. Of the rest, the names of the classes,
    what the backbone is, how images were normalised and the number of iterations stay; the config,
    which may name a machine's folders, goes. The card is :func:`mmvitlin.engine.model_card
    .model_card`'s; an existing card is kept, as somebody may have completed it.

    Args:
        checkpoint: What training wrote.
        target: Name to write.
        licence: Of the weights, as Hugging Face abbreviates it ('apache-2.0'); None leaves it to be
            filled in.

    Returns:
        The file of weights.

    Raises:
        CheckpointError: not a checkpoint.
        ConfigError: the licence is no abbreviation.
    """
    check_licence(licence)
    source = locate(checkpoint)
    content = safe_torch_load(source)
    state = content.get('state_dict') if isinstance(content, dict) else None
    if state is None:
        raise CheckpointError(f'{checkpoint} holds no state_dict; it is no checkpoint of a run')
    meta = content.get('meta') or {}
    buffer = io.BytesIO()
    torch.save(dict(meta={k: v for k, v in meta.items() if k in _KEPT}, state_dict=state), buffer)
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    target = Path(target)
    path = target.with_name(f"{target.name.removesuffix('.pth')}-{digest[:8]}.pth")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(buffer.getvalue(), path)
    card = path.with_suffix('.md')
    if not card.exists():
        text = model_card(path, digest, source, meta, state, licence)
        write_whole(text.encode(), card)
    return path
