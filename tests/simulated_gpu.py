"""A GPU for machines without one: tensors that know their device and type and hold no numbers.

torch's fake tensors carry a device of their own through every operator and refuse to mix two, so a
forward pass with them finds what a CPU never shows: a tensor left behind on the CPU, and types that
do not go together under the GPU's autocast. Backward passes need a real device.
"""
from contextlib import contextmanager
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from mmvitlin.ops import packages

GPU = torch.device('cuda', 0)


class _Answers(TorchDispatchMode):
    """What depends on numbers, answered: scalars are one, masks are true in every other place."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name, first = func.name(), args[0] if args else None
        if name == 'aten::equal':
            return True
        if name == 'aten::_local_scalar_dense':
            return 1.0 if first.is_floating_point() else first.dtype is torch.bool or 1
        if name == 'aten::nonzero':
            return first.new_zeros(_true(first), first.ndim, dtype=torch.long)
        if name == 'aten::masked_select':
            return first.new_zeros(_true(first))
        if name == 'aten::index.Tensor':
            return func(first, [i for index in args[1] for i in _numbers(index)])
        return func(*args, **(kwargs or {}))


def _true(mask: Tensor) -> int:
    return max(mask.numel() // 2, 1)


def _numbers(index: Tensor | None) -> list[Tensor | None]:
    """A mask as as many indices as it has dimensions, anything else as it is."""
    if index is None or index.dtype is not torch.bool:
        return [index]
    return [index.new_zeros(_true(index), dtype=torch.long) for _ in range(index.ndim)]


@contextmanager
def simulated_gpu(autocast: torch.dtype | None = None):
    """Tensors made within are fake, on :data:`GPU` where it is named."""
    memory = dict(mem_get_info=lambda device: (60 * 2**30, 80 * 2**30),
                  memory_reserved=lambda device: 2**30, memory_allocated=lambda device: 2**29)
    with FakeTensorMode(allow_non_fake_inputs=True), _Answers(), \
            mock.patch.multiple(torch.cuda, **memory), \
            mock.patch.object(packages, '_import_problem', return_value='it needs a real GPU'):
        before = torch.get_autocast_dtype('cuda')
        # torch.autocast itself asks for a real device
        torch.set_autocast_enabled('cuda', autocast is not None)
        torch.set_autocast_dtype('cuda', autocast or before)
        try:
            yield
        finally:
            torch.set_autocast_enabled('cuda', False)
            torch.set_autocast_dtype('cuda', before)
            torch.clear_autocast_cache()


def _modules(model: nn.Module):
    """All of them, those that are kept out of the tree (a teacher) too."""
    for module in model.modules():
        yield module
        for value in vars(module).values():
            if isinstance(value, nn.Module):
                yield from _modules(value)


def move(model: nn.Module) -> None:
    """``model.to(GPU)`` within :func:`simulated_gpu`: parameters and buffers, no more."""
    for module in _modules(model):
        for name, p in module._parameters.items():
            if p is not None:
                module._parameters[name] = nn.Parameter(torch.empty_like(p, device=GPU),
                                                        p.requires_grad)
        for name, b in module._buffers.items():
            if b is not None:
                module._buffers[name] = torch.empty_like(b, device=GPU)
        if hasattr(module, '_device'):  # mmengine's data preprocessors
            module._device = GPU
