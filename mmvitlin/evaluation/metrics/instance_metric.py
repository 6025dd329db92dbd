"""COCO's average precision, with that of ordinary objects for every category."""
from __future__ import annotations

import logging
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from mmdet.datasets.api_wrappers import COCO, COCOeval
from mmdet.evaluation import CocoMetric
from mmengine.fileio import load
from mmengine.logging import print_log

from mmvitlin.datasets.checks.annotations import number_from_one
from mmvitlin.registry import METRICS


class _BySize(COCOeval):
    """Ranges of area are shares of each image, not pixels."""

    def evaluateImg(self, imgId, catId, aRng, maxDet):
        image = self.cocoGt.imgs[imgId]
        pixels = image['height'] * image['width']
        return super().evaluateImg(imgId, catId, [share * pixels for share in aRng], maxDet)


_USUAL = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')


@METRICS.register_module()
class CocoScores(CocoMetric):
    """mmdet's ``CocoMetric``, which gives 0 where a network finds nothing in any image.

    mmdet then gives no value at all, which ends a run that needs one, such as for ``save_best`` at
    the first validation. Objects that the annotations do not have get no score: pycocotools gives
    -1, and the log says which ones and why. Without any image all scores are so. Files that number
    their annotations from 0 count like others
    (:func:`mmvitlin.datasets.checks.annotations.number_from_one`).

    Args:
        **kwargs: As mmdet's.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        coco = self._coco_api
        if coco is not None and number_from_one(coco.dataset.get('annotations') or []):
            with redirect_stdout(None):  # pycocotools prints its steps
                coco.createIndex()
            coco.img_ann_map, coco.cat_img_map = coco.imgToAnns, coco.catToImgs

    def compute_metrics(self, results: list) -> dict[str, float]:
        """See mmengine."""
        values = self._scores(results)
        none = sorted(k for k, v in values.items() if isinstance(v, (int, float)) and not v >= 0)
        if none:
            print_log(f'no score (-1 or NaN) for {", ".join(none)}: {self._why(len(results))}',
                      logger='current', level=logging.WARNING)
        return values

    def _scores(self, results: list) -> dict[str, float]:
        values = dict(super().compute_metrics(results)) if results else {}
        if not self.format_only:
            for kind in self.metrics:
                if kind in ('bbox', 'segm'):
                    for item in self.metric_items or _USUAL:
                        values.setdefault(f'{kind}_{item}',
                                          0. if results and self._objects() else -1.)
        return values

    def _objects(self) -> int:
        """Objects to be found."""
        truth = self._coco_api
        return sum(not truth.anns[n].get('iscrowd') for n in truth.getAnnIds(
            imgIds=self.img_ids, catIds=self.cat_ids))

    def _why(self, images: int) -> str:
        """What is missing in the annotations, as text."""
        if not images:
            return 'no image was evaluated'
        if self._objects():
            return 'the annotations have only objects of other sizes or categories'
        return f'the annotations of the {images} images have no object of the classes'


@METRICS.register_module()
class InstanceMetric(CocoScores):
    """:class:`CocoScores`, and the AP at an IoU of 0.5 of objects of ordinary size.

    COCO's own sizes are areas in pixels, whatever the image's size, and its table by category
    has no AP50 by size. Here objects below ``ordinary`` count neither as found nor as missed, as
    in COCO's own evaluation by size.

    Args:
        ordinary: Least area of an ordinary object, as a share of its image. COCO's medium objects
            begin at 32² pixels of an image of about 480×640, which is 1/300.
        **kwargs: As mmdet's.

    Gives besides ``CocoMetric``'s values, in [0, 1], ``{bbox,segm}_AP50_ordinary``, the mean over
    categories that have such objects, and ``{bbox,segm}_AP50_ordinary_CATEGORY``.
    """

    def __init__(self, *args, ordinary: float = 1 / 300, **kwargs):
        super().__init__(*args, **kwargs)
        if not 0 <= ordinary < 1:
            raise ValueError(f'InstanceMetric: ordinary is a share of the image, 0 to 1, not '
                             f'{ordinary}')
        self.ordinary = ordinary

    def _scores(self, results: list) -> dict[str, float]:
        if not results:
            return super()._scores(results)
        usual = self.outfile_prefix
        with TemporaryDirectory() as folder:
            self.outfile_prefix = usual or f'{folder}/results'
            try:
                values = super()._scores(results)
                if not self.format_only:
                    for kind in self.metrics:
                        if kind in ('bbox', 'segm'):
                            path = Path(f'{self.outfile_prefix}.{kind}.json')
                            values.update(self._by_category(kind, load(path)))
            finally:
                self.outfile_prefix = usual
        return values

    def _by_category(self, kind: str, detections: list[dict]) -> dict[str, float]:
        truth = self._coco_api
        names = {c: truth.loadCats(c)[0]['name'] for c in self.cat_ids}
        if kind == 'segm':
            for detection in detections:  # else its area would be the box's
                detection.pop('bbox', None)
        measured = _BySize(truth, truth.loadRes(detections) if detections else COCO(), kind)
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
