"""Mixed precision where there is no GPU."""
from contextlib import contextmanager

import torch

from mmvitlin.engine.optim.clipping import OptimWrapper
from mmvitlin.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(OptimWrapper):
    """bfloat16 autocast on the CPU; mmengine's ``AmpOptimWrapper`` asserts a GPU.

    bfloat16 has float32's range, so there is no loss scaler.
    """

    @contextmanager
    def optim_context(self, model: torch.nn.Module):
        """Autocast around the forward pass."""
        with super().optim_context(model), torch.autocast('cpu', dtype=torch.bfloat16):
            yield
