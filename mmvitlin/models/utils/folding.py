"""Parts of frozen networks written as fewer operators."""
from __future__ import annotations

import torch
import torch.nn as nn
from timm.layers import Mlp
from timm.layers.activations import QuickGELU

_SLOPE = 1.702  # of CLIP's approximation of the GELU, x·σ(1.702·x)


@torch.no_grad()
def fold_quick_gelu(network: nn.Module) -> int:
    """Make CLIP's activation, three operators, the SiLU, one, in all MLPs of a network.

    ``x·σ(s·x) = SiLU(s·x) / s``, and both factors go into the linear layers beside it. Values
    differ by rounding only.

    Args:
        network: Its weights are changed in place, so it must not be trained on or saved.

    Returns:
        How many there were.
    """
    found = [module for module in network.modules()
             if type(module) is Mlp and isinstance(module.act, QuickGELU)
             and isinstance(module.norm, nn.Identity)
             and type(module.fc1) is type(module.fc2) is nn.Linear]
    for mlp in found:
        for value in mlp.fc1.parameters():
            value.mul_(_SLOPE)
        mlp.fc2.weight.div_(_SLOPE)
        mlp.act = nn.SiLU()
    return len(found)
