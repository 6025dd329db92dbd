"""A file with only the student."""
from __future__ import annotations

import io
from pathlib import Path

import torch
from mmengine.hooks import EMAHook, Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

import mmvitlin
from mmvitlin.registry import HOOKS
from mmvitlin.utils.errors import CheckpointError
from mmvitlin.utils.files import write_whole
from mmvitlin.utils.normalisation import Normalisation


@HOOKS.register_module()
class StudentCheckpointHook(Hook):
    """Write ``student.pth`` with the keys ``backbone.*`` and nothing else.

    Written with every checkpoint and at the end of training. Where an ``EMAHook`` runs,
    the averaged student is written. The mask token, which only distillation uses, is left out.
    Load it with ``init_cfg=dict(type='Pretrained', checkpoint=…, prefix='backbone.')``.

    Args:
        filename: Name of the file in the work directory.
    """
    priority = 'LOWEST'

    def __init__(self, filename: str = 'student.pth'):
        self.filename = filename
        self._saved: tuple[int | None, dict] = None, {}

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Beside every full checkpoint, out of its weights: whole in every mode of training, on
        the first process."""
        self._saved = runner.iter, {}
        if runner.rank != 0:
            return
        whole = {k.removeprefix('module.'): v for k, v in checkpoint['state_dict'].items()}
        state = {k: v.detach().cpu() for k, v in whole.items()
                 if k.startswith('backbone.') and k != 'backbone.mask_token'}
        if not state:
            raise CheckpointError(f'no student can be written: the weights {list(whole)[:3]} … '
                                  'have no backbone among them')
        self._saved = runner.iter, state
        self._write(runner, state)

    def after_train(self, runner: Runner) -> None:
        """At the end."""
        saved_at, state = self._saved
        self._saved = None, {}
        if saved_at not in (runner.iter, runner.iter - 1):  # a step is counted after its hooks
            checkpoint = dict(state_dict=_whole_state(runner))
            for hook in runner.hooks:
                if isinstance(hook, EMAHook):
                    hook.before_save_checkpoint(runner, checkpoint)
            self.before_save_checkpoint(runner, checkpoint)
            state = self._saved[1]
        self._write(runner, state, finished=True)
        runner.logger.info(f'student written to {Path(runner.work_dir) / self.filename}')

    def _write(self, runner: Runner, state: dict[str, torch.Tensor], finished: bool = False
               ) -> None:
        if runner.rank != 0:
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        describe = getattr(model.backbone, 'describe', dict)
        normalisation = Normalisation.of_preprocessor(getattr(model, 'data_preprocessor', None))
        path = Path(runner.work_dir) / self.filename
        content = io.BytesIO()
        torch.save(
            dict(meta=dict(mmvitlin_version=mmvitlin.__version__, iter=runner.iter,
                           experiment_name=runner.experiment_name, backbone=describe(),
                           finished=finished,
                           normalisation=normalisation.to_meta() if normalisation else {}),
                 state_dict=state), content)
        write_whole(content.getvalue(), path)


def _whole_state(runner: Runner) -> dict[str, torch.Tensor]:
    """All weights, on the first process; where they are sharded all processes must call it
    together."""
    if hasattr(runner, 'strategy'):
        return runner.strategy.model_state_dict()
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    return model.state_dict()
