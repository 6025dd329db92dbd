"""Segmentation of whole large images without full-size logits."""
from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.logging import print_log
from mmengine.structures import PixelData
from mmseg.models.decode_heads import Mask2FormerHead, MaskFormerHead
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.segmentors import EncoderDecoder
from mmseg.structures import SegDataSample
from torch import Tensor

from mmvitlin.compat.mmseg import accuracy_without_masks
from mmvitlin.models.decode_heads.eomt_head import EoMTHead
from mmvitlin.models.segmentors.batches import LabelsOnce
from mmvitlin.ops.strips import (
    CroppedRows,
    FlippedRows,
    MapRows,
    MaskClassRows,
    ResizedRows,
    RowSource,
    WindowRows,
)
from mmvitlin.registry import MODELS


@MODELS.register_module()
class HighResSegmentor(LabelsOnce, EncoderDecoder):
    """An ``EncoderDecoder`` whose test path never holds C×H×W scores.

    mmseg scales the head's output up to the input's size, then to the original image's, holds
    both, and takes the maximum of the second. Here each strip of rows is scaled and reduced to
    labels by itself. Labels are mmseg's but for numerical ties, int64 as mmseg's metrics expect
    them; there is no ``seg_logits`` among the results. Training is mmseg's, but for labels that are
    stacked once for all heads.

    Args:
        test_cfg: As mmseg's (``mode='whole'``, or ``mode='slide'`` with crop_size and stride), and
            ``strip_mib``: MiB that making a strip of scores may take (by default 32, which fits a
            processor's caches, and a quarter of what is free on a GPU, see :func:`strip_mib`);
            ``top_k``: also give the k most probable classes of each pixel, ``top_classes`` (k, H,
            W) in the smallest integer type, and ``top_probs``, float16; ``probabilities``: also
            give all of them, ``class_probs`` (C, H, W) in float16, which has full size (for a head
            with one channel these are of background and foreground); ``compact_labels``:
            ``pred_sem_seg`` in the smallest integer type, for very large images.
        **kwargs: As mmseg's.

    Raises:
        ValueError: an unknown mode, or slide mode without two sizes, (height, width), of each, or
            with gaps between windows.
    """

    def __init__(self, *args, test_cfg: dict | None = None, **kwargs):
        accuracy_without_masks()
        super().__init__(*args, test_cfg=test_cfg, **kwargs)
        self._said = False  # of the head
        cfg = self.test_cfg = dict(mode='whole') if self.test_cfg is None else self.test_cfg
        if cfg.get('mode', 'whole') not in ('whole', 'slide'):
            raise ValueError(f"test_cfg.mode must be 'whole' or 'slide', got '{cfg['mode']}'")
        if cfg.get('mode') == 'slide' and not (cfg.get('crop_size') and cfg.get('stride')):
            raise ValueError("test_cfg.mode='slide' needs test_cfg.crop_size and test_cfg.stride")
        for key in ('crop_size', 'stride') if cfg.get('mode') == 'slide' else ():
            if not isinstance(cfg[key], (list, tuple)) or len(cfg[key]) != 2:
                raise ValueError(f'test_cfg.{key} must be (height, width), got {cfg[key]!r}')
        if cfg.get('mode') == 'slide' and not all(
                0 < stride <= crop for stride, crop in zip(cfg['stride'], cfg['crop_size'],
                                                           strict=True)):
            raise ValueError(f"test_cfg.stride {tuple(cfg['stride'])} must be positive and at most "
                             f"test_cfg.crop_size {tuple(cfg['crop_size'])}, or windows leave gaps")

    def predict(self, inputs: Tensor, data_samples: list[SegDataSample] | None = None
                ) -> list[SegDataSample]:
        """Labels of (B, 3, H, W) at each image's original size.

        Returns:
            Data samples with ``pred_sem_seg`` (1, H, W), int64.
        """
        sources = self.row_sources(inputs, data_samples)
        if data_samples is None:
            data_samples = [SegDataSample() for _ in sources]
        for sample, source in zip(data_samples, sources, strict=True):
            decided = self.decide([source])
            sample.set_data({k: PixelData(data=v) for k, v in decided.items()})
        return data_samples

    def row_sources(self, inputs: Tensor, data_samples: list[SegDataSample] | None = None,
                    keep: bool = False) -> list[RowSource]:
        """Scores of each image at its original size, to be read strip by strip.

        Args:
            inputs: (B, 3, H, W).
            data_samples: Their metadata; None for none.
            keep: The rows will be read more than once, or not from top to bottom.
        """
        size = tuple(inputs.shape[2:])
        metas = [s.metainfo for s in data_samples] if data_samples is not None else \
            [dict(ori_shape=size, img_shape=size, pad_shape=size)] * len(inputs)
        if self.test_cfg.get('mode', 'whole') == 'whole':
            first = metas[0]
            target = tuple(first.get('pad_shape', first['img_shape']))[:2]
            sources = self._coarse(inputs, metas, target)
        else:
            sources = [self._windows(inputs[i:i + 1], metas[i:i + 1], keep)
                       for i in range(len(inputs))]
        if data_samples is None:
            return sources
        return [self._as_original(source, meta)
                for source, meta in zip(sources, metas, strict=True)]

    def _coarse(self, inputs: Tensor, metas: Sequence[dict], size: Sequence[int]
                ) -> list[RowSource]:
        """Scores of each image of a batch at ``size``."""
        head, features = self.decode_head, self.extract_feat(inputs)
        if isinstance(head, (EoMTHead, Mask2FormerHead)):
            samples = () if isinstance(head, EoMTHead) else ([SegDataSample(metainfo=m)
                                                              for m in metas], )
            classes, masks = (x[-1] for x in head(features, *samples))
            classes = classes.softmax(-1)[..., :-1]
            return [MaskClassRows(ResizedRows(MapRows(m), size), c)
                    for m, c in zip(masks, classes, strict=True)]
        if type(head).predict is BaseDecodeHead.predict \
                and type(head).predict_by_feat is BaseDecodeHead.predict_by_feat:
            return [ResizedRows(MapRows(scores), size, self.align_corners)
                    for scores in head(features)]
        if not self._said:
            print_log(f'{type(head).__name__} computes its scores in its own way, so they are held '
                      'at the input\'s size', logger='current')
            self._said = True
        metas = [dict(m, img_shape=torch.Size(size), pad_shape=tuple(size)) for m in metas]
        return [MapRows(scores, isinstance(head, MaskFormerHead))
                for scores in head.predict(features, metas, self.test_cfg)]

    def _windows(self, image: Tensor, metas: Sequence[dict], keep: bool) -> RowSource:

        def run(y1: int, y2: int, x1: int, x2: int) -> RowSource:
            return self._coarse(image[:, :, y1:y2, x1:x2], metas, (y2 - y1, x2 - x1))[0]

        cfg, backwards = self.test_cfg, metas[0].get('flip_direction') == 'vertical'
        return WindowRows(tuple(image.shape[2:]), cfg['crop_size'], cfg['stride'],
                          self.out_channels, run, keep or backwards)

    def _as_original(self, source: RowSource, meta: dict) -> RowSource:
        padding = meta.get('img_padding_size', meta.get('padding_size', [0] * 4))
        if any(padding):
            source = CroppedRows(source, padding)
        if meta.get('flip'):
            source = FlippedRows(source, meta.get('flip_direction'))
        return ResizedRows(source, meta['ori_shape'][:2], self.align_corners)

    def decide(self, sources: Sequence[RowSource]) -> dict[str, Tensor]:
        """Labels, and other outputs that ``test_cfg`` names, of the mean over sources.

        Args:
            sources: Scores of one image, several for test-time augmentation: then their
                labels are mmseg's, of the mean of softmaxes of the scores; probabilities are the
                mean of each source's.

        Returns:
            ``pred_sem_seg`` (1, H, W), and ``top_classes``, ``top_probs``, ``class_probs``.
        """
        (height, width), classes = sources[0].size, self.out_channels
        small = torch.uint8 if classes <= 255 else torch.int16
        label_type = small if self.test_cfg.get('compact_labels') else torch.int64
        top, everything = self.test_cfg.get('top_k', 0), self.test_cfg.get('probabilities', False)
        outputs: dict[str, Tensor] = {}

        def put(name: str, a: int, b: int, values: Tensor, kind: torch.dtype) -> None:
            if name not in outputs:
                outputs[name] = values.new_empty(len(values), height, width, dtype=kind)
            outputs[name][:, a:b] = values

        merged = len(sources) > 1
        cost = max(source.cost() for source in sources)
        mebibytes = self.test_cfg.get('strip_mib') or strip_mib(next(self.parameters()).device)
        for a, b, scores in sources[0].strips(mebibytes, cost):
            shares = None  # of sums over queries, which are no logits
            if (top or everything) and sources[0].are_probabilities:
                shares = _shares(scores) / len(sources)
            if merged:
                scores = self._probabilities(scores)
                for other in sources[1:]:
                    rows = other.rows(a, b)
                    if shares is not None:
                        shares += _shares(rows) / len(sources)
                    scores += self._probabilities(rows)
                scores.div_(len(sources))
            put('pred_sem_seg', a, b, self._labels(scores, merged), label_type)
            if not top and not everything:
                continue
            if shares is not None:
                scores = shares
            elif not merged:
                scores = self._probabilities(scores)
            if classes == 1:
                scores = torch.cat([1 - scores, scores])
            if top:
                values, indices = scores.topk(min(top, len(scores)), dim=0)
                put('top_probs', a, b, values, torch.float16)
                put('top_classes', a, b, indices, small)
            if everything:
                put('class_probs', a, b, scores, torch.float16)
        return outputs

    def _probabilities(self, scores: Tensor) -> Tensor:
        return scores.softmax(0) if self.out_channels > 1 else scores.sigmoid()

    def _labels(self, scores: Tensor, a_probability: bool) -> Tensor:
        if self.out_channels > 1:
            return scores.max(0, keepdim=True).indices  # argmax takes up to six times as long
        return (scores if a_probability else scores.sigmoid()) > self.decode_head.threshold


def _shares(scores: Tensor) -> Tensor:
    return scores / scores.sum(0).clamp_min(1e-12)


def strip_mib(device: torch.device) -> float:
    """MiB that making a strip of scores may take on a device.

    Small strips stay in the caches of a processor. On a GPU each strip is a round of kernels, so
    that few large ones are better: a quarter of the memory that is free, with what torch keeps
    for itself, at least 32 MiB.
    """
    if device.type != 'cuda':
        return 32.
    free = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device) \
        - torch.cuda.memory_allocated(device)
    return max(free / 4 / 2**20, 32.)
