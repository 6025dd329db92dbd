"""What timing a network needs beside images: random labels, and one number to differentiate."""
from __future__ import annotations

import torch
import torch.nn as nn


def labelled(net: nn.Module, images: torch.Tensor) -> list | None:
    """Data samples with random labels for a training step."""
    if hasattr(net, 'decode_head'):
        from mmengine.structures import PixelData
        from mmseg.structures import SegDataSample
        samples = []
        for image in images:
            size = tuple(image.shape[1:])
            sample = SegDataSample(metainfo=dict(img_shape=size, ori_shape=size, pad_shape=size))
            labels = torch.randint(0, net.num_classes, (1, *size), device=image.device)
            samples.append(sample.set_data(dict(gt_sem_seg=PixelData(data=labels))) or sample)
        return samples
    if is_detector(net):
        return [detection_sample(image) for image in images]
    if type(net).__module__.startswith('mmpretrain'):
        from mmpretrain.structures import DataSample
        return [DataSample().set_gt_label(0).to(str(images.device)) for _ in images]
    return None


def is_detector(net: nn.Module) -> bool:
    """Whether a network is one of mmdet's."""
    return type(net).__module__.startswith('mmdet.')


def detection_sample(image: torch.Tensor):
    """A data sample with a few boxes and masks; a detector needs it in inference too."""
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData
    height, width = image.shape[1:]
    sample = DetDataSample(metainfo=dict(
        img_shape=(height, width), ori_shape=(height, width), pad_shape=(height, width),
        batch_input_shape=(height, width), scale_factor=(1., 1.), img_id=0))
    boxes = torch.tensor([[0.1, 0.1, 0.4, 0.5], [0.5, 0.3, 0.9, 0.8], [0.2, 0.6, 0.35, 0.7]],
                         device=image.device)
    boxes = boxes * boxes.new_tensor([width, height, width, height])
    masks = torch.zeros(len(boxes), height, width, dtype=torch.uint8)
    for mask, (left, top, right, bottom) in zip(masks, boxes.int().tolist(), strict=True):
        mask[top:bottom, left:right] = 1
    sample.gt_instances = InstanceData(
        bboxes=boxes, labels=torch.zeros(len(boxes), dtype=torch.long, device=image.device),
        masks=BitmapMasks(masks.numpy(), height, width))
    sample.ignored_instances = InstanceData(bboxes=boxes[:0], labels=boxes.new_zeros(0).long())
    return sample


def total(output) -> torch.Tensor:
    """One number to differentiate: the sum of the losses, or of the squares of features."""
    if isinstance(output, dict):
        losses = [v for k, v in output.items() if 'loss' in k]
        return sum(v if isinstance(v, torch.Tensor) else sum(v) for v in losses)
    tensors = output if isinstance(output, (tuple, list)) else [output]
    return sum(t.float().square().mean() for t in tensors)
