"""Whether each part of a config has run once."""
from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmvitlin.registry import HOOKS


@HOOKS.register_module()
class FirstTimesHook(Hook):
    """Tells an error of the config, found while its parts are built or first run, from others.

    Attributes:
        untried: What runs and has never finished before: 'training', 'validation', or
            None.
    """
    priority = 'LOWEST'  # a step is through when every other hook is

    def __init__(self):
        self.untried: str | None = 'training'
        self._validated = False

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None,
                         outputs=None) -> None:
        """A step is through."""
        self.untried = None

    def before_val(self, runner: Runner) -> None:
        """A validation begins."""
        if not self._validated:
            self.untried = 'validation'

    def after_val(self, runner: Runner) -> None:
        """It is through."""
        self.untried, self._validated = None, True
