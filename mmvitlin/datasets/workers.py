"""Worker processes of loaders."""
from __future__ import annotations

import os
import signal
import threading

import torch
from mmengine.dist import get_rank

from mmvitlin.datasets.samplers.seeding import mix, set_seed
from mmvitlin.registry import FUNCTIONS

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@FUNCTIONS.register_module()
def patient_worker(worker_id: int) -> None:
    """Start of a loader's worker that only its parent can end: a loader's ``worker_init_fn``.

    Launchers and terminals signal the whole group of processes; a worker that ended on it would
    lose the batch of the last step. Its random numbers follow from the loader's, the worker's
    number and the process's rank, until a sampler gives a sample a seed of its own.

    Args:
        worker_id: Number of the worker.
    """
    set_seed(mix(torch.initial_seed(), get_rank()))  # torch's seed of this worker
    if hasattr(signal, 'sigwaitinfo'):  # not on every system
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        threading.Thread(target=_obey, args=(os.getppid(), ), daemon=True).start()


def _obey(parent: int) -> None:
    """End on SIGTERM from the parent, and only from it."""
    while True:
        received = signal.sigwaitinfo(SIGNALS)
        if received.si_signo == signal.SIGTERM and received.si_pid == parent:
            os._exit(0)
