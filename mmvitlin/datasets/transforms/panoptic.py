"""Panoptic labels in COCO's form. Needs mmdet."""
from __future__ import annotations

import numpy as np
from mmdet.datasets.transforms import LoadAnnotations
from mmdet.structures.mask import BitmapMasks

from mmvitlin.datasets.transforms.segments import read_segments
from mmvitlin.registry import TRANSFORMS

IGNORED = 255


@TRANSFORMS.register_module()
class LoadPanoptic(LoadAnnotations):
    """Boxes, masks of things and semantic labels out of a panoptic PNG.

    Takes the samples of mmdet's ``CocoPanopticDataset`` and adds what its
    ``LoadPanopticAnnotations`` adds, which needs panopticapi.

    Args:
        with_bbox: Whether to add boxes and their labels.
        with_mask: Whether to add ``gt_masks``, one of each thing that is no crowd.
        with_seg: Whether to add ``gt_seg_map``, (H, W) int64 classes, 255 for what is unlabelled.

    Raises:
        UnreadableFileError: the PNG cannot be decoded, has another size than the image, or lacks
            a segment that is listed.
    """

    def __init__(self, with_bbox: bool = True, with_mask: bool = True, with_seg: bool = True):
        super().__init__(with_bbox=with_bbox, with_label=with_bbox, with_mask=with_mask,
                         with_seg=with_seg)

    def transform(self, results: dict) -> dict:
        """See mmdet."""
        if self.with_bbox:
            self._load_bboxes(results)
            self._load_labels(results)
        if not (self.with_mask or self.with_seg) or results.get('seg_map_path') is None:
            return results
        shape = results['ori_shape']
        segments = read_segments(results['seg_map_path'], shape,
                                 [s['id'] for s in results['segments_info']],
                                 results.get('ignores_orientation', False))
        labels, masks = np.full(shape, IGNORED, np.int64), []
        for segment in results['segments_info']:
            mask = segments == segment['id']
            labels[mask] = segment['category']
            if segment['is_thing']:
                masks.append(mask.astype(np.uint8))
        if self.with_mask:
            results['gt_masks'] = BitmapMasks(masks, *shape)
        if self.with_seg:
            results['gt_seg_map'] = labels
        return results
