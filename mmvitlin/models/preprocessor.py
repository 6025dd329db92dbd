"""Normalisation of a whole batch at once."""
from __future__ import annotations

from mmengine.model import ImgDataPreprocessor
from torch import Tensor

from mmvitlin.registry import MODELS


@MODELS.register_module()
class ImagePreprocessor(ImgDataPreprocessor):
    """mmengine's ``ImgDataPreprocessor`` that never makes the host wait for the device.

    A batch that is one tensor, of ``collate_fn=dict(type='default_collate')``, is copied to the
    device as it is, uint8 mostly, without waiting for the copy; mmengine's turns BGR to RGB by
    indices that it copies from pageable memory, and copies what needs no padding. Data samples
    stay on the host: nothing reads labels from them. Values are the same.

    Args:
        **kwargs: As mmengine's, ``non_blocking`` being True unless said otherwise.
    """

    def __init__(self, *args, **kwargs):
        kwargs.setdefault('non_blocking', True)
        super().__init__(*args, **kwargs)

    def forward(self, data: dict, training: bool = False) -> dict:
        """Normalised images (B, 3, H, W), float32, as 'inputs'; the rest of ``data`` as it is."""
        images = data['inputs']
        if not isinstance(images, Tensor) or images.dim() != 4 or any(
                side % self.pad_size_divisor for side in images.shape[-2:]):
            return super().forward(data, training)
        images = self.cast_data(images)
        if self._channel_conversion:
            images = images.flip(1)
        images = images.float()
        if self._enable_normalize:
            images = (images - self.mean).div_(self.std)
        return dict(data, inputs=images)
