"""Random numbers of one training step."""
from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from mmengine.dist import broadcast, get_rank, get_world_size
from torch import Tensor

# what random numbers of one step are for; each has its own
MASK, UNMASKED, RATIO, SIZE, ANCHORS = range(5)


@dataclass(frozen=True)
class StepDraws:
    """Draws what a distiller needs in one step, the same however many processes share the batch.

    Attributes:
        seed: Of the step, the same in all processes; None draws from each one's own state.
    """
    seed: int | None = None

    def uniform(self, batch: int, length: int, device, purpose: int = MASK) -> Tensor:
        """Random numbers (batch, length) in [0, 1), others for each purpose.

        With a seed they are those that one process with the whole global batch would draw for
        these samples, which the samplers give to the processes in turn.
        """
        if self.seed is None:
            return torch.rand(batch, length, device=device)
        world = get_world_size()
        draw = torch.Generator(device).manual_seed((self.seed + purpose) % 2**63)
        return torch.rand(batch * world, length, generator=draw, device=device)[get_rank()::world]

    def common_uniform(self, purpose: int) -> float:
        """A random number in [0, 1) that all processes share."""
        if self.seed is not None:
            return random.Random(self.seed + purpose).random()
        drawn = torch.rand(1)
        broadcast(drawn)
        return float(drawn)
