"""Test-time augmentation strip by strip."""
from __future__ import annotations

from mmengine.model import BaseTTAModel
from mmengine.structures import PixelData
from torch import Tensor

from mmvitlin.registry import MODELS


@MODELS.register_module()
class HighResTTAModel(BaseTTAModel):
    """As ``mmseg.SegTTAModel`` around a :class:`HighResSegmentor`, in bounded memory.

    Class probabilities of all augmented views (scales, flips) are averaged strip by strip; of each
    view only its coarse score map is held.
    """

    def test_step(self, data: dict) -> list:
        """Labels of a batch from its augmented views.

        Args:
            data: inputs and data_samples, each view by view, each view a list over the batch.
        """
        views = [{k: v[n] for k, v in data.items()} for n in range(len(data['inputs']))]
        segmentor, sources, first = self.module, [], None
        for view in views:
            view = segmentor.data_preprocessor(view, False)
            sources.append(segmentor.row_sources(view['inputs'], view['data_samples'], keep=True))
            first = first or view['data_samples']
        for sample, of_image in zip(first, zip(*sources, strict=True), strict=True):
            decided: dict[str, Tensor] = segmentor.decide(of_image)
            sample.set_data({k: PixelData(data=v) for k, v in decided.items()})
        return first

    def merge_preds(self, data_samples_list: list) -> list:
        """Not used: views are merged before labels are decided."""
        raise NotImplementedError('views are merged in test_step')
