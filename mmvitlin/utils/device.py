"""The device to compute on, and its half precision."""
import os
import platform

import torch
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
        instructions for it (AVX512-BF16, AMX, Arm's BF16); None for others, such as those that
        end at AVX2, whose products go through float32 and are slower than those of float32.
    """
    if usable_device(device).type == 'cuda':
        has = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if has else torch.float16
    if platform.machine().lower() in ('aarch64', 'arm64'):
        return torch.bfloat16 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else None
    has = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if has else None


def warn_of_imitation(what: str, dtype: torch.dtype | None, device: torch.device | str) -> None:
    """Warn where a requested half precision costs time instead of saving it.

    Args:
        what: What runs in it, such as 'the teacher'.
        dtype: None for float32, which is never imitated.
        device: That computes.
    """
    if dtype is not None and torch.device(device).type == 'cpu' and half_dtype('cpu') != dtype:
        name = str(dtype).removeprefix('torch.')
        print_log(f'{what}: this processor has no {name} instructions; {name} is imitated and '
                  'slower than float32', logger='current', level=30)
