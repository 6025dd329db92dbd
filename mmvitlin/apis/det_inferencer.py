"""Detection and instance segmentation of images of any size, from a config and a checkpoint."""
from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mmvitlin.apis.inferencer import Inferencer, Result
from mmvitlin.utils.errors import ConfigError
from mmvitlin.utils.files import write_whole
from mmvitlin.visualization.instances import draw_instances


@dataclass
class Detections(Result):
    """Result of one image; see :class:`mmvitlin.apis.inferencer.Result`.

    Attributes:
        boxes: (n, 4) float32, x₁ y₁ x₂ y₂ in pixels of the image, best scores first; None where
            ``error`` is set.
        scores: (n, ) float32.
        labels: (n, ) int64 class numbers.
        masks: (n, H, W) bool, of networks that give masks.
        segments: (H, W) int32, class + 1000 · number of the instance, of panoptic networks; the
            number of classes where there is no segment. Saved as COCO's panoptic PNGs are coded
            (red + 256 · green + 256² · blue), 0 where there is no segment, else one larger, with
            :meth:`segments_info` as JSON beside it.
    """
    KINDS = {'overlay': '.png', 'detections': '.json', 'segments': '.png'}
    boxes: np.ndarray | None = None
    scores: np.ndarray | None = None
    labels: np.ndarray | None = None
    masks: np.ndarray | None = None
    segments: np.ndarray | None = None

    def overlay(self) -> np.ndarray:
        """The image with boxes, names, scores and masks, (H, W, 3) uint8 RGB."""
        return draw_instances(self.image, self.classes, self.palette, self.boxes, self.labels,
                              self.scores, self.masks, self.segments)

    def as_list(self) -> list[dict]:
        """In COCO's forms: category, score, bbox (x, y, width, height), run-length mask."""
        from pycocotools.mask import encode
        entries = []
        for n, (box, score, label) in enumerate(zip(self.boxes.tolist(), self.scores.tolist(),
                                                    self.labels.tolist(), strict=True)):
            x, y, right, bottom = box
            entry = dict(category=str(self.classes[label]), label=label, score=round(score, 4),
                         bbox=[round(v, 2) for v in (x, y, right - x, bottom - y)])
            if self.masks is not None:
                mask = encode(np.asfortranarray(self.masks[n], np.uint8))
                entry['segmentation'] = dict(mask, counts=mask['counts'].decode())
            entries.append(entry)
        return entries

    def numbers(self) -> np.ndarray:
        """Number of the segment of each pixel, (H, W), from 1; 0 where there is none."""
        return np.where(self.segments % 1000 < len(self.classes), self.segments + 1, 0)

    def segments_info(self) -> list[dict]:
        """Of each segment id (its number), category, label, area and bbox (x, y, width, height)."""
        segments, numbers = [], self.numbers()
        for number in np.unique(numbers[numbers > 0]).tolist():
            rows, columns = np.nonzero(numbers == number)
            (x, y), label = (columns.min(), rows.min()), (number - 1) % 1000
            segments.append(dict(
                id=number, category=str(self.classes[label]), label=label, area=len(rows),
                bbox=[int(v) for v in (x, y, columns.max() + 1 - x, rows.max() + 1 - y)]))
        return segments

    def _write(self, kind: str, path: Path) -> None:
        if kind == 'detections':
            write_whole(f'{json.dumps(self.as_list())}\n'.encode(), path, sync=False)
        elif kind == 'overlay':
            self._save_png(self.overlay(), path)
        elif self.segments is None:
            raise ConfigError('this network gives no panoptic segments')
        else:
            numbers = self.numbers()
            write_whole(f'{json.dumps(self.segments_info())}\n'.encode(),
                        path.with_suffix('.json'), sync=False)
            self._save_png(np.stack([numbers % 256, numbers // 256 % 256, numbers // 65536],
                                    axis=-1).astype(np.uint8), path)


class DetInferencer(Inferencer):
    """Runs a trained detector on images of any size and kind.

    Args:
        config: Config file of the detector.
        checkpoint: What training with that config wrote.
        device: See :class:`mmvitlin.apis.inferencer.Inferencer`.
        precision: See there.
        scale: See there.
        score: Detections below it are left out.
        cfg_options: Changes to the config, as ``--cfg-options``.
        check_memory: See there.

    Raises:
        ConfigError: mmdet or mmcv's compiled ops are missing, no such config, or an unknown
            precision, scale or score.
        CheckpointError: a checkpoint of another model.

    Example:
        >>> config = 'configs/det/mask-rcnn_adventurer-base_coco-1024.py'
        >>> infer = DetInferencer(config, 'epoch_100.pth')
        >>> for result in infer.stream('photos/'):
        ...     if result.error is None:
        ...         result.save('out')
    """
    result = Detections
    default_scope = 'mmdet'
    kept_size = (dict(type='Resize', scale_factor=1., keep_ratio=True), )  # detectors ask for it

    def __init__(self,
                 config: str,
                 checkpoint: str,
                 device: str | None = None,
                 precision: str = 'fp32',
                 scale: str | float | tuple[int, int] | None = None,
                 score: float = 0.3,
                 cfg_options: dict | None = None,
                 check_memory: bool = True):
        if not 0 <= score <= 1:
            raise ConfigError(f'score (--score) is from 0 to 1, got {score}')
        self.score = score
        super().__init__(config, checkpoint, device, precision, scale, cfg_options, check_memory)

    @property
    def num_classes(self) -> int:
        """Of the head."""
        for path in ('roi_head.bbox_head', 'bbox_head', 'panoptic_fusion_head'):
            head = self.model
            for name in path.split('.'):
                head = getattr(head, name, None)
            head = head[0] if isinstance(head, torch.nn.ModuleList) else head
            if head is not None:
                return head.num_classes
        raise ConfigError(f'a {type(self.model).__name__} does not say its number of classes; give '
                          'the data set metainfo=dict(classes=(…))')

    def _fill(self, result: Detections, output) -> None:
        if 'pred_panoptic_seg' in output:
            result.segments = output.pred_panoptic_seg.sem_seg[0].cpu().numpy().astype(np.int32)
        instances = output.get('pred_instances')
        if instances is None:
            result.boxes = np.zeros((0, 4), np.float32)
            result.scores, result.labels = np.zeros(0, np.float32), np.zeros(0, np.int64)
            return
        kept = instances[instances.scores >= self.score].cpu()
        kept = kept[kept.scores.argsort(descending=True)]
        result.boxes = kept.bboxes.float().numpy()
        result.scores, result.labels = kept.scores.float().numpy(), kept.labels.numpy()
        if 'masks' in kept:
            result.masks = kept.masks.numpy().astype(bool)

    def _bytes_of_results(self, pixels: int) -> int:
        # masks at the size of the original: one byte each and copies, or several floats each
        if hasattr(self.model, 'panoptic_fusion_head'):
            return 4 * 4 * self.model.panoptic_head.num_queries * pixels
        return 4 * 100 * pixels if getattr(self.model, 'with_mask', False) else 0
