"""Hooks of mmvitlin that a config runs without."""
from __future__ import annotations

import functools

from mmvitlin.compat.kinds import kind_of
from mmvitlin.compat.mmengine import read_config
from mmvitlin.engine.rules.context import Context, warn
from mmvitlin.utils import paths
from mmvitlin.utils.errors import ConfigError

_WITHOUT = {  # hook → effect of leaving it out
    'AccumulationHook': 'a run resumed in the middle of a gradient accumulation loses the gradient',
    'AverageBuffersHook': 'each process has running statistics of its own',
    'CheckpointHook': 'checkpoints are written in place, and one that is cut short stays',
    'CleanExitHook': 'SIGTERM ends the run without a checkpoint',
    'FiniteLossHook': 'a NaN or infinite loss is not caught',
    'FirstTimesHook': 'errors of the first step keep their traceback',
    'InitialWeightsHook': 'a checkpoint that matches no parameter is not refused',
    'LabelRangeHook': 'labels above the classes do not name their file',
    'ResultHook': 'no result.json, and checkpoints do not say what their backbone is',
    'RuntimeInfoHook': 'the host waits for the device in every step, to log it',
    'StepSeedHook': 'a resumed run draws other random numbers',
    'TF32Hook': 'tf32=True has no effect',
}


@functools.cache
def shipped_hooks() -> dict[str, str]:
    """Key in ``default_hooks`` → name, of mmvitlin's hooks in ``_base_/default_runtime.py``."""
    path = paths.folder('configs') / '_base_' / 'default_runtime.py'
    hooks = read_config(path).default_hooks
    return {key: kind_of(hook) for key, hook in hooks.items()
            if hook['type'].startswith('mmvitlin.')}


def _own(hook) -> str | None:
    """Name of a hook of mmvitlin; None of others."""
    kind = kind_of(hook)
    return kind if kind and hook['type'] == f'mmvitlin.{kind}' else None


def missing_hooks(cfg) -> list[str]:
    """Names of mmvitlin's hooks that a config neither has nor leaves out by its key."""
    default = cfg.get('default_hooks') or {}
    named = {_own(hook) for hook in (*default.values(), *(cfg.get('custom_hooks') or []))}
    return [kind for key, kind in shipped_hooks().items()
            if kind not in named and not (key in default and default[key] is None)]


def hooks(context: Context) -> None:
    """Warns of the hooks that are missing where a config does not inherit mmvitlin's runtime.

    Raises:
        ConfigError: a hook is named twice; names both keys.
    """
    default = {_own(hook): key for key, hook in (
        context.cfg.get('default_hooks') or {}).items()}
    for n, hook in enumerate(context.cfg.get('custom_hooks') or []):
        if (kind := _own(hook)) is not None and kind in default:
            raise ConfigError(f'custom_hooks.{n} is {kind}, which is there already as default_hooks'
                              f'.{default[kind]}; give its arguments there, such as '
                              f'default_hooks=dict({default[kind]}=dict(…))')
    custom = {kind_of(hook) for hook in context.cfg.get('custom_hooks') or []}
    if context.purpose == 'train' and isinstance(context.model.get('teacher'), dict) \
            and 'StudentCheckpointHook' not in custom:
        warn('no student.pth will be written: custom_hooks lacks dict(type='
             "'mmvitlin.StudentCheckpointHook'), which distillations have there; a list of a "
             'child config takes the place of its base\'s')
    if missing := missing_hooks(context.cfg):
        words = '; '.join(f'without mmvitlin.{kind} {_WITHOUT[kind]}' for kind in missing)
        warn(f'this config does not have all hooks of mmvitlin ({words}). --cfg-options '
             "switches=runtime adds them, in a config switches=['runtime']")
