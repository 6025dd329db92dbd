"""Tensor functions: no modules, no registry, no OpenMMLab import."""
from mmvitlin.ops.causal_conv import causal_depthwise_conv1d
from mmvitlin.ops.cpu.fast_linear import (
    FastLinear,
    FastPatches,
    conv_patches,
    infers_on_cpu,
    linear,
)
from mmvitlin.ops.cpu.streamed_block import BlockWeights, streamed_block_
from mmvitlin.ops.cpu.streamed_training import block_weights, trained_block
from mmvitlin.ops.focal_attention import focal_attention, focal_attention_reference
from mmvitlin.ops.gating import gated_rms_norm, silu_product
from mmvitlin.ops.linear_attention import linear_attention, linear_attention_reference
from mmvitlin.ops.rotation import equal_variance_rotation, hadamard
from mmvitlin.ops.selective_scan import selective_scan, selective_scan_reference
from mmvitlin.ops.similarity import (
    cosine_map_distance,
    cosine_map_distance_linear,
    cosine_map_distance_pairwise,
)
from mmvitlin.ops.similarity.gram import gram_distance, gram_distance_pairwise
from mmvitlin.ops.ssd import (
    available_backends,
    mixer_mamba_ssm,
    mixer_problem,
    ssd,
    ssd_chunked,
    ssd_reference,
)

__all__ = [
    'BlockWeights', 'FastLinear', 'FastPatches', 'available_backends', 'block_weights',
    'causal_depthwise_conv1d', 'conv_patches', 'cosine_map_distance',
    'cosine_map_distance_linear', 'cosine_map_distance_pairwise', 'equal_variance_rotation',
    'focal_attention', 'focal_attention_reference', 'gated_rms_norm', 'gram_distance',
    'gram_distance_pairwise', 'hadamard', 'infers_on_cpu', 'linear', 'linear_attention',
    'linear_attention_reference', 'mixer_mamba_ssm', 'mixer_problem', 'selective_scan',
    'selective_scan_reference', 'silu_product', 'ssd', 'ssd_chunked', 'ssd_reference',
    'streamed_block_', 'trained_block'
]
