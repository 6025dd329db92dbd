"""Writes the loss of every step, averaged over all processes; for comparing layouts."""
import json
from pathlib import Path

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module(force=True)
class GlobalLossHook(Hook):

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        loss = torch.as_tensor(float(outputs['loss']), dtype=torch.float64)
        if get_world_size() > 1:
            all_reduce(loss, 'sum')
        if runner.rank == 0:
            with Path(runner.work_dir, 'losses.jsonl').open('a') as file:
                file.write(json.dumps([runner.iter, float(loss) / get_world_size()]) + '\n')
