"""Optimiser wrappers that clip gradients without the host waiting for the device."""
from __future__ import annotations

from mmengine.optim import AmpOptimWrapper as MMEngineAmpOptimWrapper
from mmengine.optim import OptimWrapper as MMEngineOptimWrapper
from torch import Tensor

from mmvitlin.registry import OPTIM_WRAPPERS


class KeepsNorm:
    """Mixin: the norm that gradients had before they were clipped stays on its device.

    mmengine's wrappers read it in every step. :class:`mmvitlin.engine.hooks.RuntimeInfoHook` logs
    it, in the same place.

    Attributes:
        grad_norm: Of the last update, None where nothing was clipped or the hook has it already.
    """
    grad_norm: Tensor | None = None

    def _clip_grad(self) -> None:
        """Clip the gradients of all parameters together; see mmengine."""
        params = [p for group in self.optimizer.param_groups for p in group['params']
                  if p.requires_grad and p.grad is not None]
        if params:
            norm = self.clip_func(params, **self.clip_grad_kwargs)
            if hasattr(norm, 'full_tensor'):  # of sharded gradients
                norm = norm.full_tensor()
            self.grad_norm = None if norm is None else norm.detach()


@OPTIM_WRAPPERS.register_module()
class OptimWrapper(KeepsNorm, MMEngineOptimWrapper):
    """mmengine's ``OptimWrapper``, which clips without a wait, see :class:`KeepsNorm`."""


@OPTIM_WRAPPERS.register_module()
class AmpOptimWrapper(KeepsNorm, MMEngineAmpOptimWrapper):
    """mmengine's ``AmpOptimWrapper``, which clips without a wait, see :class:`KeepsNorm`."""
