"""Which half precision a machine computes in, rather than imitates."""
import platform

import torch


def half_dtype() -> torch.dtype | None:
    """What mixed precision is made of here.

    Returns:
        On a GPU bfloat16, or float16 where it has no bfloat16. On a CPU bfloat16 if it has
        instructions for it (AVX512-BF16, AMX, Arm's BF16); None for others, which go through
        float32 element by element: one step of a small Mask R-CNN took 12 times as long in
        bfloat16 as in float32 on a processor that ends at AVX2.
    """
    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if platform.machine().lower() in ('aarch64', 'arm64'):
        return torch.bfloat16 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else None
    has = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if has else None
