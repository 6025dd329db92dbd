"""COCO's average precision, with that of ordinary objects for every category."""
from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from mmdet.datasets.api_wrappers import COCO, COCOeval
from mmdet.evaluation import CocoMetric
from mmengine.fileio import load

from mmvitlin import detection
from mmvitlin.registry import METRICS

detection.count_annotations_from_one()


class _BySize(COCOeval):
    """Ranges of area are shares of each image, not pixels."""

    def evaluateImg(self, imgId, catId, aRng, maxDet):
        image = self.cocoGt.imgs[imgId]
        pixels = image['height'] * image['width']
        return super().evaluateImg(imgId, catId, [share * pixels for share in aRng], maxDet)


@METRICS.register_module()
class InstanceMetric(CocoMetric):
    """mmdet's ``CocoMetric``, and the AP at an IoU of 0.5 of objects of ordinary size.

    COCO's own sizes are areas in pixels, whatever the image measures, and its table by category
    has no AP50 by size. Here objects below ``ordinary`` count neither as found nor as missed, as
    in COCO's own evaluation by size.

    Args:
        ordinary: Least area of an ordinary object, as a share of its image. COCO's medium objects
            begin at 32² pixels of an image of about 480×640, which is 1/300.
        **kwargs: Of ``CocoMetric``.

    Gives besides ``CocoMetric``'s values, in [0, 1], ``{bbox,segm}_AP50_ordinary``, the mean over
    categories that have such objects, and ``{bbox,segm}_AP50_ordinary_CATEGORY``.
    """

    def __init__(self, *args, ordinary: float = 1 / 300, **kwargs):
        super().__init__(*args, **kwargs)
        if not 0 <= ordinary < 1:
            raise ValueError(f'InstanceMetric: ordinary is a share of the image, 0 to 1, not '
                             f'{ordinary}')
        self.ordinary = ordinary

    def compute_metrics(self, results: list) -> dict[str, float]:
        """See mmengine."""
        usual = self.outfile_prefix
        with TemporaryDirectory() as folder:
            self.outfile_prefix = usual or f'{folder}/results'
            try:
                values = super().compute_metrics(results)
                if not self.format_only:
                    for kind in self.metrics:
                        if kind in ('bbox', 'segm'):
                            path = Path(f'{self.outfile_prefix}.{kind}.json')
                            values.update(self._by_category(kind, load(path)))
            finally:
                self.outfile_prefix = usual
        return values

    def _by_category(self, kind: str, found: list[dict]) -> dict[str, float]:
        truth = self._coco_api
        names = {c: truth.loadCats(c)[0]['name'] for c in self.cat_ids}
        if kind == 'segm':
            for one in found:  # else its area would be the box's
                one.pop('bbox', None)
        measured = _BySize(truth, truth.loadRes(found) if found else COCO(), kind)
        measured.params.catIds, measured.params.imgIds = self.cat_ids, self.img_ids
        measured.params.iouThrs = np.array([0.5])
        measured.params.maxDets = [100]
        measured.params.areaRng = [[self.ordinary, 1.]]
        measured.params.areaRngLbl = ['ordinary']
        measured.evaluate()
        measured.accumulate()
        precision = measured.eval['precision'][0, :, :, 0, 0]  # (recall, category), -1: no objects
        values = {f'{kind}_AP50_ordinary_{names[c]}': float(np.mean(column))
                  for c, column in zip(measured.params.catIds, precision.T, strict=True)
                  if column[0] >= 0}
        mean = float(np.mean(list(values.values()))) if values else float('nan')
        return {f'{kind}_AP50_ordinary': mean, **values}
