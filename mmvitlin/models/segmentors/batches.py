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
    """mmseg's ``SegDataPreProcessor``, with few operators and without waiting for copies.

    In training, each image and label map is copied to its place in one tensor on the device, which
    has the padding already where a crop is smaller, without waiting where they come from pinned
    memory (``pin_memory=True`` of the loader), and the batch is normalised at once; labels of the
    samples are views of one tensor. mmseg copies, normalises and pads them one by one. Anything
    else is left to mmseg. Values are the same.

    Args:
        **kwargs: As mmseg's.
    """

    def forward(self, data: dict, training: bool = False) -> dict:
        """Normalised images (B, 3, H, W) as 'inputs', samples with labels on the device."""
        images, samples = data['inputs'], data.get('data_samples')
        sides = self._sides(images, samples) if training and samples is not None else None
        if sides is None:
            return super().forward(data, training)
        batch = on_device(images, self.device, sides)
        if self._channel_conversion and batch.shape[1] == 3:
            batch = batch.flip(1)
        batch = batch.float()
        if self._enable_normalize:
            batch = (batch - self.mean).div_(self.std)
        for image, padded in zip(images, batch, strict=True):
            height, width = image.shape[-2:]
            if (height, width) != sides:  # padding is not normalised
                padded[:, height:] = self.pad_val
                padded[:, :height, width:] = self.pad_val
        labels = on_device([s.gt_sem_seg.data for s in samples], self.device, sides,
                           self.seg_pad_val)
        return dict(inputs=batch, data_samples=[
            self._sample(s, one) for s, one in zip(samples, labels, strict=True)])

    def _sides(self, images: Sequence[Tensor], samples: Sequence[SegDataSample]
               ) -> tuple[int, int] | None:
        """Height and width of the batch; None where it is left to mmseg: images and labels of other
        shapes or types, or samples with more than labels."""
        maps = [s.gt_sem_seg.data for s in samples if 'gt_sem_seg' in s]
        more = ('gt_edge_map', 'gt_depth_map')
        if (self.batch_augments is not None or len(maps) != len(images)
                or any(name in s for s in samples for name in more)):
            return None
        if any(len({(*x.shape[:-2], x.dtype) for x in tensors}) > 1 for tensors in (images, maps)):
            return None
        if any(x.shape[-2:] != y.shape[-2:] for x, y in zip(images, maps, strict=True)):
            return None
        sides = [tuple(x.shape[-2:]) for x in images]
        if self.size is not None and self.size_divisor is not None:
            return None  # which refuses it
        if self.size is not None:  # each to it, or as it is where it is larger
            padded = {tuple(map(max, own, self.size[-2:])) for own in sides}
            return padded.pop() if len(padded) == 1 else None
        step = self.size_divisor or 1
        return tuple(-(-max(lengths) // step) * step for lengths in zip(*sides, strict=True))

    def _sample(self, sample: SegDataSample, labels: Tensor) -> SegDataSample:
        made, pixels = sample.new(), sample.gt_sem_seg.new()
        del made.gt_sem_seg
        made = made.to(self.device)
        del pixels.data  # labels of another shape are refused
        pixels.data = labels
        made.gt_sem_seg = pixels
        own, sides = sample.gt_sem_seg.data.shape[-2:], tuple(labels.shape[-2:])
        made.set_metainfo(dict(img_shape=own, pad_shape=sides,
                               padding_size=(0, sides[1] - own[1], 0, sides[0] - own[0])))
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
