"""Distillation by the tokens of a student and a teacher."""
from __future__ import annotations

from collections.abc import Mapping

import torch.nn as nn
from torch import Tensor

from mmvitlin.models.backbones import Tokens
from mmvitlin.models.distillers.balance import GradientBalance
from mmvitlin.models.distillers.base import BaseDistiller
from mmvitlin.models.distillers.step_draws import ANCHORS, StepDraws
from mmvitlin.models.losses.base import Objective, project
from mmvitlin.utils.errors import ConfigError


class Distiller(BaseDistiller):
    """Trains ``self.backbone`` against ``self.teacher`` by named objectives.

    Student and teacher see the same images, the student possibly masked ones, and each
    objective compares their tokens after the layers it names.

    Args:
        backbone: See :class:`BaseDistiller`.
        teacher: See :class:`BaseDistiller`.
        objectives: Name → config of a :class:`mmvitlin.models.Objective`, or None. They are called
            as :meth:`Objective.forward` says, with the Tokens of the layers they name, and their
            losses are 'loss_<name>'.
        projector: Whether a linear layer maps the student's width to the teacher's for
            objectives that compare features and bring no projector of their own: True, False,
            or 'auto' (if widths differ).
        balance: Options of :class:`GradientBalance`, such as ``dict(shares=dict(activation=0.5))``:
            weights by the size of gradients. None: losses as they are.
        **kwargs: See :class:`BaseDistiller`.

    Raises:
        ValueError: widths differ and ``projector=False``; and see :class:`BaseDistiller`.
        ConfigError: an objective's options do not fit the networks, or no objective reads the
            student's last layer; and see :class:`BaseDistiller`.
    """

    def __init__(self,
                 backbone: dict,
                 teacher: dict,
                 objectives: dict[str, dict | None],
                 projector: bool | str = 'auto',
                 balance: dict | None = None,
                 **kwargs):
        super().__init__(backbone, teacher, objectives, **kwargs)
        for name, loss in self.objectives.items():
            if not isinstance(loss, Objective):
                raise ConfigError(f'objectives.{name}: a {type(loss).__name__} does not compare '
                                  'the tokens after a layer, as objectives of this distillation do')
        self.projector = self._make_projector(projector)
        # both sides' layers are settled here, so a stage count that does not fit fails at once
        self._layers = self._connect()
        self.balance = self._make_balance(balance, objectives)

    def _make_projector(self, projector: bool | str) -> nn.Module:
        if projector not in (True, False, 'auto'):
            raise ConfigError(f"projector: {projector!r}, must be True, False or 'auto'; one of "
                              "two layers is an option of an objective: objectives.NAME.projector"
                              "='mlp'")
        student, teacher = self.backbone.embed_dims, self.teacher.embed_dims
        needed = any(loss.needs_width and not loss.has_projector
                     for loss in self.objectives.values())
        if projector == 'auto':
            projector = student != teacher
        if needed and student != teacher and not projector:
            raise ValueError(
                f'the student is {student} wide, the teacher {teacher}, and projector=False: '
                "the objectives compare features; set projector='auto'")
        return nn.Linear(student, teacher) if needed and projector else nn.Identity()

    def _connect(self) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
        """For each objective the layers of student and teacher that it reads; builds its heads."""
        layers = {}
        for name, loss in self.objectives.items():
            try:
                layers[name] = loss.layer_indices(self.backbone.num_layers,
                                                  self.teacher.num_layers)
                self._connect_one(loss, *layers[name])
            except ConfigError as error:
                raise ConfigError(f'objectives.{name}: {error}') from error
        last = self.backbone.num_layers - 1
        if not any(last in student for student, _ in layers.values()):
            raise ConfigError(f"objectives: none reads the student's last layer ({last}), which "
                              'would stay untrained; add it to the layers of one')
        return layers

    def _connect_one(self, loss: nn.Module, student: tuple[int, ...], teacher: tuple[int, ...]
                     ) -> None:
        for side, network in (('student', self.backbone), ('teacher', self.teacher)):
            if loss.needs_cls and not network.has_cls:
                raise ConfigError(f'compares class tokens, and the {side} has none; compare '
                                  'patches, or drop it with None')
        widths = [self.backbone.layer_dims[i] for i in student]
        teacher_widths = [self.teacher.layer_dims[i] for i in teacher]
        loss.connect(widths, teacher_widths)
        if loss.needs_width and not loss.has_projector:
            common = self.projector
            if isinstance(common, nn.Linear) and set(widths) != {common.in_features}:
                raise ConfigError(f"the student's layers {list(student)} are {widths} wide, and "
                                  f'the common projector takes {common.in_features}; set '
                                  "projector='linear' of this objective")
            mapped = widths
            if isinstance(common, nn.Linear):
                mapped = [common.out_features] * len(widths)
            if mapped != teacher_widths:
                raise ConfigError(f"the student's layers {list(student)} come as {mapped} channels "
                                  f"and the teacher's {list(teacher)} as {teacher_widths}; set "
                                  "projector='linear' of this objective")

    def _make_balance(self, cfg: dict | None, objectives: dict) -> GradientBalance | None:
        if cfg is None:
            return None
        if not isinstance(cfg, Mapping) or not isinstance(cfg.get('shares') or {}, Mapping):
            raise ConfigError(f'balance={cfg!r}: give dict(shares=dict(NAME=share), '
                              'momentum=0.99), or dict() for equal shares')
        if unknown := sorted(set(cfg) - {'shares', 'momentum'}):
            raise ConfigError(f'balance: no options {unknown}; it has shares and momentum')
        if unknown := sorted(set(cfg.get('shares') or {}) - set(objectives)):
            raise ConfigError(f'balance.shares: {unknown} are no objectives; there are '
                              f'{sorted(objectives)}')
        return GradientBalance(tuple(self.objectives), **cfg) if len(self.objectives) > 1 else None

    def student_layers(self) -> dict[str, tuple[int, ...]]:
        """For each objective the student's layers it reads."""
        return {name: student for name, (student, _) in self._layers.items()}

    def teacher_layers(self) -> dict[str, tuple[int, ...]]:
        """For each objective the teacher's layers it reads."""
        return {name: teacher for name, (_, teacher) in self._layers.items()}

    def random_mask(self, batch: int, length: int, device, draws: StepDraws | None = None
                    ) -> Tensor | None:
        """bool (batch, length), true where the student sees a mask token; None for none."""
        return self.draw_mask(batch, length, device, draws or StepDraws())[0]

    def draw_mask(self, batch: int, length: int, device, draws: StepDraws
                  ) -> tuple[Tensor | None, int | None]:
        """See :meth:`random_mask`; and the number of unmasked patches of every image, None where it
        varies or is only known on the device."""
        return None, None

    def distill(self, images: Tensor, draws: StepDraws) -> dict[str, Tensor]:
        """Losses of a batch (B, 3, H, W): 'loss_<objective>'."""
        loaded, images = images, self.resized(images, draws)
        grid = self.student_grid(images)
        mask, visible = self.draw_mask(len(images), grid[0] * grid[1], images.device, draws)

        asked_s = sorted({i for layers, _ in self._layers.values() for i in layers})
        asked_t = sorted({i for _, layers in self._layers.values() for i in layers})
        student = dict(zip(asked_s, self.backbone.forward_tokens(images, asked_s, mask),
                           strict=True))
        teacher = dict(zip(asked_t, self.teacher_tokens(loaded, asked_t, grid), strict=True))

        losses, inputs = {}, {}
        for name, loss in self.objectives.items():
            of_student, of_teacher = self._layers[name]
            tokens = [_own(student[i]) for i in of_student]
            inputs[name] = [x for t in tokens for x in (t.patches, t.cls) if x is not None]
            if loss.needs_width and not loss.has_projector:
                tokens = [project(self.projector, t) for t in tokens]
            more = dict(uniform=draws.uniform(*tokens[0].patches.shape[:2], images.device, ANCHORS)
                        ) if loss.needs_uniform else {}
            if loss.takes_visible:
                more['visible'] = visible
            losses[name] = loss(tokens, [teacher[i] for i in of_teacher], mask, **more)
        return self._named(losses, inputs)

    def _named(self, losses: dict[str, Tensor], inputs: dict[str, list[Tensor]]
               ) -> dict[str, Tensor]:
        """Losses as mmengine sums them up, and their weights for the log."""
        if self.balance is None:
            return {f'loss_{name}': loss for name, loss in losses.items()}
        weights = self.balance(losses, inputs)
        # mmengine adds up all values with 'loss' in their names
        log = {f"weight_{name.replace('loss', '')}": weight for name, weight in weights.items()}
        return {**{f'loss_{name}': weights[name] * loss for name, loss in losses.items()}, **log}


def _own(tokens: Tokens) -> Tokens:
    """The same values, for taking one objective's gradient separately."""
    cls = None if tokens.cls is None else tokens.cls.view_as(tokens.cls)
    return Tokens(tokens.patches.view_as(tokens.patches), cls, tokens.grid)
