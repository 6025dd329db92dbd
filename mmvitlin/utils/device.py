"""The device to compute on, and its half precision."""
import os
import platform
import time
from functools import lru_cache

import torch
import torch.nn.functional as F
from mmengine.logging import print_log

from mmvitlin.utils.errors import ConfigError, in_words


def usable_device(name: torch.device | str | None = None) -> torch.device:
    """A device that works.

    Args:
        name: None for a GPU where there is one.

    Raises:
        ConfigError: torch does not know it, or it does not exist.
    """
    name = str(name or ('cuda' if torch.cuda.is_available() else 'cpu'))
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except Exception as error:  # of many types, one for each kind of device
        reason = in_words(error).splitlines()[0]
        raise ConfigError(f"the device '{name}' cannot be used ({reason}); choose 'cpu', or 'cuda' "
                          'where torch sees a GPU') from error
    return device


def visible_gpus() -> list[str]:
    """The GPUs that torch sees, each as ``CUDA_VISIBLE_DEVICES`` names it for a single process."""
    count, visible = torch.cuda.device_count(), os.environ.get('CUDA_VISIBLE_DEVICES', '')
    return [name.strip() for name in visible.split(',')][:count] if visible else [
        str(n) for n in range(count)]


def half_dtype(device: torch.device | str | None = None) -> torch.dtype | None:
    """The half precision of mixed precision on a device.

    Args:
        device: None for a GPU where there is one.

    Returns:
        On a GPU bfloat16, or float16 where it has no bfloat16. On a CPU bfloat16 if it has
        instructions for it (AVX512-BF16, AMX, Arm's BF16) and they are faster than float32's;
        None for others: those that end at AVX2, whose products go through float32, and some with
        AVX512-BF16 whose AMX a virtual machine hides.
    """
    if usable_device(device).type == 'cuda':
        has = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if has else torch.float16
    return torch.bfloat16 if has_bfloat16() and bfloat16_gain() > 1 else None


def has_bfloat16() -> bool:
    """Whether the CPU has instructions for products in bfloat16."""
    if platform.machine().lower() in ('aarch64', 'arm64'):
        return torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


@lru_cache(maxsize=1)
def bfloat16_gain() -> float:
    """Time of a linear layer in float32 on the CPU over that in bfloat16: a tenth of a second."""
    best = {}
    for _ in range(6):  # in turn, the first to warm up
        for dtype in (torch.float32, torch.bfloat16):
            tokens, weight = (torch.ones(n, 512, dtype=dtype) for n in (1024, 512))
            start = time.perf_counter()
            F.linear(tokens, weight)
            best[dtype] = min(best.get(dtype, float('inf')), time.perf_counter() - start)
    return best[torch.float32] / best[torch.bfloat16]


def why_float32(name: str = 'bfloat16') -> str:
    """Words on why :func:`half_dtype` is None, or another."""
    if name == 'bfloat16' and has_bfloat16():
        return ("this processor's bfloat16 instructions are slower than float32's "
                f'({bfloat16_gain():.1f} times the speed)')
    return f'this processor has no {name} instructions'


def warn_if_slow(what: str, dtype: torch.dtype | None, device: torch.device | str) -> None:
    """Warn where a requested half precision costs time instead of saving it.

    Args:
        what: What runs in it, such as 'the teacher'.
        dtype: None for float32, which is never imitated.
        device: That computes.
    """
    if dtype is not None and torch.device(device).type == 'cpu' and half_dtype('cpu') != dtype:
        name = str(dtype).removeprefix('torch.')
        print_log(f'{what}: {why_float32(name)}; {name} is slower than float32', logger='current',
                  level=30)
