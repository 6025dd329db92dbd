"""The student alone, in a file."""
from __future__ import annotations

import io
from pathlib import Path

import torch
from mmengine.hooks import EMAHook, Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

import mmvitlin
from mmvitlin.engine.checkpoints import write_whole
from mmvitlin.registry import HOOKS


@HOOKS.register_module()
class StudentCheckpointHook(Hook):
    """Write ``student.pth`` with the keys ``backbone.*`` and nothing else.

    Written with every checkpoint and at the end of training. Where an ``EMAHook`` runs,
    the averaged student is written. The mask token, of use to distillation only, stays out.
    Load it with ``init_cfg=dict(type='Pretrained', checkpoint=…, prefix='backbone.')``.

    Args:
        filename: Name of the file in the work directory.
    """
    priority = 'LOWEST'

    def __init__(self, filename: str = 'student.pth'):
        self.filename = filename

    @staticmethod
    def student_state(runner: Runner) -> dict[str, torch.Tensor]:
        """``backbone.*`` of the averaged model where there is one, else of the model."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        for hook in runner.hooks:
            if isinstance(hook, EMAHook):
                model = hook.ema_model.module
                model = model.module if is_model_wrapper(model) else model
        return {
            f'backbone.{k}': v.detach().cpu()
            for k, v in model.backbone.state_dict().items() if k != 'mask_token'
        }

    def _write(self, runner: Runner, finished: bool = False) -> None:
        if runner.rank != 0:
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        describe = getattr(model.backbone, 'describe', dict)
        path = Path(runner.work_dir) / self.filename
        content = io.BytesIO()
        torch.save(
            dict(meta=dict(mmvitlin_version=mmvitlin.__version__, iter=runner.iter,
                           experiment_name=runner.experiment_name, backbone=describe(),
                           finished=finished, normalisation=_normalisation(model)),
                 state_dict=self.student_state(runner)), content)
        write_whole(content.getvalue(), path)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Beside every full checkpoint."""
        self._write(runner)

    def after_train(self, runner: Runner) -> None:
        """At the end."""
        self._write(runner, finished=True)
        runner.logger.info(f'student written to {Path(runner.work_dir) / self.filename}')


def _normalisation(model: torch.nn.Module) -> dict[str, list[float]]:
    """Mean and deviation of the channels that the images are normalised with, 0–255, RGB."""
    found = {k: getattr(model.data_preprocessor, k, None) for k in ('mean', 'std')}
    return {k: [round(float(v), 4) for v in t.flatten()] for k, t in found.items()
            if isinstance(t, torch.Tensor)}
