"""Plain knowledge distillation of whole classifiers and segmentors, a baseline."""
from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmengine.model import BaseModel
from torch import Tensor

from mmvitlin.errors import CheckpointError
from mmvitlin.models.distillers.frozen_teacher import FrozenNetwork
from mmvitlin.models.utils import read_state_dict
from mmvitlin.registry import MODELS

_PARTS = ('backbone', 'neck', 'decode_head', 'head')  # auxiliary heads give no scores


def _whole_model(model: dict, checkpoint: str | None) -> nn.Module:
    network = MODELS.build(model)
    if checkpoint is not None:
        try:
            network.load_state_dict(read_state_dict(checkpoint, prefix=''))
        except RuntimeError as error:
            raise CheckpointError(f'teacher: {checkpoint} is of another model: {error}') from error
    return network


@MODELS.register_module()
class LogitDistillation(BaseModel):
    """Trains a whole student, backbone and head, to give its teacher's class probabilities.

    ``loss = T² · KL(softmax(teacher / T) ‖ softmax(student / T))``, mean over images, and over
    places where the scores are maps (the student's are resized to the teacher's). No labels are
    read. The student's parts keep their names (``backbone.*``, ``decode_head.*``, ``head.*``).

    Args:
        student: Config of an mmseg segmentor or an mmpretrain classifier.
        teacher: dict(model=config of such a model, checkpoint=its file); None for random weights.
        temperature: T.
        data_preprocessor: Of the images of both.
        init_cfg: See mmengine.

    Raises:
        ValueError: the numbers of classes differ, the teacher was trained with another
            normalisation, or T is not positive.
        CheckpointError: the checkpoint is of another model.

    Source: Hinton et al., Distilling the Knowledge in a Neural Network (arXiv 1503.02531).
    """

    def __init__(self,
                 student: dict,
                 teacher: dict,
                 temperature: float = 1.,
                 data_preprocessor: dict | None = None,
                 init_cfg: dict | None = None):
        super().__init__(data_preprocessor, init_cfg)
        if temperature <= 0:
            raise ValueError(f'temperature must be positive, got {temperature}')
        self.temperature = temperature
        _check_normalisation(teacher['model'].get('data_preprocessor') or {},
                             data_preprocessor or {})
        self.teacher = FrozenNetwork(_whole_model(**teacher))
        network = MODELS.build(student)
        theirs, ours = (_classes(m) for m in (self.teacher.network, network))
        if theirs != ours:
            raise ValueError(f'the teacher tells {theirs} classes apart, the student {ours}')
        for name, part in network.named_children():
            if name in _PARTS:
                self.add_module(name, part)
        self.__dict__['student'] = network  # its parts are ours

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
        """
        if mode == 'tensor':
            return self.student(inputs, mode='tensor')
        if mode != 'loss':
            raise RuntimeError(f"a distiller has no mode '{mode}'; it gives 'loss' and 'tensor'")
        with torch.no_grad():
            teacher = self.teacher.network(inputs, mode='tensor').float()
        student = self.student(inputs, mode='tensor').float()
        if student.shape[2:] != teacher.shape[2:]:
            student = F.interpolate(student, teacher.shape[2:], mode='bilinear',
                                    align_corners=False)
        t = self.temperature
        each = F.kl_div(F.log_softmax(student / t, 1), F.log_softmax(teacher / t, 1),
                        reduction='none', log_target=True).sum(1)
        return dict(loss_logits=t**2 * each.mean())

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """The backbone's groups; heads are with its last."""
        return self.backbone.get_layer_depth(param_name, f'{prefix}backbone.')


def _classes(model: nn.Module) -> int | None:
    head = getattr(model, 'decode_head', None) or getattr(model, 'head', None)
    return getattr(head, 'num_classes', None)


def _check_normalisation(theirs: dict, ours: dict) -> None:
    def told(cfg: dict) -> dict:
        return dict(mean=list(cfg.get('mean') or ()), std=list(cfg.get('std') or ()),
                    rgb=bool(cfg.get('bgr_to_rgb') or cfg.get('to_rgb')))

    a, b = told(theirs), told(ours)
    if theirs and a != b:
        raise ValueError('the teacher was trained with another normalisation; set '
                         'data_preprocessor to it: ' + ', '.join(
                             f'{k}={a[k]}, not {b[k]}' for k in a if a[k] != b[k]))
