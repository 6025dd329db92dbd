"""Leaving a group of processes together."""
from __future__ import annotations

import torch.distributed as dist


def leave() -> None:
    """Wait for the other processes and close the connections.

    A process that exits while others still talk to it can abort in a communication thread.
    """
    if dist.is_available() and dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()
