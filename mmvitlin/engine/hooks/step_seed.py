"""Random numbers of a training step that depend only on the step."""
from __future__ import annotations

from inspect import signature

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mmvitlin.datasets.samplers.seeding import mix, set_seed
from mmvitlin.registry import HOOKS


@HOOKS.register_module()
class StepSeedHook(Hook):
    """Seed every step from the run's seed, the iteration and the process.

    What the model draws (masks, dropout, stochastic depth) is then the same in a run that was
    killed and resumed as in one that was not, with no random state to save, and whatever the data
    pipeline drew in between. Epochs are seeded likewise, from which the loader's workers start.
    The batch of a model whose ``forward`` takes a ``step_seed`` gets one that all processes share:
    a distiller draws with it the masks of the whole global batch and takes its own, so that they
    do not depend on the number of processes.
    """
    priority = 'VERY_HIGH'

    @staticmethod
    def _seed(runner: Runner, *place: int) -> None:
        set_seed(mix(runner.seed or 0, runner.rank, *place))

    def before_train_epoch(self, runner: Runner) -> None:
        """Before the loader's workers start."""
        self._seed(runner, runner.epoch, -1)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        """After the batch was made, before the model sees it."""
        self._seed(runner, runner.iter)
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if isinstance(data_batch, dict) and 'step_seed' in signature(model.forward).parameters:
            data_batch['step_seed'] = mix(runner.seed or 0, runner.iter)
