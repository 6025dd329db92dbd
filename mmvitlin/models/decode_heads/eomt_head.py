"""EoMT: masks and classes from queries among the tokens of a plain backbone's last layers."""
from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmengine.model import BaseModule
from timm.layers import LayerNorm2d
from torch import Tensor

from mmvitlin.models.backbones.token_stream import TokenStream
from mmvitlin.models.losses.mask_set import MaskSetLoss
from mmvitlin.models.losses.mask_targets import ClassMasks, InstanceMasks
from mmvitlin.registry import MODELS
from mmvitlin.utils.errors import ConfigError


class UpscaleBlock(nn.Sequential):
    """A map of twice the size: transposed and depthwise convolution, and a norm.

    Args:
        channels: C, in and out.

    Source: EoMT (arXiv 2503.19108), section 3.2.
    """

    def __init__(self, channels: int):
        super().__init__(nn.ConvTranspose2d(channels, channels, 2, stride=2), nn.GELU(),
                         nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
                         LayerNorm2d(channels))


class EoMTBase(BaseModule):
    """Base of the semantic and the panoptic head.

    Queries join the tokens of a backbone with ``out_type='stream'`` and go through its last layers
    with them. Before each of those layers in training, and after the last one always, the
    backbone's final norm, one linear layer and one small network predict for every query a class
    and, by a product with the patches' map, a mask.

    In training a query sees, with a certain probability, only the patches of its current mask.
    :class:`mmvitlin.engine.hooks.MaskAnnealingHook` takes that probability from 1 to 0, layer
    after layer; without the hook it is 0, and in inference there never is a mask. Layers that scan
    take no masks: all queries read one state there.

    Args:
        in_channels: C, width of the backbone.
        num_classes: Without "no object".
        num_queries: Q.
        num_upscales: How many times the patches' map is doubled: 2 brings patches of 16 pixels to
            stride 4.
        loss: Options of :class:`mmvitlin.models.losses.mask_set.MaskSetLoss`.
        init_cfg: mmengine's.

    Attributes:
        mask_progress: How far the annealing is, from 0 (every query is masked) to 1 (none).

    Source: EoMT (arXiv 2503.19108, CVPR 2025).
    """

    def __init__(self, in_channels: int, num_classes: int, num_queries: int = 100,
                 num_upscales: int = 2, loss: dict | None = None, init_cfg: dict | None = None):
        super().__init__(init_cfg)
        self.num_classes, self.num_queries, self.mask_progress = num_classes, num_queries, 1.
        self.query_feat = nn.Embedding(num_queries, in_channels)
        self.cls_embed = nn.Linear(in_channels, num_classes + 1)
        self.mask_embed = nn.Sequential(
            nn.Linear(in_channels, in_channels), nn.GELU(), nn.Linear(in_channels, in_channels),
            nn.GELU(), nn.Linear(in_channels, in_channels))
        self.upscale = nn.Sequential(*(UpscaleBlock(in_channels) for _ in range(num_upscales)))
        self.set_loss = MaskSetLoss(num_classes, **(loss or {}))

    def forward(self, x: Sequence[TokenStream], batch_data_samples: Sequence | None = None
                ) -> tuple[list[Tensor], list[Tensor]]:
        """Queries through the layers that are left.

        Args:
            x: What a backbone with ``out_type='stream'`` returns.
            batch_data_samples: Not used; mmdet hands them over.

        Returns:
            Class logits (B, Q, num_classes + 1) and mask logits (B, Q, h, w): in training before
            each layer and after the last one, else only after the last one.

        Raises:
            ConfigError: the backbone returns something else, or a neck stands between.
        """
        stream = x[-1]
        if not isinstance(stream, TokenStream):
            raise ConfigError(f"{type(self).__name__} goes through the backbone's last layers; set "
                              "model.backbone.out_type='stream', model.backbone.out_indices to the "
                              'last layer before them, and model.neck=None')
        stream = stream.join(self.query_feat.weight)
        classes, masks = [], []
        count = stream.layers_left
        for n in range(count):
            seen = None
            if self.training:
                self._predict(stream, classes, masks)
                seen = self.seen(masks[-1].detach(), stream, self.mask_probability(n, count))
            stream = stream.step(seen)
        self._predict(stream, classes, masks)
        return classes, masks

    def mask_probability(self, n: int, count: int) -> float:
        """Probability that a query is masked in layer ``n`` of ``count``.

        The layers are annealed one after another, each by the power 0.9.
        """
        return (1 - min(max(self.mask_progress * count - n, 0.), 1.))**0.9

    def seen(self, masks: Tensor, stream: TokenStream, probability: float) -> Tensor | None:
        """bool (B, Q, h·w): the patches that each query sees; None where all see all.

        Args:
            masks: Logits (B, Q, h, w) of the queries so far, of any size.
            stream: Before the layer.
            probability: That a query is masked.
        """
        if probability <= 0 or not stream.maskable:
            return None
        seen = (F.interpolate(masks, stream.grid, mode='bilinear') > 0).flatten(2)
        free = torch.rand(*seen.shape[:2], 1, device=seen.device) > probability
        return seen | free

    def _predict(self, stream: TokenStream, classes: list[Tensor], masks: list[Tensor]) -> None:
        queries, patches = stream.read()
        classes.append(self.cls_embed(queries))
        patches = self.upscale(patches)
        products = self.mask_embed(queries) @ patches.flatten(2)
        masks.append(products.unflatten(2, patches.shape[2:]))


