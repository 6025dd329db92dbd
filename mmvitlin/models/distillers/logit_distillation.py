"""Plain knowledge distillation of whole classifiers and segmentors, a baseline."""
from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn as nn
from mmengine.model import BaseModel
from torch import Tensor

from mmvitlin.models.distillers.base import build_objectives
from mmvitlin.models.losses import AttentionAlignmentLoss, Objective
from mmvitlin.models.teachers import FrozenNetwork
from mmvitlin.models.utils.checkpoint import read_checkpoint
from mmvitlin.models.utils.initialised import refuse_unused
from mmvitlin.registry import MODELS
from mmvitlin.utils.errors import CheckpointError, ConfigError
from mmvitlin.utils.normalisation import Normalisation

_PARTS = ('backbone', 'neck', 'decode_head', 'head')  # auxiliary heads give no scores


def _whole_model(model: dict, checkpoint: str | None = None) -> tuple[nn.Module, dict | None]:
    """A network with the weights of a file, and the file's classes."""
    network = MODELS.build(model)
    if checkpoint is None:
        if model.get('init_cfg') or model.get('pretrained'):
            network.init_weights()
            refuse_unused(network, 'model.teacher.model')
        return network, None
    file = read_checkpoint(checkpoint)
    try:
        network.load_state_dict(file.state)
    except RuntimeError as error:
        raise CheckpointError(f'teacher: {checkpoint} is of another model: {error}') from error
    kept = file.meta.get('dataset_meta')
    return network, kept if isinstance(kept, dict) else None


@MODELS.register_module()
class LogitDistillation(BaseModel):
    """Trains a whole student, backbone and head, to give its teacher's class probabilities.

    No labels are read. The student's parts keep their names (``backbone.*``, ``decode_head.*``,
    ``head.*``).

    Args:
        student: Config of an mmseg segmentor or an mmpretrain classifier.
        teacher: dict(model=config of such a model, checkpoint=its file); without a checkpoint the
            model's own ``init_cfg`` is loaded, or weights are random.
        objectives: Name → config of a loss that is called ``loss(student, teacher)`` with the class
            scores of both, (B, K) or maps (B, K, h, w), or None; by default one
            :class:`mmvitlin.models.LogitLoss`. Losses are 'loss_<name>'.
        temperature: Has moved to ``objectives.logits.temperature``.
        data_preprocessor: Of the images of both.
        init_cfg: See mmengine.

    Raises:
        ValueError: the numbers of classes differ, the teacher was trained with another
            normalisation, or no objective is left.
        ConfigError: a temperature is given here.
        CheckpointError: the checkpoint is of another model.

    Attributes:
        dataset_meta: The teacher's, with its classes, which become the student's; None if its file
            does not say.
    """

    def __init__(self,
                 student: dict,
                 teacher: dict,
                 objectives: dict[str, dict | None] | None = None,
                 temperature: float | None = None,
                 data_preprocessor: dict | None = None,
                 init_cfg: dict | None = None):
        super().__init__(data_preprocessor, init_cfg)
        if temperature is not None:
            raise ConfigError('model.temperature has moved: set objectives=dict(logits=dict('
                              f"type='mmvitlin.LogitLoss', temperature={temperature}))")
        if not isinstance(teacher.get('model'), Mapping):
            raise ConfigError("model.teacher must be dict(model=config of a whole classifier or "
                              'segmentor, checkpoint=its file)')
        self.objectives = build_objectives(
            objectives or dict(logits=dict(type='mmvitlin.LogitLoss')))
        _check_normalisation(
            Normalisation.of_config(teacher['model'].get('data_preprocessor') or {}),
            Normalisation.of_config(data_preprocessor or {}))
        for name, loss in self.objectives.items():
            if isinstance(loss, (Objective, AttentionAlignmentLoss)):
                raise ConfigError(f'objectives.{name}: a {type(loss).__name__} compares features, '
                                  'and this distillation class scores, as mmvitlin.LogitLoss does')
        whole, self.dataset_meta = _whole_model(**teacher)
        self.teacher = FrozenNetwork(whole)
        network = MODELS.build(student)
        teacher_classes, student_classes = (_classes(m) for m in (self.teacher.network, network))
        if teacher_classes != student_classes:
            raise ValueError(f'the teacher has {teacher_classes} classes, '
                             f'the student {student_classes}')
        for name, part in network.named_children():
            if name in _PARTS:
                self.add_module(name, part)
        self.__dict__['student'] = network  # its parts are registered here

    def init_weights(self) -> None:
        """As the student alone would be."""
        self.student.init_weights()
        self._is_init = True

    def train(self, mode: bool = True) -> LogitDistillation:
        """The student's parts and what holds them."""
        super().train(mode)
        self.student.training = mode
        return self

    def forward(self, inputs: Tensor, data_samples: list | None = None, mode: str = 'tensor'):
        """mmengine's modes 'loss' and 'tensor' (the student's scores); labels are not used.

        Args:
            inputs: (B, 3, H, W), normalised.
            data_samples: Ignored.
            mode: 'loss' or 'tensor'.

        Raises:
            RuntimeError: another mode.
        """
        if mode == 'tensor':
            return self.student(inputs, mode='tensor')
        if mode != 'loss':
            raise RuntimeError(f"a distiller has no mode '{mode}'; it gives 'loss' and 'tensor'")
        with torch.no_grad():
            teacher = self.teacher.network(inputs, mode='tensor')
        student = self.student(inputs, mode='tensor')
        return {f'loss_{name}': loss(student, teacher) for name, loss in self.objectives.items()}

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """The backbone's groups; heads are with its last."""
        return self.backbone.get_layer_depth(param_name, f'{prefix}backbone.')


def _classes(model: nn.Module) -> int | None:
    head = getattr(model, 'decode_head', None) or getattr(model, 'head', None)
    return getattr(head, 'num_classes', None)


def _check_normalisation(teacher: Normalisation | None, student: Normalisation | None) -> None:
    if teacher is None:
        return
    expected, actual = teacher.to_meta(), student.to_meta() if student else {}
    if differing := teacher.differences(student) if student else list(expected):
        raise ValueError('the teacher was trained with another normalisation; set '
                         'data_preprocessor to it: ' + ', '.join(
                             f'{k}={expected[k]}, not {actual.get(k)}' for k in differing))
