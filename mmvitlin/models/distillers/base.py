"""What every distiller shares."""
from __future__ import annotations

import torch.nn as nn
from mmengine.model import BaseModel
from torch import Tensor

from mmvitlin.models.backbones.base import TokenBackbone, Tokens
from mmvitlin.models.distillers.frozen_teacher import FrozenTeacher
from mmvitlin.models.layers import pad_to_patches
from mmvitlin.registry import MODELS


class Distiller(BaseModel):
    """Trains ``self.backbone`` against ``self.teacher`` by named objectives.

    Args:
        backbone: Config of the student, a :class:`TokenBackbone`.
        teacher: Config of the :class:`FrozenTeacher` (its type may be left out).
        objectives: Name → loss config. An entry of None is dropped, so that a child config
            writes ``objectives=dict(mask=None)``.
        projector: Whether a linear layer maps the student's width to the teacher's for
            objectives that compare features: True, False, or 'auto' (if widths differ).
        data_preprocessor: Config of any OpenMMLab data preprocessor.
        init_cfg: See mmengine.

    Raises:
        TypeError: the student gives no tokens.
        ValueError: no objective is left, or widths differ and ``projector=False``.
    """

    def __init__(self,
                 backbone: dict,
                 teacher: dict,
                 objectives: dict[str, dict | None],
                 projector: bool | str = 'auto',
                 data_preprocessor: dict | None = None,
                 init_cfg: dict | None = None):
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = MODELS.build(backbone)
        if not isinstance(self.backbone, TokenBackbone):
            raise TypeError(f'{type(self.backbone).__name__} has no forward_tokens; the student '
                            'must be a mmvitlin TokenBackbone such as mmvitlin.Adventurer')
        self.teacher = FrozenTeacher(**{k: v for k, v in teacher.items() if k != 'type'})
        self.objectives = nn.ModuleDict(
            {name: _build_objective(name, cfg) for name, cfg in objectives.items() if cfg})
        if not self.objectives:
            raise ValueError('objectives: every entry is None or the dict is empty; keep one')
        self.projector = self._make_projector(projector)

    def _make_projector(self, wish: bool | str) -> nn.Module:
        student, teacher = self.backbone.embed_dims, self.teacher.embed_dims
        needed = any(loss.needs_width for loss in self.objectives.values())
        if wish == 'auto':
            wish = needed and student != teacher
        if needed and student != teacher and not wish:
            raise ValueError(
                f'the student is {student} wide, the teacher {teacher}, and projector=False: '
                "the objectives compare features; set projector='auto'")
        return nn.Linear(student, teacher) if wish else nn.Identity()

    def student_layers(self) -> dict[str, tuple[int, ...]]:
        """For each objective the student's layers it reads."""
        return {n: loss.layers(self.backbone.num_layers) for n, loss in self.objectives.items()}

    def teacher_layers(self) -> dict[str, tuple[int, ...]]:
        """For each objective the teacher's layers it reads."""
        return {n: loss.layers(self.teacher.num_layers) for n, loss in self.objectives.items()}

    def teacher_tokens(self, images: Tensor, layers, grid) -> list[Tokens]:
        """Teacher tokens of normalised images on the student's grid."""
        side = self.backbone.patch_size
        return self.teacher.forward_tokens(
            pad_to_patches(images, (side, side)), layers, grid,
            getattr(self.data_preprocessor, 'mean', None),
            getattr(self.data_preprocessor, 'std', None))

    def distill(self, images: Tensor) -> dict[str, Tensor]:
        """Losses of a batch (B, 3, H, W), by objective."""
        raise NotImplementedError

    def forward(self, inputs: Tensor, data_samples: list | None = None, mode: str = 'tensor'):
        """mmengine's three modes; labels are not used.

        Args:
            inputs: (B, 3, H, W), normalised.
            data_samples: Ignored, or given back with 'predict'.
            mode: 'loss' for the objectives, 'tensor' for the student's features, 'predict'
                for ``data_samples`` (or None), so that a validation loop passes.
        """
        if mode == 'loss':
            return {f'loss_{k}': v for k, v in self.distill(inputs).items()}
        if mode == 'tensor':
            return self.backbone(inputs)
        raise RuntimeError(f"a distiller has no mode '{mode}'; it gives 'loss' and 'tensor'")

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """The student's groups; heads are with its last."""
        return self.backbone.get_layer_depth(param_name, f'{prefix}backbone.')


def _build_objective(name: str, cfg: dict) -> nn.Module:
    try:
        return MODELS.build(cfg)
    except KeyError as error:
        raise KeyError(f"objectives.{name}: no loss of type '{cfg.get('type')}' is registered; "
                       "write it with its scope, as 'mmvitlin.ActivationMatchingLoss'") from error
