"""Panoptic quality, without panopticapi, which is on no package index."""
from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from mmvitlin.datasets.transforms.segments import read_segments
from mmvitlin.registry import METRICS

_MOST = 0.5  # of a union: above it a match is unique
_OFFSET = 1000  # mmdet's: class + 1000 · number of the instance


def match_segments(predicted: np.ndarray, segments: dict[int, int], labelled: np.ndarray,
                   truth: dict[int, tuple[int, bool]], num_classes: int) -> np.ndarray:
    """Compare the segments of one image.

    Args:
        predicted: (H, W) numbers of segments.
        segments: Number → class of the predicted segments.
        labelled: (H, W) numbers of segments, 0 for what is not labelled.
        truth: Number → (class, whether it is a crowd) of the labelled segments.
        num_classes: Classes.

    Returns:
        (num_classes, 4): for each class the sum of IoUs of matches, matches, predicted segments
        without a match, labelled segments without one.
    """
    counts = np.zeros((num_classes, 4))
    both = predicted.astype(np.int64) * 2**32 + labelled  # one number a pixel sorts fast
    pairs, areas = np.unique(both, return_counts=True)
    common = {(int(p) >> 32, int(p) & (2**32 - 1)): int(n)
              for p, n in zip(pairs, areas, strict=True)}
    area_predicted = dict.fromkeys(segments, 0)
    area_true = dict.fromkeys(truth, 0)
    void = dict.fromkeys(segments, 0)  # of each predicted segment where nothing is labelled
    crowds: dict[int, int] = dict.fromkeys(segments, 0)  # and inside a crowd of its class
    for (p, t), n in common.items():
        if p in segments:
            area_predicted[p] += n
            if t not in truth:
                void[p] += n
            elif truth[t] == (segments[p], True):
                crowds[p] += n
        if t in truth:
            area_true[t] += n
    matched_predicted, matched_true = set(), set()
    for (p, t), n in common.items():
        if p not in segments or t not in truth or truth[t] != (segments[p], False):
            continue
        iou = n / (area_predicted[p] + area_true[t] - n - void[p])
        if iou > _MOST:
            counts[segments[p], :2] += iou, 1
            matched_predicted.add(p)
            matched_true.add(t)
    for p, cls in segments.items():
        left_alone = void[p] + crowds[p] > _MOST * area_predicted[p]
        counts[cls, 2] += area_predicted[p] > 0 and p not in matched_predicted and not left_alone
    for t, (cls, crowd) in truth.items():
        counts[cls, 3] += area_true[t] > 0 and not crowd and t not in matched_true
    return counts


def quality(counts: np.ndarray) -> dict[str, float]:
    """PQ, SQ and RQ in percent, means over the classes that occur, from :func:`match_segments`."""
    ious, hits, wrong, missed = counts.T
    present = hits + wrong + missed > 0
    if not present.any():
        return dict(PQ=0., SQ=0., RQ=0.)
    recognition = hits[present] / (hits + 0.5 * wrong + 0.5 * missed)[present]
    segmentation = ious[present] / np.maximum(hits[present], 1)
    return {name: round(100 * float(np.mean(value)), 2) for name, value in (
        ('PQ', recognition * segmentation), ('SQ', segmentation), ('RQ', recognition))}


@METRICS.register_module()
class PanopticQuality(BaseMetric):
    """PQ = Σ IoU of matches / (matches + ½ surplus + ½ missed), mean over classes.

    A match is a pair of one class that shares more than half of its union. Unlabelled pixels do
    not count, and a predicted segment that lies mostly in them or in a crowd of its class is no
    surplus. Data samples need ``seg_map_path`` and ``segments_info`` among their ``meta_keys``, and
    ``ignores_orientation`` where the images stay as they are stored.

    Gives ``PQ``, ``SQ`` (mean IoU of matches) and ``RQ`` (their F₁) of all classes, and with the
    suffixes ``_things`` and ``_stuff``.

    Source: Kirillov et al., Panoptic Segmentation (arXiv 1801.00868), section 4.
    """
    default_prefix = 'panoptic'

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Compare each image; see mmengine."""
        num_classes, num_things = self._classes()
        for sample in data_samples:
            predicted = sample['pred_panoptic_seg']['sem_seg'][0].cpu().numpy()
            segments = {int(n): int(n) % _OFFSET for n in np.unique(predicted)}
            segments = {n: cls for n, cls in segments.items() if cls < num_classes}
            # mmdet marks a crowd as a segment of a thing's class that is no thing
            truth = {s['id']: (s['category'], not s['is_thing'] and s['category'] < num_things)
                     for s in sample['segments_info']}
            labelled = read_segments(sample['seg_map_path'], predicted.shape, truth,
                                     sample.get('ignores_orientation', False))
            self.results.append(match_segments(predicted, segments, labelled, truth, num_classes))

    def _classes(self) -> tuple[int, int]:
        return len(self.dataset_meta['classes']), len(self.dataset_meta['thing_classes'])

    def compute_metrics(self, results: list[np.ndarray]) -> dict[str, float]:
        """See mmengine."""
        classes, things = self._classes()
        counts = np.sum([np.zeros((classes, 4)), *results], axis=0)
        if not counts[:, [1, 3]].any():
            print_log(f'the labels of {len(results)} images have no segment of the classes, so '
                      'panoptic quality says nothing', logger='current', level=logging.WARNING)
        return {f'{name}{suffix}': value for suffix, part in (
            ('', counts), ('_things', counts[:things]), ('_stuff', counts[things:]))
            for name, value in quality(part).items()}
