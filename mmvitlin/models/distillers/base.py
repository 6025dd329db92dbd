"""What every distiller shares."""
from __future__ import annotations

import torch
import torch.nn as nn
from mmengine.dist import get_rank, get_world_size
from mmengine.model import BaseModel
from torch import Tensor

from mmvitlin.models.backbones import TimmViT, TokenBackbone, Tokens
from mmvitlin.models.distillers.frozen_teacher import FrozenTeacher
from mmvitlin.models.layers import pad_to_patches
from mmvitlin.registry import MODELS


class Distiller(BaseModel):
    """Trains ``self.backbone`` against ``self.teacher`` by named objectives.

    Student and teacher see the same images, the student possibly masked ones, and each
    objective compares their tokens after the layers it names.

    Args:
        backbone: Config of the student, a :class:`TokenBackbone`.
        teacher: Config of the :class:`FrozenTeacher` (its type may be left out).
        objectives: Name → loss config. An entry of None is dropped, so that a child config
            writes ``objectives=dict(mask=None)``. Losses are called ``loss(student, teacher,
            mask)`` with the Tokens of the layers they name in ``layers(depth)``.
        inherit: Start the student, a :class:`mmvitlin.models.TimmViT`, from the teacher's
            own weights; an ``init_cfg`` of the backbone is loaded over them.
        projector: Whether a linear layer maps the student's width to the teacher's for
            objectives that compare features: True, False, or 'auto' (if widths differ).
        data_preprocessor: Config of any OpenMMLab data preprocessor.
        init_cfg: See mmengine.

    Raises:
        TypeError: the student gives no tokens, or is to inherit and is no TimmViT.
        ValueError: no objective is left, widths differ and ``projector=False``, or the student
            inherits and its images are normalised otherwise than the teacher's.
        CheckpointError: the student cannot inherit from a teacher of another shape.
    """

    def __init__(self,
                 backbone: dict,
                 teacher: dict,
                 objectives: dict[str, dict | None],
                 projector: bool | str = 'auto',
                 inherit: bool = False,
                 data_preprocessor: dict | None = None,
                 init_cfg: dict | None = None):
        super().__init__(data_preprocessor, init_cfg)
        self.step_seed: int | None = None  # set by StepSeedHook
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
        # both sides' layers are settled here, so a stage count that does not fit fails at once
        self._student_layers, self._teacher_layers = self.student_layers(), self.teacher_layers()
        if inherit:
            self._inherit(data_preprocessor or {})

    def _inherit(self, preprocessor: dict) -> None:
        student, teacher = self.backbone, self.teacher.network
        if not isinstance(student, TimmViT) or not isinstance(teacher, TimmViT):
            raise TypeError(
                f'a {type(student).__name__} cannot inherit the weights of a '
                f'{type(teacher).__name__}: both must be mmvitlin.TimmViT; set inherit=False')
        theirs = self.teacher.norm
        if theirs is not None and 'mean' in preprocessor and not all(
                torch.allclose(value, value.new_tensor(preprocessor[key]), atol=0.5)
                for key, value in zip(('mean', 'std'), theirs, strict=True)):
            mean, std = ([round(float(v), 3) for v in t] for t in theirs)
            raise ValueError('the student inherits weights that were trained with another '
                             f'normalisation: set data_preprocessor.mean={mean} and std={std}')
        student.inherit(teacher)

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

    def random_mask(self, batch: int, length: int, device) -> Tensor | None:
        """bool (batch, length), true where the student sees a mask token; None for none."""
        return None

    def uniform(self, batch: int, length: int, device) -> Tensor:
        """Random numbers (batch, length) in [0, 1).

        With a ``step_seed`` they are those that one process with the whole global batch would
        draw for these samples, which the samplers deal out in turn.
        """
        if self.step_seed is None:
            return torch.rand(batch, length, device=device)
        world = get_world_size()
        draw = torch.Generator(device).manual_seed(self.step_seed)
        return torch.rand(batch * world, length, generator=draw, device=device)[get_rank()::world]

    def student_grid(self, images: Tensor) -> tuple[int, int]:
        """(h, w) of the student's tokens of (B, 3, H, W)."""
        return tuple(-(-n // self.backbone.patch_size) for n in images.shape[-2:])

    def distill(self, images: Tensor) -> dict[str, Tensor]:
        """Losses of a batch (B, 3, H, W): 'loss_<objective>'."""
        grid = self.student_grid(images)
        mask = self.random_mask(len(images), grid[0] * grid[1], images.device)

        asked_s = sorted({i for layers in self._student_layers.values() for i in layers})
        asked_t = sorted({i for layers in self._teacher_layers.values() for i in layers})
        student = dict(zip(asked_s, self.backbone.forward_tokens(images, asked_s, mask),
                           strict=True))
        teacher = dict(zip(asked_t, self.teacher_tokens(images, asked_t, grid), strict=True))

        losses = {}
        for name, loss in self.objectives.items():
            ours = [student[i] for i in self._student_layers[name]]
            if loss.needs_width:
                ours = [self._project(tokens) for tokens in ours]
            losses[f'loss_{name}'] = loss(ours, [teacher[i] for i in self._teacher_layers[name]],
                                          mask)
        return losses

    def _project(self, tokens: Tokens) -> Tokens:
        cls = None if tokens.cls is None else self.projector(tokens.cls)
        return Tokens(self.projector(tokens.patches), cls, tokens.grid)

    def forward(self, inputs: Tensor, data_samples: list | None = None, mode: str = 'tensor'):
        """mmengine's three modes; labels are not used.

        Args:
            inputs: (B, 3, H, W), normalised.
            data_samples: Ignored, or given back with 'predict'.
            mode: 'loss' for the objectives, 'tensor' for the student's features, 'predict'
                for ``data_samples`` (or None), so that a validation loop passes.
        """
        if mode == 'loss':
            return self.distill(inputs)
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
