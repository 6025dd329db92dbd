"""Many short runs in one launch of a group of processes, whose start takes longer than a run."""
import gc
import json
import os
import socket
import subprocess
import sys
import time
import traceback
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
    """Do jobs, each of them arguments of :func:`run`, one after the other in two processes."""
    (folder / 'jobs.json').write_text(json.dumps(jobs, default=str))
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
    finally:
        for child in children:
            child.kill()
    codes = [child.wait() for child in children]
    assert codes == [0, 0], f'{codes}\n' + '\n'.join(log.read_text()[-6000:] for log in logs)


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
