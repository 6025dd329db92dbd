"""Joining and leaving a group of processes."""
from __future__ import annotations

import os
import subprocess

import torch.distributed as dist

from mmvitlin.errors import ConfigError


def name_slurm_task() -> None:
    """Tell torch what Slurm knows of this process, where nothing else has.

    mmengine does so itself for GPUs. Of the allocated machines the first is the meeting point.

    Raises:
        ConfigError: not started by ``srun``.
    """
    asked = dict(RANK='SLURM_PROCID', WORLD_SIZE='SLURM_NTASKS', LOCAL_RANK='SLURM_LOCALID')
    if missing := [name for name in asked.values() if name not in os.environ]:
        raise ConfigError(f'--launcher slurm needs {missing}, which srun sets; start it through '
                          'tools/slurm_train.sh, or use --launcher pytorch with torchrun')
    for ours, theirs in asked.items():
        os.environ.setdefault(ours, os.environ[theirs])
    os.environ.setdefault('MASTER_PORT', '29500')
    if 'MASTER_ADDR' not in os.environ:
        hosts = subprocess.run(['scontrol', 'show', 'hostnames', os.environ['SLURM_NODELIST']],
                               capture_output=True, text=True, check=True).stdout.split()
        os.environ['MASTER_ADDR'] = hosts[0]


def leave() -> None:
    """Wait for the other processes and close the connections.

    A process that exits while others still talk to it can abort in a communication thread.
    """
    if dist.is_available() and dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()
