"""Mask2Former's pixel decoder in mixed precision, without waits for the device."""
from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmcv.ops import MultiScaleDeformableAttention
from mmcv.ops.multi_scale_deform_attn import (
    MultiScaleDeformableAttnFunction,
    multi_scale_deformable_attn_pytorch,
)
from mmdet.models.layers import MSDeformAttnPixelDecoder as MMDetPixelDecoder
from torch import Tensor, nn

from mmvitlin.registry import MODELS

_COMPILED = ('cuda', 'mlu', 'musa', 'npu')  # devices that mmcv has its operator for


class Float32Linear(nn.Linear):
    """A linear layer whose result is float32, also under autocast."""

    def forward(self, x: Tensor) -> Tensor:
        """(…, in_features) to (…, out_features), float32 at least."""
        out = super().forward(x)
        return out if out.itemsize >= 4 else out.float()


class DeformableAttention(MultiScaleDeformableAttention):
    """mmcv's multi-scale deformable attention, with its compiled operator under bfloat16.

    mmcv chooses its operator by the type of the projected values, and takes bfloat16 through
    ``grid_sample``: about ten kernels a level, and sampling points in bfloat16. Here the values
    come as float32 out of a projection that is still multiplied in bfloat16. And mmcv compares the
    sizes of levels with the number of values on the device, for whose answer the host waits.

    Args:
        **kwargs: As mmcv's; batch first, as mmdet's encoders are.

    Source: Deformable DETR (arXiv 2010.04159), equation 3.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        usual = self.value_proj
        self.value_proj = Float32Linear(usual.in_features, usual.out_features)
        self.value_proj.load_state_dict(usual.state_dict())

    def forward(self, query: Tensor, query_pos: Tensor, reference_points: Tensor,
                spatial_shapes: Tensor, level_start_index: Tensor,
                sizes: Sequence[tuple[int, int]], **_) -> Tensor:
        """Tokens of all levels, after attention to points of all levels, and themselves.

        Args:
            query: (B, L, C); also the values.
            query_pos: (B, L, C).
            reference_points: (B, L, levels, 2) of [0, 1]², x first.
            spatial_shapes: (levels, 2), height first.
            level_start_index: (levels,), index of each level's first token.
            sizes: ``spatial_shapes`` on the host.
        """
        value = self.value_proj(query).unflatten(2, (self.num_heads, -1))
        moved = query + query_pos
        points = (self.num_heads, self.num_levels, self.num_points)
        offsets = self.sampling_offsets(moved).unflatten(2, (*points, 2))
        weights = self.attention_weights(moved).unflatten(2, (self.num_heads, -1)).softmax(-1)
        weights = weights.unflatten(3, points[1:])
        places = (reference_points[:, :, None, :, None]
                  + offsets / spatial_shapes.flip(-1)[:, None])
        if value.device.type in _COMPILED:
            out = MultiScaleDeformableAttnFunction.apply(
                value, spatial_shapes, level_start_index, places, weights, self.im2col_step)
        else:
            out = multi_scale_deformable_attn_pytorch(value, sizes, places, weights)
        return self.dropout(self.output_proj(out)) + query


@MODELS.register_module()
class MSDeformAttnPixelDecoder(MMDetPixelDecoder):
    """mmdet's, which keeps mmcv's compiled attention under bfloat16 and waits for nothing.

    See :class:`DeformableAttention`. The weights have mmdet's names; float32 runs are the same to
    the bit where strides are powers of two.

    Args:
        **kwargs: As mmdet's.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for layer in self.encoder.layers:
            layer.self_attn = DeformableAttention(**layer.self_attn_cfg)

    def forward(self, feats: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Maps for masks and for queries.

        Args:
            feats: (B, C_i, H_i, W_i), fine to coarse.

        Returns:
            The map for masks (B, out_channels, H_0, W_0), and the first ``num_outs`` maps
            (B, feat_channels, H_i, W_i), coarse to fine.
        """
        fine, coarse = (feats[:-self.num_encoder_levels][::-1],
                        feats[-self.num_encoder_levels:][::-1])
        sizes = [tuple(map(int, level.shape[-2:])) for level in coarse]
        maps = self._encode(coarse, sizes)
        for lateral, output, level in zip(
                reversed(self.lateral_convs), reversed(self.output_convs), fine, strict=True):
            above = F.interpolate(maps[-1], level.shape[-2:], mode='bilinear',
                                  align_corners=False)
            maps.append(output(lateral(level) + above))
        return self.mask_feature(maps[-1]), maps[:self.num_outs]

    def _encode(self, levels: Sequence[Tensor], sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
        """Maps of the levels, coarse to fine, after the encoder."""
        batch, device = len(levels[0]), levels[0].device
        tokens, positions, references = [], [], []
        for n, (level, (height, width)) in enumerate(zip(levels, sizes, strict=True)):
            unpadded = level.new_zeros((batch, height, width), dtype=torch.bool)
            position = self.level_encoding.weight[n].view(1, -1, 1, 1) + self.postional_encoding(
                unpadded)
            tokens.append(self.input_convs[n](level).flatten(2).transpose(1, 2))
            positions.append(position.flatten(2).transpose(1, 2))
            y, x = (torch.arange(size, device=device, dtype=torch.float32).add(0.5) / size
                    for size in (height, width))
            references.append(torch.stack((x.expand(height, -1), y[:, None].expand(-1, width)),
                                          -1).flatten(0, 1))
        counts = [height * width for height, width in sizes]
        starts = [sum(counts[:n]) for n in range(len(counts))]
        shapes, starts = (torch.tensor(numbers).to(device, non_blocking=True)
                          for numbers in (sizes, starts))
        memory = self.encoder(
            query=torch.cat(tokens, 1), query_pos=torch.cat(positions, 1), key_padding_mask=None,
            spatial_shapes=shapes, level_start_index=starts, sizes=sizes, valid_ratios=None,
            reference_points=torch.cat(references)[None, :, None].expand(
                batch, -1, len(levels), -1))
        return [part.transpose(1, 2).unflatten(2, size)
                for part, size in zip(memory.split(counts, 1), sizes, strict=True)]
