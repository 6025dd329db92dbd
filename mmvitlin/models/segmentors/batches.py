"""Batches of segmentation: images and labels as one tensor each."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from mmseg.models import SegDataPreProcessor
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from mmvitlin.models.preprocessor import on_device
from mmvitlin.registry import MODELS


@MODELS.register_module()
class SegPreprocessor(SegDataPreProcessor):
    """mmseg's ``SegDataPreProcessor``, with few operators where nothing is to be padded.

    In training on crops of one size, each image and label map is copied to its place in one tensor
    on the device, without waiting where they come from pinned memory (``pin_memory=True`` of the
    loader), and the batch is normalised at once; labels of the samples are views of one tensor.
    mmseg copies, normalises and pads them one by one. Anything else is left to mmseg. Values are
    the same.

    Args:
        **kwargs: As mmseg's.
    """

    def forward(self, data: dict, training: bool = False) -> dict:
        """Normalised images (B, 3, H, W) as 'inputs', samples with labels on the device."""
        images, samples = data['inputs'], data.get('data_samples')
        if not training or samples is None or not self._fits(images, samples):
            return super().forward(data, training)
        batch = on_device(images, self.device)
        if self._channel_conversion and batch.shape[1] == 3:
            batch = batch.flip(1)
        batch = batch.float()
        if self._enable_normalize:
            batch = (batch - self.mean).div_(self.std)
        labels = on_device([s.gt_sem_seg.data for s in samples], self.device)
        return dict(inputs=batch, data_samples=[
            self._sample(s, one) for s, one in zip(samples, labels, strict=True)])

    def _fits(self, images: Sequence[Tensor], samples: Sequence[SegDataSample]) -> bool:
        """Whether all are of one shape and type that needs no padding, and have only labels."""
        maps = [s.gt_sem_seg.data for s in samples if 'gt_sem_seg' in s]
        more = ('gt_edge_map', 'gt_depth_map')
        if (self.batch_augments is not None or len(maps) != len(images)
                or any(name in s for s in samples for name in more)):
            return False
        if any(len({(x.shape, x.dtype) for x in tensors}) > 1 for tensors in (images, maps)):
            return False
        sides = images[0].shape[-2:]
        if maps[0].shape[-2:] != sides:
            return False
        if self.size is not None:
            return all(a >= b for a, b in zip(sides, self.size[-2:], strict=True))
        return not any(side % (self.size_divisor or 1) for side in sides)

    def _sample(self, sample: SegDataSample, labels: Tensor) -> SegDataSample:
        made, pixels = sample.new(), sample.gt_sem_seg.new()
        del made.gt_sem_seg
        made = made.to(self.device)
        pixels.data = labels
        made.gt_sem_seg = pixels
        sides = tuple(labels.shape[-2:])
        made.set_metainfo(dict(img_shape=torch.Size(sides), pad_shape=sides,
                               padding_size=(0, 0, 0, 0)))
        return made


class LabelsOnce:
    """Mixin of an ``EncoderDecoder``: its heads share one tensor of a batch's labels.

    In mmseg each head stacks the labels of the samples again. Heads that override this keep their
    own way.
    """

    def loss(self, inputs: Tensor, data_samples: list[SegDataSample]) -> dict[str, Tensor]:
        """See mmseg."""
        with _sharing(_heads_of(self), data_samples):
            return super().loss(inputs, data_samples)


def _heads_of(segmentor: nn.Module) -> list[BaseDecodeHead]:
    auxiliary = getattr(segmentor, 'auxiliary_head', None) or []
    heads = [segmentor.decode_head,
             *(auxiliary if isinstance(auxiliary, (nn.ModuleList, list)) else [auxiliary])]
    return [h for h in heads if isinstance(h, BaseDecodeHead)
            and type(h)._stack_batch_gt is BaseDecodeHead._stack_batch_gt]


@contextmanager
def _sharing(heads: Sequence[BaseDecodeHead], samples: Sequence[SegDataSample]) -> Iterator[None]:
    if not heads:
        yield
        return
    labels = stacked([s.gt_sem_seg.data for s in samples])
    try:
        for head in heads:
            head.__dict__['_stack_batch_gt'] = lambda samples: labels
        yield
    finally:
        for head in heads:
            head.__dict__.pop('_stack_batch_gt', None)


def stacked(maps: Sequence[Tensor]) -> Tensor:
    """Maps of one shape as one tensor: the one that they are parts of, or a new one."""
    whole = maps[0]._base
    if whole is not None and whole.shape == (len(maps), *maps[0].shape) and all(
            one._base is whole and one.data_ptr() == part.data_ptr()
            and one.stride() == part.stride() for one, part in zip(maps, whole, strict=True)):
        return whole
    return torch.stack(list(maps))
