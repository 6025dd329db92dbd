"""Batches on their way to the device, without waiting for it."""
from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.model import ImgDataPreprocessor
from torch import Tensor
from torch.overrides import TorchFunctionMode

from mmvitlin.registry import MODELS


def on_device(tensors: Sequence[Tensor], device: torch.device,
              sides: tuple[int, int] | None = None, fill: float = 0) -> Tensor:
    """Tensors of one type as one tensor on the device, each copied to its place.

    From pinned memory (``pin_memory=True`` of a loader) without waiting for the copies.

    Args:
        tensors: (…, h, w) each, of one shape unless ``sides`` are given.
        device: To copy them to.
        sides: Height and width of the result; smaller tensors lie in its upper left corner.
        fill: Value of the rest.
    """
    shape = (len(tensors), *tensors[0].shape[:-2], *(sides or tensors[0].shape[-2:]))
    whole = all(t.shape == shape[1:] for t in tensors)
    batch = torch.empty(shape, dtype=tensors[0].dtype, device=device) if whole else torch.full(
        shape, fill, dtype=tensors[0].dtype, device=device)
    for place, tensor in zip(batch, tensors, strict=True):
        corner = place[..., :tensor.shape[-2], :tensor.shape[-1]]
        corner.copy_(tensor, non_blocking=True)
    return batch


class WithoutWaiting(TorchFunctionMode):
    """Code of other libraries as it is, but for its waits while a batch goes to the device.

    ``tensor.to(device)`` does not wait for the copy, and permutations that are drawn on the host
    are copied to the device before they index there, for which torch waits. Values are the same.

    Args:
        device: Of the batch.
    """

    def __init__(self, device: torch.device):
        super().__init__()
        self.device = device

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.to and len(args) == 2:  # and not with the flag as an argument
            kwargs['non_blocking'] = True
        result = func(*args, **kwargs)
        if func is torch.randperm:
            result = result.to(self.device, non_blocking=True)
        return result


@MODELS.register_module()
class ImagePreprocessor(ImgDataPreprocessor):
    """mmengine's ``ImgDataPreprocessor`` that never makes the host wait for the device.

    A batch that is one tensor, of ``collate_fn=dict(type='default_collate')``, is copied to the
    device as it is, uint8 mostly, without waiting for the copy, and images of one size that come
    one by one are copied into one tensor there; mmengine's turns BGR to RGB by indices that it
    copies from pageable memory, and copies what needs no padding. Data samples stay on the host:
    nothing reads labels from them. Values are the same.

    Args:
        **kwargs: As mmengine's, ``non_blocking`` being True unless said otherwise.
    """

    def __init__(self, *args, **kwargs):
        kwargs.setdefault('non_blocking', True)
        super().__init__(*args, **kwargs)

    def forward(self, data: dict, training: bool = False) -> dict:
        """Normalised images (B, 3, H, W), float32, as 'inputs'; the rest of ``data`` as it is."""
        images = data['inputs']
        several = isinstance(images, (list, tuple)) and len({(x.shape, x.dtype) for x in images})
        sides = images[0].shape[-2:]
        if (several not in (False, 1) or images[0].dim() != 3
                or any(side % self.pad_size_divisor for side in sides)):
            return super().forward(data, training)
        images = on_device(images, self.device) if several else self.cast_data(images)
        if self._channel_conversion:
            images = images.flip(1)
        images = images.float()
        if self._enable_normalize:
            images = (images - self.mean).div_(self.std)
        return dict(data, inputs=images)
