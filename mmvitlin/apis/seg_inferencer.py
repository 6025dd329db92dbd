"""Segmentation of images of any size, from a config and a checkpoint."""
from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config

from mmvitlin.apis.inferencer import Inferencer, Result
from mmvitlin.models.segmentors import HighResSegmentor
from mmvitlin.utils.errors import ConfigError
from mmvitlin.utils.files import write_whole
from mmvitlin.visualization.overlay import overlay


@dataclass
class Segmentation(Result):
    """Result of one image; see :class:`mmvitlin.apis.inferencer.Result`.

    Attributes:
        labels: (H, W) class numbers at the image's own size; None where ``error`` is set.
        probabilities: (C, H, W) float16, if asked for.
        top_classes: (k, H, W), and top_probs, float16, if asked for.
    """
    KINDS = {'labels': '.png', 'overlay': '.png', 'probabilities': '.npy'}
    labels: np.ndarray | None = None
    probabilities: np.ndarray | None = None
    top_classes: np.ndarray | None = None
    top_probs: np.ndarray | None = None

    def overlay(self, opacity: float = 0.5) -> np.ndarray:
        """The image with its classes' colours over it, (H, W, 3) uint8 RGB."""
        return overlay(self.image, self.labels, self.palette, opacity)

    def _write(self, kind: str, path: Path) -> None:
        if kind == 'probabilities':
            if self.probabilities is None:
                raise ConfigError('no probabilities were computed; set probabilities=True')
            write_whole(partial(np.save, arr=self.probabilities), path, sync=False)
        elif kind == 'overlay':
            self._save_png(self.overlay(), path)
        else:
            labels = self.labels
            self._save_png(labels if labels.dtype == np.uint8 else labels.astype(np.uint16), path)


class SegInferencer(Inferencer):
    """Runs a trained segmentor on images of any size and kind.

    Args:
        config: Config file of the segmentor.
        checkpoint: What training with that config wrote.
        device: See :class:`mmvitlin.apis.inferencer.Inferencer`.
        precision: See there.
        scale: See there.
        probabilities: Also give all class probabilities.
        top_k: Also give the k most probable classes.
        cfg_options: Changes to the config, as ``--cfg-options``; ``{'model.test_cfg.mode':
            'slide', …}`` for windows.
        check_memory: See there.

    Raises:
        ConfigError: no such config, an unknown precision or scale, or probabilities of a model
            that is no ``EncoderDecoder``.
        CheckpointError: a checkpoint of another model.

    Example:
        >>> infer = SegInferencer('configs/seg/cityscapes_1024.py', 'iter_80000.pth')
        >>> for result in infer.stream('photos/'):
        ...     if result.error is None:
        ...         result.save('out')
    """
    result = Segmentation
    default_scope = 'mmseg'
    measures_results = True
    other_remedy = (' or work in windows (model.test_cfg.mode=slide '
                    'model.test_cfg.crop_size=(1024,1024) model.test_cfg.stride=(768,768) in '
                    'cfg_options or after --cfg-options)')

    def __init__(self,
                 config: str,
                 checkpoint: str,
                 device: str | None = None,
                 precision: str = 'fp32',
                 scale: str | float | tuple[int, int] | None = None,
                 probabilities: bool = False,
                 top_k: int = 0,
                 cfg_options: dict | None = None,
                 check_memory: bool = True):
        self._wanted = dict(probabilities=probabilities, top_k=top_k)
        super().__init__(config, checkpoint, device, precision, scale, cfg_options, check_memory)

    def _build(self, cfg: Config) -> torch.nn.Module:
        if cfg.model.type in ('EncoderDecoder', 'mmseg.EncoderDecoder'):
            cfg.model.type = 'mmvitlin.HighResSegmentor'  # the same network, less memory
        cfg.model.test_cfg = dict(cfg.model.get('test_cfg') or dict(mode='whole'),
                                  compact_labels=True, **self._wanted)
        model = super()._build(cfg)
        if any(self._wanted.values()) and not isinstance(model, HighResSegmentor):
            raise ConfigError(f'a {type(model).__name__} gives labels only; probabilities and '
                              'top_k need an EncoderDecoder')
        return model

    @property
    def num_classes(self) -> int:
        """Of the head."""
        return self.model.num_classes

    def predict(self, data: dict) -> np.ndarray:
        """Labels (H, W) of one image that was read."""
        return _labels(self.outputs([data])[0])

    def _fill(self, result: Segmentation, output) -> None:
        result.labels = _labels(output)
        for name, key in (('probabilities', 'class_probs'), ('top_classes', 'top_classes'),
                          ('top_probs', 'top_probs')):
            if key in output:
                setattr(result, name, output.get(key).data.cpu().numpy())

    def _bytes_of_results(self, pixels: int) -> int:
        # probabilities and numbers of classes, as HighResSegmentor gives them
        each = 2 * self.num_classes if self._wanted['probabilities'] else 0
        top = min(self._wanted['top_k'], self.num_classes)
        return (each + top * (3 if self.num_classes <= 255 else 4)) * pixels


def _labels(output) -> np.ndarray:
    """(H, W), in the smallest integer type that images can be written in."""
    labels = output.pred_sem_seg.data[0].cpu().numpy()
    if labels.dtype == np.int64:  # of a segmentor of mmseg's own
        labels = labels.astype(np.uint8 if labels.max(initial=0) <= 255 else np.int16)
    return labels
