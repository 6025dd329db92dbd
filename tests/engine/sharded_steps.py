"""What configs of sharded runs import: a hook and a step of a pipeline."""
import os
import time

from mmcv.transforms import BaseTransform
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, TRANSFORMS


@HOOKS.register_module()
class Steep(Hook):
    """One process meets an infinite slope in the third step."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if batch_idx != 2 or os.environ['RANK'] != '1':
            return
        head = next(m for n, m in runner.model.named_modules() if n.endswith('head.conv_seg'))
        self.handle = head.register_forward_hook(lambda m, a, y: y + (0 * y).abs().sqrt())

    def after_train_iter(self, runner, batch_idx, **kwargs):
        if batch_idx == 2 and os.environ['RANK'] == '1':
            self.handle.remove()


@TRANSFORMS.register_module()
class Slow(BaseTransform):
    """A second for each image."""

    def transform(self, results):
        time.sleep(1.)
        return results
