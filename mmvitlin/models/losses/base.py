"""Base of the distillation objectives: layers, projectors, weights."""
from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Sequence

import torch
import torch.nn as nn
from torch import Tensor

from mmvitlin.models.backbones.base import Tokens
from mmvitlin.utils.errors import ConfigError
from mmvitlin.utils.numbers import number


class Objective(nn.Module, metaclass=ABCMeta):
    """A loss between a student's tokens and a teacher's, after layers that it names.

    Subclasses implement :meth:`compare`, for one layer. A distiller gets the layers to read from
    :meth:`layer_indices`, calls :meth:`connect` once with their widths, and then in every step
    ``loss(student, teacher, mask)``.

    Args:
        layers: Layers of the student, one or a list: an int counts blocks from 0, or from the end
            where it is negative (−2 is the penultimate); a float in (0, 1] is a fraction of the
            depth (0.5 of 12 blocks is block 5, 1.0 the last). The output of the last one is after
            the final norm. None: the objective's own, mostly the last.
        teacher_layers: Likewise of the teacher; None for what ``layers`` says, read at the
            teacher's depth.
        layer_weights: Relative weights of the layers; None for equal ones.
        projector: Maps the student's width to the teacher's, one for each layer, and is not part of
            the student: 'linear', 'mlp' (see :class:`MLPProjector`), or dict(type='mlp',
            hidden_dims=…). None: the distiller's own, where the objective compares channels.
        loss_weight: Multiplies the loss.

    Attributes:
        needs_width: Student and teacher must be of one width.
        needs_mask: The student must see a masked image.
        needs_cls: Both networks must have a class token.
        needs_uniform: Is called with random numbers, see :meth:`forward`.
        takes_visible: Is called with the number of unmasked patches, see :meth:`forward`.

    Raises:
        ConfigError: lists of different lengths, invalid weights, or an unknown
            projector.
    """
    needs_width = False
    needs_mask = False
    needs_cls = False
    needs_uniform = False
    takes_visible = False

    def __init__(self,
                 layers: float | Sequence[float] | None = None,
                 teacher_layers: float | Sequence[float] | None = None,
                 layer_weights: Sequence[float] | None = None,
                 projector: str | dict | None = None,
                 loss_weight: float = 1.0):
        super().__init__()
        self._layers = dict(student=_as_list(layers), teacher=_as_list(teacher_layers))
        self._projector_cfg = _projector_cfg(projector)
        self.layer_weights = layer_weights
        if layer_weights is not None:
            self.layer_weights = tuple(layer_weights) if isinstance(layer_weights, (list, tuple)) \
                else (layer_weights, )
            for weight in self.layer_weights:
                number('layer_weights', weight, least=0)
            if not any(self.layer_weights):
                raise ConfigError(f'layer_weights={layer_weights}: one must be above 0')
        number('loss_weight', loss_weight, least=0)
        self.projectors: nn.ModuleList | None = None
        self.loss_weight = loss_weight

    @property
    def has_projector(self) -> bool:
        """Whether it brings projectors of its own."""
        return self._projector_cfg is not None

    def default_layers(self, depth: int) -> tuple[int, ...]:
        """Layers that are read where the config names none."""
        return (depth - 1, )

    def layer_indices(self, student_depth: int, teacher_depth: int
                      ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Layers of the student and of the teacher, counted from 0.

        Raises:
            ConfigError: a layer is not there, or the two lists differ in length.
        """
        student = self.layers(student_depth)
        teacher = self.layers(teacher_depth, 'teacher')
        if len(student) != len(teacher):
            raise ConfigError(f'layers={list(student)} and teacher_layers={list(teacher)} are to '
                              'be compared in pairs; give lists of one length')
        if self.layer_weights is not None and len(self.layer_weights) != len(student):
            raise ConfigError(f'layer_weights has {len(self.layer_weights)} entries for '
                              f'{len(student)} layers')
        return student, teacher

    def layers(self, depth: int, side: str = 'student') -> tuple[int, ...]:
        """Layers of one side's network of ``depth`` blocks, counted from 0.

        Raises:
            ConfigError: a layer is not there.
        """
        chosen = self._layers[side]
        if chosen is None and side == 'teacher':
            chosen = self._layers['student']
        if chosen is None:
            return self.default_layers(depth)
        return tuple(_layer_index(layer, depth, side) for layer in chosen)

    def connect(self, student_dims: Sequence[int], teacher_dims: Sequence[int]) -> None:
        """Build what depends on the widths of the layers that are read, in their order.

        Raises:
            ConfigError: student and teacher differ in width and nothing maps one to the other.
        """
        if self._projector_cfg is not None:
            self.projectors = nn.ModuleList(
                _build_projector(self._projector_cfg, a, b)
                for a, b in zip(student_dims, teacher_dims, strict=True))

    def forward(self,
                student: Sequence[Tokens],
                teacher: Sequence[Tokens],
                mask: Tensor | None = None,
                uniform: Tensor | None = None,
                visible: int | None = None) -> Tensor:
        """Mean over layers, by their weights.

        Args:
            student: Tokens of each layer.
            teacher: Tokens of each layer, of the same grid.
            mask: bool (B, L), true where the student saw the mask token. None: nowhere.
            uniform: (B, L) random numbers in [0, 1) for objectives with ``needs_uniform``, the same
                for any number of processes.
            visible: Unmasked patches of each image, where that is one number: objectives with
                ``takes_visible`` then need not read it from the device.

        Returns:
            Scalar.
        """
        if self.projectors is not None:
            student = [project(p, t) for p, t in zip(self.projectors, student, strict=True)]
        weights = self.layer_weights or (1., ) * len(student)
        more = dict(uniform=uniform) if self.needs_uniform else {}
        if self.takes_visible:
            more['visible'] = visible
        total = sum(weight * self.compare(s, t, mask, index=n, **more) for n, (s, t, weight)
                    in enumerate(zip(student, teacher, weights, strict=True)))
        return self.loss_weight * total / sum(weights)

    @abstractmethod
    def compare(self, student: Tokens, teacher: Tokens, mask: Tensor | None, index: int) -> Tensor:
        """Scalar loss of one layer, the ``index``-th that is read."""


class MLPProjector(nn.Sequential):
    """Two linear layers with layer norm and GELU between them.

    Args:
        in_dims: Width of the student.
        out_dims: Width of the teacher.
        hidden_dims: None for the larger of the two.

    Source: AM-RADIO (arXiv 2312.06709), heads of the student.
    """

    def __init__(self, in_dims: int, out_dims: int, hidden_dims: int | None = None):
        hidden = hidden_dims or max(in_dims, out_dims)
        super().__init__(nn.Linear(in_dims, hidden), nn.LayerNorm(hidden), nn.GELU(),
                         nn.Linear(hidden, out_dims))


def project(projector: nn.Module, tokens: Tokens) -> Tokens:
    """Patches and class token through one projector."""
    cls = None if tokens.cls is None else projector(tokens.cls)
    return Tokens(projector(tokens.patches), cls, tokens.grid)


def check_grids(student: Tokens, teacher: Tokens, what: str) -> None:
    """Refuse tokens that do not lie on one grid.

    Raises:
        ValueError: says which grids.
    """
    if student.patches.shape[:2] != teacher.patches.shape[:2]:
        raise ValueError(f'student grid {student.grid} and teacher grid {teacher.grid} differ; '
                         f'{what} compares token by token')


def visible_groups(mask: Tensor | None, visible: int | None = None
                   ) -> list[tuple[Tensor | slice, Tensor | None]]:
    """Images grouped by their number of unmasked patches.

    Args:
        mask: bool (B, L), true where a patch is masked; None for nowhere.
        visible: Unmasked patches of every image, where they have the same number. None: it is
            read from the mask, for which the host waits for the device.

    Returns:
        For each group (images, patches): what selects the images of a batch, and the indices
        (B', V) of their unmasked patches, in order, None for all.

    Raises:
        ValueError: the mask hides every patch of an image.
    """
    if mask is None:
        return [(slice(None), None)]
    counts = (~mask).sum(1).tolist() if visible is None else [visible]
    if not min(counts):
        raise ValueError('the mask hides every token; nothing visible is left to compare')
    order = torch.argsort(mask.to(torch.uint8), dim=1, stable=True)
    if len(set(counts)) == 1:
        return [(slice(None), order[:, :counts[0]])]
    return [(torch.tensor([n for n, c in enumerate(counts) if c == count], device=mask.device),
             order[[n for n, c in enumerate(counts) if c == count], :count])
            for count in sorted(set(counts))]


def select(x: Tensor, images: Tensor | slice, patches: Tensor | None) -> Tensor:
    """Of (B, L, C) the images and patches of a group of :func:`visible_groups`."""
    x = x[images]
    return x if patches is None else x.gather(1, patches[..., None].expand(-1, -1, x.shape[-1]))


def _as_list(layers: float | Sequence[float] | None) -> tuple[float, ...] | None:
    if layers is None:
        return None
    layers = tuple(layers) if isinstance(layers, (list, tuple)) else (layers, )
    if not layers or any(isinstance(n, bool) or not isinstance(n, (int, float)) for n in layers):
        raise ConfigError(f'layers={layers}: give block numbers (from 0, or negative from the '
                          'end), or fractions of the depth such as 0.5')
    return layers


def _layer_index(layer: float, depth: int, side: str) -> int:
    if isinstance(layer, float):
        if not 0 < layer <= 1:
            raise ConfigError(f'layers: a fraction of the depth is in (0, 1], got {layer}')
        return max(int(layer * depth + 1e-6), 1) - 1
    if not -depth <= layer < depth:
        raise ConfigError(f'layers: the {side} has {depth} blocks, 0 to {depth - 1}, and no '
                          f'{layer}; a fraction of the depth (0.5) fits any network')
    return layer % depth


def _projector_cfg(projector: str | dict | None) -> dict | None:
    if projector is None:
        return None
    cfg = dict(type=projector) if isinstance(projector, str) else dict(projector)
    extra = {'linear': set(), 'mlp': {'hidden_dims'}}.get(cfg.get('type'))
    if extra is None or cfg.keys() - extra != {'type'}:
        raise ConfigError(f"projector={projector!r} of an objective: take 'linear', 'mlp', or "
                          "dict(type='mlp', hidden_dims=512)")
    return cfg


def _build_projector(cfg: dict, in_dims: int, out_dims: int) -> nn.Module:
    cfg = dict(cfg)
    kinds = {'linear': nn.Linear, 'mlp': MLPProjector}
    return kinds[cfg.pop('type')](in_dims, out_dims, **cfg)


def check_form(form: str) -> str:
    """A form of a loss over pairs of tokens.

    Raises:
        ConfigError: it is not known.
    """
    if form not in ('auto', 'linear', 'pairwise'):
        raise ConfigError(f"form must be 'auto', 'linear' or 'pairwise', got '{form}'")
    return form
