"""How a GPU multiplies in float32 while it trains."""
from __future__ import annotations

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from mmvitlin.registry import HOOKS


@HOOKS.register_module()
class TF32Hook(Hook):
    """Products of float32 matrices in TF32 during training on a GPU, as the config's ``tf32`` says.

    TF32 has float32's range and 10 bits of mantissa; sums stay in float32. Convolutions are in
    TF32 in any case, as torch has it. What was set before comes back after training. Nothing is
    changed on other devices, or where the config does not have ``tf32=True``.
    """
    priority = 'VERY_HIGH'

    def __init__(self):
        self._before: bool | None = None

    def before_train(self, runner: Runner) -> None:
        """Switch it on, and say so."""
        if not torch.cuda.is_available() or not runner.cfg.get('tf32'):
            return
        matmul = torch.backends.cuda.matmul
        self._before, matmul.allow_tf32 = matmul.allow_tf32, True
        print_log('float32 matrix products are in TF32 on this GPU (tf32=False for full '
                  'float32)', logger='current')

    def after_train(self, runner: Runner) -> None:
        """Set back what was there before."""
        self.restore()

    def restore(self) -> None:
        """Likewise, where a run has ended with an error."""
        if self._before is not None:
            torch.backends.cuda.matmul.allow_tf32, self._before = self._before, None
