"""Logs the initial weights of a run, and checks that a checkpoint which is named is used."""
from __future__ import annotations

import torch.nn as nn
from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import Runner

from mmvitlin.engine.rules.context import checkpoints_of, dicts_below
from mmvitlin.engine.rules.fit import compare_resumed, compare_start
from mmvitlin.models.utils.checkpoint import unwrapped_state, with_description
from mmvitlin.models.utils.initialised import refuse_unused
from mmvitlin.registry import HOOKS


def _plain(model: nn.Module) -> nn.Module:
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model


@HOOKS.register_module()
class InitialWeightsHook(Hook):
    """Log which weights a run starts from, and refuse checkpoints that match no parameter.

    mmengine loads the keys of a checkpoint that fit, and continues where none does. The checkpoint
    of ``load_from``, a URL among them, is compared with the network when it has been read, as
    :func:`mmvitlin.engine.rules.fit.check_start` does with local files; that of a resumed run must
    fill the network.

    Raises:
        CheckpointError: it does not fit; names the file and what differs.
    """
    priority = 'VERY_HIGH'

    def __init__(self):
        self.loaded: tuple[int, int] | None = None
        self.initialised: list[tuple[str, str, int]] = []

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare the checkpoint with the network before it is loaded."""
        path = str(runner._load_from)
        if 'state_dict' not in checkpoint:  # mmengine knows no other key
            state = dict(unwrapped_state(checkpoint))
            checkpoint.clear()
            checkpoint['state_dict'] = state
        model, state = _plain(runner.model), checkpoint['state_dict']
        if runner._resume:
            compare_resumed(model, state, path)
        else:
            description = (checkpoint.get('meta') or {}).get('backbone') or {}
            compare_start(model, state, description, path)
            checkpoint['state_dict'] = with_description(state, description, 'backbone')
        own = model.state_dict()
        fitting = ((k.removeprefix('module.'), v) for k, v in state.items())
        self.loaded = sum(k in own and own[k].shape == getattr(v, 'shape', None)
                          for k, v in fitting), len(own)

    def before_train(self, runner: Runner) -> None:
        """Say it; what ``init_cfg`` names is looked for unless ``load_from`` was loaded over it."""
        if self.loaded is None:
            self.initialised = refuse_unused(_plain(runner.model))
        runner.logger.info(f'weights at the start: {self._words(runner)}')

    def _words(self, runner: Runner) -> str:
        if self.loaded is not None:
            what = 'resumed from' if runner._resume else 'load_from'
            return f'{what} {runner._load_from} ({self.loaded[0]} of {self.loaded[1]} tensors)'
        sources = [f'{key} from {path} ({count} tensors)' for key, path, count in self.initialised]
        if getattr(_plain(runner.model), 'inherited', False):
            sources.insert(0, "model.backbone inherited from the teacher's")
        model = runner.cfg.get('model') or {}
        named = {path for _, path, _ in self.initialised}
        sources += [f'{key}={path}' for key, path in checkpoints_of(model, 'model')
                    if path not in named]
        sources += [f'{key}.pretrained=True' for key, part in dicts_below(model, 'model')
                    if part.get('pretrained') is True]
        return '; '.join(sources) + '; all else random' if sources else 'random'
