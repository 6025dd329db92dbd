"""Gated feed-forward network."""
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor


class SwiGLU(nn.Module):
    """``w3(SiLU(w1 x) * w2 x)`` with biases.

    Args:
        embed_dims: Channels in and out, C.
        hidden_dims: Channels between.

    Source: Adventurer (arXiv 2410.07599); hidden width ``int(2.5 C)`` there.
    """

    def __init__(self, embed_dims: int, hidden_dims: int):
        super().__init__()
        self.w1 = nn.Linear(embed_dims, hidden_dims)
        self.w2 = nn.Linear(embed_dims, hidden_dims)
        self.w3 = nn.Linear(hidden_dims, embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """(…, C) to (…, C)."""
        return self.w3(F.silu(self.w1(x)) * self.w2(x))
