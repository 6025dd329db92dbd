"""Tensor functions: no modules, no registry, no OpenMMLab import."""
from mmvitlin.ops.causal_conv import causal_depthwise_conv1d
from mmvitlin.ops.fast_linear import FastLinear, FastPatches, conv_patches, infers_on_cpu, linear
from mmvitlin.ops.linear_attention import linear_attention, linear_attention_reference
from mmvitlin.ops.selective_scan import selective_scan, selective_scan_reference
from mmvitlin.ops.similarity import (
    cosine_map_distance,
    cosine_map_distance_linear,
    cosine_map_distance_pairwise,
)
from mmvitlin.ops.ssd import available_backends, ssd, ssd_chunked, ssd_reference
from mmvitlin.ops.streamed_block import BlockWeights, streamed_block_
from mmvitlin.ops.streamed_training import block_weights, trained_block

__all__ = [
    'BlockWeights', 'FastLinear', 'FastPatches', 'available_backends', 'block_weights',
    'causal_depthwise_conv1d', 'conv_patches', 'cosine_map_distance', 'cosine_map_distance_linear',
    'cosine_map_distance_pairwise', 'infers_on_cpu', 'linear', 'linear_attention',
    'linear_attention_reference', 'selective_scan', 'selective_scan_reference', 'ssd',
    'ssd_chunked', 'ssd_reference', 'streamed_block_', 'trained_block'
]
