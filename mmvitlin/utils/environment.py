"""Environment variables: those set before torch is imported, and those of launchers."""
from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

_SHORT = {'GOMP_SPINCOUNT': '1000', 'KMP_BLOCKTIME': '1'}  # GNU's loops, Intel's milliseconds


def short_openmp_spin() -> None:
    """Let OpenMP threads that wait sleep soon, unless the user has set how they wait.

    By default they spin for so long that they delay one another where another process uses one of
    the cores. Both runtimes read their variables when they are loaded, which torch does when it is
    imported: call this before. Afterwards it does nothing.
    """
    if 'torch' not in sys.modules and 'OMP_WAIT_POLICY' not in os.environ:
        for name, value in _SHORT.items():
            os.environ.setdefault(name, value)


def process() -> tuple[int, int]:
    """(rank, number of processes) that torchrun, Slurm or MPI started this process as; (0, 1) of
    one that was started alone, whether or not the processes are connected yet."""
    for rank, size in (('RANK', 'WORLD_SIZE'), ('SLURM_PROCID', 'SLURM_NTASKS'),
                       ('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE')):
        if os.environ.get(size, '').isdigit():
            return int(os.environ.get(rank, 0)), int(os.environ[size])
    return 0, 1


def shared_file(name: str) -> Path | None:
    """A path that all processes of this run on this machine share, and no other run; None where
    this process runs alone, or the run is unknown."""
    if process()[1] < 2:
        return None
    if errors := os.environ.get('TORCHELASTIC_ERROR_FILE'):  # attempt/rank/error.json
        return Path(errors).parents[1] / name
    run = [os.environ.get(key) for key in ('SLURM_JOB_ID', 'SLURM_STEP_ID')]
    run = run if all(run) else [os.environ.get('PMIX_NAMESPACE'), str(os.getppid())]
    return Path(tempfile.gettempdir()) / '-'.join((name, *run)) if all(run) else None
