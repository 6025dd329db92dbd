"""Libraries that a plain installation does not have."""
from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import ModuleType

from mmvitlin.utils.errors import ConfigError


class OptionalModule:
    """A module that is imported when something of it is used.

    Args:
        name: Of the module.
        extra: Of mmvitlin, which installs it.
        prepare: Called with the module once it is imported.
    """

    def __init__(self, name: str, extra: str, prepare: Callable[[ModuleType], None] | None = None):
        self._name, self._extra, self._prepare = name, extra, prepare
        self._module: ModuleType | None = None

    def load(self) -> ModuleType:
        """Import it now; for tools that need it only after long work.

        Raises:
            ConfigError: it cannot be imported; names the extra.
        """
        if self._module is None:
            try:
                module = import_module(self._name)
            except ImportError as error:
                raise ConfigError(f"{self._name.split('.')[0]} cannot be imported ({error}); "
                                  f"pip install 'mmvitlin[{self._extra}]'") from error
            if self._prepare is not None:
                self._prepare(module)
            self._module = module
        return self._module

    def __getattr__(self, attribute: str):
        return getattr(self.load(), attribute)
