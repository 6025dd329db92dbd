"""Checkpoints that are written atomically and read without executing code."""
from __future__ import annotations

import difflib
import inspect
from pathlib import Path

from mmengine.hooks import CheckpointHook as MMEngineCheckpointHook
from mmengine.runner import Runner

from mmvitlin.compat.mmengine import read_tensors_only
from mmvitlin.compat.quiet import not_of_file_clients
from mmvitlin.engine.checkpoints import LOCAL, clear_debris
from mmvitlin.registry import HOOKS
from mmvitlin.utils.errors import ConfigError
from mmvitlin.utils.files import write_whole


@HOOKS.register_module()
class CheckpointHook(MMEngineCheckpointHook):
    """mmengine's ``CheckpointHook`` with atomic writes: a run killed at any time has a checkpoint.

    Local files are written under another name, synced and renamed
    (:class:`mmvitlin.engine.checkpoints.AtomicLocalBackend`), and an old checkpoint is removed
    after the new one is there; mmengine writes in place, and removes first. Partial files of killed
    runs in the work directory are removed. Checkpoints that the run reads hold tensors and plain
    containers, or are refused (:func:`mmvitlin.compat.mmengine.read_tensors_only`).

    Args:
        interval: Epochs or iterations; 1, as Runners of mmengine have it by default.
        backend_args: As mmengine's; None for whole local files where ``out_dir`` is a local folder.
        **kwargs: As mmengine's.

    Raises:
        ConfigError: an option that neither mmengine's hook nor ``Runner.save_checkpoint`` has.
    """

    def __init__(self, interval: int = 1, *args, backend_args: dict | None = None, **kwargs):
        known = [*inspect.signature(MMEngineCheckpointHook.__init__).parameters,
                 *inspect.signature(Runner.save_checkpoint).parameters]
        for key in kwargs.keys() - set(known):
            near = difflib.get_close_matches(key, known, 1)
            raise ConfigError(f'default_hooks.checkpoint.{key}: there is no such option'
                              f"{f', but {near[0]}' if near else ''}")
        super().__init__(interval, *args, backend_args=backend_args, **kwargs)
        read_tensors_only()

    def before_train(self, runner: Runner) -> None:
        """Choose where files go."""
        if self.backend_args is None and self.file_client_args is None \
                and '://' not in str(self.out_dir or runner.work_dir):
            self.backend_args = dict(backend=LOCAL)
        if runner.rank == 0:
            clear_debris(runner.work_dir)
        runner.logger.addFilter(not_of_file_clients)
        super().before_train(runner)

    def after_train(self, runner: Runner) -> None:
        """Save the end of a run that another hook has ended, as early stopping does."""
        done = runner.epoch if self.by_epoch else runner.iter
        file = Path(self.out_dir or runner.work_dir, self.filename_tmpl.format(done))
        if self.save_last and getattr(runner.train_loop, 'stop_training', False) \
                and '://' not in str(self.out_dir) and not file.is_file():
            self._save_checkpoint_with_step(runner, done, dict(epoch=runner.epoch,
                                                               iter=runner.iter))
        super().after_train(runner)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        with _RemovingLater(self):
            super()._save_checkpoint_with_step(runner, step, meta)
        if runner.rank == 0:
            write_whole(self.last_ckpt.encode(), Path(runner.work_dir) / 'last_checkpoint')

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        if not hasattr(self, 'file_backend'):  # nothing was trained
            super()._save_best_checkpoint(runner, metrics)
            return
        with _RemovingLater(self):
            super()._save_best_checkpoint(runner, metrics)


class _RemovingLater:
    """A hook's file backend that, inside, only notes what is to be removed.

    Args:
        hook: Whose files it is.
    """

    def __init__(self, hook: CheckpointHook):
        self._hook, self._backend, self._waiting = hook, hook.file_backend, []

    def __enter__(self) -> None:
        self._hook.file_backend = self

    def __exit__(self, kind, *error) -> None:
        hook = self._hook
        hook.file_backend = self._backend
        written = {hook.last_ckpt, getattr(hook, 'best_ckpt_path', None),
                   *getattr(hook, 'best_ckpt_path_dict', {}).values()}
        for remove, path in self._waiting if kind is None else ():
            if path not in written:  # a best one may have been written under its old name
                remove(path)

    def __getattr__(self, name: str):
        return getattr(self._backend, name)

    def remove(self, path: str) -> None:
        """Note a file."""
        self._waiting.append((self._backend.remove, path))

    def rmtree(self, path: str) -> None:
        """Note a folder."""
        self._waiting.append((self._backend.rmtree, path))
