"""Forward hooks that do not change which code a network runs."""
from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn


class Watcher:
    """A forward hook that does not change which code a network runs.

    Backbones run blocks module by module where hooks are registered, which could change what goes
    through, and tile by tile where there are none or only watchers. A watched block that runs tile
    by tile shows its output by :func:`show`; modules inside of it are not called, and show none.

    Args:
        see: Called with the module and its output.
    """

    def __init__(self, see: Callable[[nn.Module, object], None]):
        self._see = see

    def __call__(self, module: nn.Module, args: tuple, output: object) -> None:
        self._see(module, output)


def is_hooked(module: nn.Module) -> bool:
    """Whether a module, or one inside of it, has hooks other than watchers."""
    return any(not isinstance(hook, Watcher) for m in module.modules()
               for hooks in (m._forward_hooks, m._forward_pre_hooks, m._backward_hooks)
               for hook in hooks.values())


def show(module: nn.Module, output: Tensor) -> None:
    """Give watchers of a module an output that was computed without calling it."""
    for hook in module._forward_hooks.values():
        if isinstance(hook, Watcher):
            hook(module, (), output)
