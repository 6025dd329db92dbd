"""A context without mixed precision."""
from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def no_autocast(x: Tensor) -> AbstractContextManager:
    """Context in which operators take the types they are given, on the device of ``x``."""
    kind = x.device.type
    if kind == 'meta' or not torch.is_autocast_enabled(kind):
        return nullcontext()  # the meta device has no autocast, and an exported graph none to leave
    return torch.autocast(kind, enabled=False)
