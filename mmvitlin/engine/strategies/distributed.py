"""Joining and leaving a group of processes."""
from __future__ import annotations

import os
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import torch
import torch.distributed as dist

from mmvitlin.utils.errors import ConfigError


def name_slurm_task() -> None:
    """Set torch's environment variables from Slurm's, where they are not set.

    mmengine does so itself for GPUs. The first of the allocated machines is the master.

    Raises:
        ConfigError: not started by ``srun``.
    """
    variables = dict(RANK='SLURM_PROCID', WORLD_SIZE='SLURM_NTASKS', LOCAL_RANK='SLURM_LOCALID')
    if missing := [name for name in variables.values() if name not in os.environ]:
        raise ConfigError(f'--launcher slurm needs {missing}, which srun sets; start it through '
                          'tools/slurm_train.sh, or use --launcher pytorch with torchrun')
    for variable, source in variables.items():
        os.environ.setdefault(variable, os.environ[source])
    os.environ.setdefault('MASTER_PORT', '29500')
    if 'MASTER_ADDR' not in os.environ:
        hosts = subprocess.run(['scontrol', 'show', 'hostnames', os.environ['SLURM_NODELIST']],
                               capture_output=True, text=True, check=True).stdout.split()
        os.environ['MASTER_ADDR'] = hosts[0]


def join(launcher: str) -> None:
    """Join a group on gloo where there is no GPU; mmengine does it with GPUs only."""
    if launcher == 'none' or torch.cuda.is_available():
        return
    if launcher == 'slurm':
        name_slurm_task()
    if not dist.is_initialized():
        dist.init_process_group('gloo')


def leave() -> None:
    """Wait for the other processes, close the connections, and let gloo's threads finish.

    A process that exits while others still communicate with it can abort in a communication thread.
    So can one where such a thread still holds the tensors of the last operation: to free them it
    needs Python's lock, and Python ends a thread that takes the lock during finalisation, in the
    middle of a destructor ("terminate called without an active exception"). Destroying the group
    joins the threads only where nothing else holds it, as modules under DDP and FSDP do.

    Source: https://github.com/pytorch/pytorch/issues/190489
    """
    if dist.is_available() and dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()
        _rest()


def _rest(seconds: float = 5.) -> None:
    """Wait until gloo's threads sleep at two checks in a row; only on Linux."""
    end, looks = time.monotonic() + seconds, 0
    while looks < 2 and time.monotonic() < end:
        time.sleep(0.01)  # releases Python's lock
        looks = 0 if _gloo_runs() else looks + 1


def _gloo_runs() -> bool:
    for task in Path('/proc/self/task').glob('*/stat'):
        with suppress(OSError):  # a thread that has ended
            name, _, rest = task.read_text().partition('(')[2].rpartition(')')
            if name.startswith('pt_gloo') and rest.split()[0] != 'S':
                return True
    return False
