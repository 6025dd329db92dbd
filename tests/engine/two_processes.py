"""Many short runs in one launch of a group of processes, whose start takes longer than a run."""
import gc
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import traceback
import warnings
from pathlib import Path

import torch

from mmvitlin.engine.runner.config import load_config
from mmvitlin.engine.runner.launch import train
from tests.conftest import ROOT

SMALL = {'allow_random_weights': True, 'train_cfg.max_iters': 4,
         'default_hooks.checkpoint.interval': 2, 'default_hooks.checkpoint.max_keep_ckpts': 3,
         'train_dataloader.num_workers': 0, 'train_dataloader.persistent_workers': False}


def run(config, work, streets=None, processes=1, resume=False, **options):
    """Train with a global batch of four; ``options`` have two underscores for each dot."""
    options = {key.replace('__', '.'): value for key, value in options.items()}
    if streets is not None:
        options['data_root'] = str(streets)
    cfg = load_config(str(config), {
        **SMALL, 'train_dataloader.batch_size': 4 // processes, **options}, str(work))
    train(cfg, resume=str(resume) if resume else False,
          launcher='none' if processes == 1 else 'pytorch')
    gc.collect()


def launch(jobs, folder):
    """Do jobs, each of them arguments of :func:`run`, one after the other in two processes.

    They are done anew, with a warning, where a process ended with SIGSEGV: one did so once, while
    torch gathered a tensor over gloo, which a loop of 48,000 such calls did not repeat; an error of
    ours would come again.
    """
    (folder / 'jobs.json').write_text(json.dumps(jobs, default=str))
    for last in (False, True):
        codes, logs = _attempt(folder)
        if codes == [0, 0]:
            return
        words = f'{codes}\n' + '\n'.join(log.read_text()[-6000:] for log in logs)
        if last or -signal.SIGSEGV not in codes:
            raise AssertionError(words)
        warnings.warn(f'two processes are started anew: {words}', stacklevel=2)
        for job in jobs:
            shutil.rmtree(job['work'], ignore_errors=True)


def _attempt(folder):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    where = dict(os.environ, PYTHONWARNINGS='ignore', OMP_NUM_THREADS='1', WORLD_SIZE='2',
                 MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port),
                 PYTHONPATH=f"{ROOT}:{os.environ.get('PYTHONPATH', '')}")
    logs = [folder / f'process{rank}.txt' for rank in range(2)]
    children = []
    for rank, log in enumerate(logs):
        with log.open('w') as file:
            children.append(subprocess.Popen(
                [sys.executable, '-X', 'faulthandler', '-m', 'tests.engine.two_processes',
                 folder / 'jobs.json'],
                cwd=ROOT, env=dict(where, RANK=str(rank), LOCAL_RANK=str(rank)), stdout=file,
                stderr=subprocess.STDOUT))
    try:
        while all(child.poll() in (None, 0) for child in children) \
                and any(child.poll() is None for child in children):
            time.sleep(0.2)
        time.sleep(1. if any(child.poll() for child in children) else 0.)  # both may have failed
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()
    return [child.wait() for child in children], logs


def main():
    from mmvitlin.engine.strategies import distributed
    distributed.join('pytorch')
    gc.freeze()  # mmengine collects garbage for every data set
    leave, distributed.leave = distributed.leave, torch.distributed.barrier  # one group for all
    for job in json.loads(Path(sys.argv[1]).read_text()):
        try:
            run(processes=2, **job)
        except BaseException:  # the other process would wait for this one
            print(f'failed: {job}', traceback.format_exc(), flush=True)
            os._exit(1)
    leave()


if __name__ == '__main__':
    main()