@MODELS.register_module()
class EoMTHead(EoMTBase):
    """EoMT's head of a segmentor; see :class:`EoMTBase`.

    Scores of a class are the sum over queries of its probability times the mask's, as
    Mask2Former's. In :class:`mmvitlin.models.segmentors.HighResSegmentor` they are made strip by
    strip.

    Args:
        in_channels: See :class:`EoMTBase`.
        num_classes: See :class:`EoMTBase`.
        align_corners: Of resizing masks to the image; only False.
        ignore_index: Label of pixels without a class; they are in no mask.
        **kwargs: See :class:`EoMTBase`.

    Source: EoMT (arXiv 2503.19108, CVPR 2025).
    """

    def __init__(self, in_channels: int, num_classes: int, align_corners: bool = False,
                 ignore_index: int = 255, **kwargs):
        super().__init__(in_channels, num_classes, **kwargs)
        if align_corners:
            raise ConfigError('decode_head.align_corners of an EoMTHead is False')
        self.align_corners, self.ignore_index = align_corners, ignore_index
        self.out_channels = num_classes  # of what a segmentor's test path gives

    def targets(self, batch_data_samples: Sequence) -> list[ClassMasks]:
        """Of each image with ``gt_sem_seg`` a mask for every class that it shows."""
        return [ClassMasks(sample.gt_sem_seg.data, self.num_classes, self.ignore_index)
                for sample in batch_data_samples]

    def loss(self, x: Sequence[TokenStream], batch_data_samples: Sequence, train_cfg: dict
             ) -> dict[str, Tensor]:
        """Losses of a batch with ``gt_sem_seg``; see :class:`MaskSetLoss`."""
        classes, masks = self(x)
        return self.set_loss(classes, masks, self.targets(batch_data_samples))

    def predict(self, x: Sequence[TokenStream], batch_img_metas: Sequence[dict], test_cfg: dict
                ) -> Tensor:
        """Scores (B, num_classes, H, W) at the size of the padded image."""
        classes, masks = (layers[-1] for layers in self(x))
        size = batch_img_metas[0]['img_shape']
        if not isinstance(size, torch.Size):  # which mmseg gives a window
            size = batch_img_metas[0].get('pad_shape', size)
        return class_scores(classes, masks, size[:2])


def class_scores(classes: Tensor, masks: Tensor, size: Sequence[int] | None = None) -> Tensor:
    """Scores of every class and pixel.

    Args:
        classes: Logits (B, Q, C + 1), "no object" last.
        masks: Logits (B, Q, h, w).
        size: To which masks are resized; None for their own.

    Returns:
        (B, C, H, W), sums of products of probabilities.

    Source: MaskFormer (arXiv 2107.06278), section 3.4.
    """
    if size is not None:
        masks = F.interpolate(masks, tuple(size), mode='bilinear', align_corners=False)
    weights = classes.softmax(-1)[..., :-1]
    return (weights.transpose(1, 2) @ masks.sigmoid().flatten(2)).unflatten(2, masks.shape[2:])


@MODELS.register_module()
class EoMTPanopticHead(EoMTBase):
    """EoMT's head of mmdet's ``MaskFormer``: instances, and panoptic segments.

    Args:
        in_channels: See :class:`EoMTBase`.
        num_things_classes: Classes that have instances; they come first.
        num_stuff_classes: Classes that are one segment each.
        train_cfg: The detector's; not used.
        test_cfg: The detector's; not used.
        **kwargs: See :class:`EoMTBase`.

    Source: EoMT (arXiv 2503.19108, CVPR 2025).
    """

    def __init__(self, in_channels: int, num_things_classes: int = 80,
                 num_stuff_classes: int = 53, train_cfg: dict | None = None,
                 test_cfg: dict | None = None, **kwargs):
        super().__init__(in_channels, num_things_classes + num_stuff_classes, **kwargs)
        self.num_things_classes, self.num_stuff_classes = num_things_classes, num_stuff_classes

    def targets(self, sample) -> InstanceMasks:
        """Masks and labels of things, and of stuff where the sample has a ``gt_sem_seg``."""
        from mmdet.models.utils import preprocess_panoptic_gt
        things, stuff = sample.gt_instances, None
        if self.num_stuff_classes and 'gt_sem_seg' in sample:
            stuff = sample.gt_sem_seg.sem_seg
        labels, masks = preprocess_panoptic_gt(things.labels, things.masks, stuff,
                                               self.num_things_classes, self.num_stuff_classes)
        return InstanceMasks(labels, masks)

    def loss(self, x: Sequence[TokenStream], batch_data_samples: Sequence) -> dict[str, Tensor]:
        """Losses of a batch with ``gt_instances`` and, of stuff, ``gt_sem_seg``."""
        classes, masks = self(x)
        return self.set_loss(classes, masks, [self.targets(s) for s in batch_data_samples])

    def predict(self, x: Sequence[TokenStream], batch_data_samples: Sequence
                ) -> tuple[Tensor, Tensor]:
        """Class logits (B, Q, classes + 1) and mask logits (B, Q, H, W) at the batch's size."""
        classes, masks = (layers[-1] for layers in self(x))
        size = batch_data_samples[0].metainfo['batch_input_shape']
        return classes, F.interpolate(masks, tuple(size), mode='bilinear', align_corners=False)
