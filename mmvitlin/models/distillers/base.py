"""Base of the distillers of a backbone: student, teacher, and their images."""
from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Mapping, Sequence

import torch.nn as nn
import torch.nn.functional as F
from mmengine.model import BaseModel
from torch import Tensor

from mmvitlin.models.backbones import TimmViT, TokenBackbone, Tokens
from mmvitlin.models.distillers.step_draws import SIZE, StepDraws
from mmvitlin.models.layers import pad_to_patches
from mmvitlin.models.teachers import FrozenTeacher, build_teacher
from mmvitlin.models.teachers.build import is_frozen_teacher
from mmvitlin.registry import MODELS
from mmvitlin.utils.errors import ConfigError, message_of
from mmvitlin.utils.normalisation import Normalisation


class BaseDistiller(BaseModel, metaclass=ABCMeta):
    """Trains ``self.backbone`` against ``self.teacher``; subclasses define the losses.

    Args:
        backbone: Config of the student, a :class:`TokenBackbone`.
        teacher: See :func:`mmvitlin.models.teachers.build_teacher`.
        objectives: Name → config of a loss. An entry of None is dropped, so that a child config
            writes ``objectives=dict(mask=None)``.
        inherit: Start the student, a :class:`mmvitlin.models.TimmViT`, from the teacher's
            own weights; an ``init_cfg`` of the backbone is loaded over them.
        sizes: Image sizes, side or (height, width) in whole patches of the student, one of them is
            drawn for every step, the same for all processes: the student sees the batch at that
            size, the teacher the size it needs of the loaded images. None: as they are loaded.
        data_preprocessor: Config of any OpenMMLab data preprocessor.
        init_cfg: See mmengine.

    Attributes:
        normalisation: Of the images; None where the preprocessor does not normalise.

    Raises:
        TypeError: the student gives no tokens, or is to inherit and is no TimmViT.
        ValueError: no objective is left, or the student inherits and its images are normalised
            otherwise than the teacher's.
        ConfigError: sizes are no whole patches.
        CheckpointError: the student cannot inherit from a teacher of another shape.
    """

    def __init__(self,
                 backbone: dict,
                 teacher: dict,
                 objectives: dict[str, dict | None],
                 inherit: bool = False,
                 sizes: Sequence[int | Sequence[int]] | None = None,
                 data_preprocessor: dict | None = None,
                 init_cfg: dict | None = None):
        super().__init__(data_preprocessor, init_cfg)
        self.data_preprocessor.register_forward_hook(_keep_step_seed)
        self.normalisation = Normalisation.of_preprocessor(self.data_preprocessor)
        self.backbone = MODELS.build(backbone)
        if not isinstance(self.backbone, TokenBackbone):
            raise TypeError(f'{type(self.backbone).__name__} has no forward_tokens; the student '
                            'must be a mmvitlin TokenBackbone such as mmvitlin.Adventurer')
        teacher, precision = dict(teacher), None
        if is_frozen_teacher(teacher):  # its weights are rounded last
            precision = teacher.pop('precision', None)
        self.teacher = build_teacher(teacher)
        self.objectives = build_objectives(objectives)
        self.sizes = _check_sizes(sizes, self.backbone.patch_size)
        if inherit:
            self._inherit()
        if isinstance(self.teacher, FrozenTeacher):
            self.teacher.simplify()
        if precision is not None:
            self.teacher.lower(precision)

    def _inherit(self) -> None:
        student, teacher = self.backbone, self.teacher.network
        if not isinstance(student, TimmViT) or not isinstance(teacher, TimmViT):
            raise TypeError(
                f'a {type(student).__name__} cannot inherit the weights of a '
                f'{type(teacher).__name__}: both must be mmvitlin.TimmViT; set inherit=False')
        of_teacher, own = self.teacher.normalisation, self.normalisation
        if of_teacher and own and of_teacher.differences(own):
            values = of_teacher.to_meta()
            raise ValueError('the student inherits weights that were trained with another '
                             f"normalisation: set data_preprocessor.mean={values['mean']} and "
                             f"std={values['std']}")
        student.inherit(teacher)
        self.inherited = True

    def teacher_tokens(self, images: Tensor, layers, grid) -> list[Tokens]:
        """Teacher tokens of normalised images on the student's grid."""
        if self.sizes is None:  # else the student's images are whole patches already
            images = pad_to_patches(images, (self.backbone.patch_size, ) * 2)
        return self.teacher.forward_tokens(images, layers, grid, self.normalisation,
                                           self.backbone.patch_size)

    def student_grid(self, images: Tensor) -> tuple[int, int]:
        """(h, w) of the student's tokens of (B, 3, H, W)."""
        return tuple(-(-n // self.backbone.patch_size) for n in images.shape[-2:])

    def resized(self, images: Tensor, draws: StepDraws) -> Tensor:
        """Images at the size of this step."""
        if self.sizes is None:
            return images
        size = self.sizes[int(draws.common_uniform(SIZE) * len(self.sizes))]
        if tuple(images.shape[-2:]) == size:
            return images
        return F.interpolate(images.float(), size, mode='bicubic', antialias=True,
                             align_corners=False).to(images.dtype)

    @abstractmethod
    def distill(self, images: Tensor, draws: StepDraws) -> dict[str, Tensor]:
        """Losses of a batch (B, 3, H, W), with the random numbers of the step."""

    def forward(self, inputs: Tensor, data_samples: list | None = None, mode: str = 'tensor',
                step_seed: int | None = None):
        """mmengine's modes 'loss' and 'tensor'; labels are not used, and nothing is predicted.

        Args:
            inputs: (B, 3, H, W), normalised.
            data_samples: Ignored.
            mode: 'loss' for the objectives, 'tensor' for the student's features.
            step_seed: See :class:`StepDraws`; ``StepSeedHook`` puts it into the batch.

        Raises:
            RuntimeError: another mode.
        """
        if mode == 'loss':
            return self.distill(inputs, StepDraws(step_seed))
        if mode == 'tensor':
            return self.backbone(inputs)
        raise RuntimeError(f"a distiller has no mode '{mode}'; it gives 'loss' and 'tensor'")

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """The student's groups; heads are with its last."""
        return self.backbone.get_layer_depth(param_name, f'{prefix}backbone.')


def _keep_step_seed(module: nn.Module, args: tuple, output):
    """Preprocessors of mmseg and mmdet return only images and samples."""
    if isinstance(output, dict) and isinstance(args[0], Mapping) and 'step_seed' in args[0]:
        output['step_seed'] = args[0]['step_seed']
    return output


def _check_sizes(sizes: Sequence[int | Sequence[int]] | None, patch: int
                 ) -> tuple[tuple[int, int], ...] | None:
    if sizes is None:
        return None
    given = list(sizes) if isinstance(sizes, (list, tuple)) else [None]
    pairs = tuple(tuple(n) if isinstance(n, (list, tuple)) else (n, n) for n in given)
    if not pairs or not all(type(n) is int for pair in pairs for n in pair) or any(
            len(pair) != 2 or min(pair) < patch or pair[0] % patch or pair[1] % patch
            for pair in pairs):
        raise ConfigError(f"sizes={sizes}: give a list of sides or (height, width) in "
                          f"multiples of the student's patch, {patch} pixels")
    return pairs


def build_objectives(objectives: dict[str, dict | None]) -> nn.ModuleDict:
    """Losses by name; entries of None are dropped.

    Raises:
        ValueError: none is left.
        ConfigError: a name that modules cannot have, or options that do not fit.
        KeyError: a type that is not registered; names the key.
    """
    for name in objectives:
        if '.' in name or hasattr(nn.ModuleDict, name):
            raise ConfigError(f"objectives: '{name}' cannot be a name; take one without dots that "
                              'is no word of PyTorch')
    built = nn.ModuleDict({name: _build_objective(name, cfg)
                           for name, cfg in objectives.items() if cfg})
    if not built:
        raise ValueError('objectives: every entry is None or the dict is empty; keep one')
    return built


def _build_objective(name: str, cfg: dict) -> nn.Module:
    try:
        return MODELS.build(cfg)
    except KeyError as error:
        raise KeyError(f"objectives.{name}: no loss of type '{cfg.get('type')}' is registered; "
                       "write it with its scope, as 'mmvitlin.ActivationMatchingLoss'") from error
    except (ConfigError, TypeError) as error:
        raise ConfigError(f'objectives.{name}: {message_of(error)}') from error
