"""A resumed run, compared with the config that it is resumed with."""
from __future__ import annotations

import inspect
import math
from collections import Counter
from collections.abc import Iterator

from mmengine.registry import OPTIMIZERS

from mmvitlin.compat.kinds import class_of, kind_of
from mmvitlin.engine.rules.context import Context, warn
from mmvitlin.engine.rules.loops import schedulers_of
from mmvitlin.utils.errors import CheckpointError, ConfigError
from mmvitlin.utils.paths import locate
from mmvitlin.utils.weights import safe_torch_load

_SCHEDULE = ('begin', 'end', 'power', 'eta_min', 'eta_min_ratio', 'start_factor', 'end_factor',
             'gamma', 'T_max', 'milestones', 'step_size')
_SETTINGS = ('weight_decay', 'betas', 'momentum', 'eps')  # of optimisers, beside the rate


def goes_on(context: Context) -> None:
    """The file holds the state of a run, of the same optimiser and as many schedules.

    Their state replaces what the config says of them, so that a rate or a length which was changed
    since has no effect, which is logged. The config gets the seed of the run, by which samplers
    order what is left.

    Raises:
        CheckpointError: it holds only weights.
        ConfigError: it is of a run with another optimiser, or with more or fewer schedules.
    """
    cfg, path = context.cfg, context.cfg.get('load_from')
    if not cfg.get('resume') or not path or '://' in path:
        return
    content = {} if locate(path).suffix in ('.safetensors', '.onnx') else \
        safe_torch_load(locate(path))
    if not isinstance(content, dict) or 'message_hub' not in content:
        raise CheckpointError(
            f'--resume: {path} holds only weights, no state of a run to resume; start a new '
            f'run from them with --cfg-options load_from={path}')
    if 'optimizer' not in content:
        warn(f"{path} holds no state of its optimiser (save_optimizer=False), which starts anew")
    for key, unit in (('max_iters', 'iter'), ('max_epochs', 'epoch')):
        length = (cfg.get('train_cfg') or {}).get(key)
        done = (content.get('meta') or {}).get(unit)
        if isinstance(length, int) and isinstance(done, int) and done >= length:
            warn(f'nothing is left to train: {path} is of {unit} {done}, and train_cfg.{key} is '
                 f'{length}')
    averages = any(kind_of(hook) == 'EMAHook' for hook in cfg.get('custom_hooks') or ())
    if 'ema_state_dict' in content and not averages:
        raise ConfigError(
            f"--resume: {path} was written with averaged weights (EMAHook), which it has in the "
            'place of those that were trained; give the hook again (switches=ema), or start a new '
            f'run from the averaged ones with --cfg-options load_from={path}')
    _go_on_with_seed(context, path, content.get('meta') or {})
    _compare_optimiser(context, path, content.get('optimizer'))
    _compare_schedules(context, path, content.get('param_schedulers'))


def _go_on_with_seed(context: Context, path: str, meta: dict) -> None:
    """See :func:`goes_on`; a Runner takes it for all but the samplers that it has built by then."""
    saved = meta.get('seed')
    if saved is None:
        return
    cfg = context.cfg
    cfg.randomness = dict(cfg.get('randomness') or {})
    given = cfg.randomness.get('seed')
    if given is not None and given != saved:
        warn(f'randomness.seed is {given}, and {path} resumes with {saved}')
    cfg.randomness.seed = saved


def _compare_optimiser(context: Context, path: str, state) -> None:
    """See :func:`goes_on`."""
    wrapper = context.cfg.get('optim_wrapper') or {}
    settings = wrapper.get('optimizer') or {}
    groups = state.get('param_groups') if isinstance(state, dict) else None
    known = class_of(settings, OPTIMIZERS)
    if not groups or known is None:
        return  # of several optimisers, or of a sharded one
    arguments = set(inspect.signature(known).parameters)
    if 'kwargs' not in arguments and (foreign := [
            key for key in ('betas', 'momentum', 'alpha', 'rho') if key in groups[0]
            and key not in arguments]):
        raise ConfigError(
            f'--resume: {path} was written with another optimiser (it has {foreign[0]}) than '
            f'optim_wrapper.optimizer ({kind_of(settings)}); give the one it was written with, or '
            f'start a new run with --cfg-options load_from={path}')
    base = state.get('base_param_settings') or ({} if wrapper.get('paramwise_cfg') else groups[0])
    new, saved = settings.get('lr'), base.get('initial_lr')
    if not (context.cfg.get('auto_scale_lr') or {}).get('enable') and isinstance(
            new, (int, float)) and saved and not math.isclose(new, saved, rel_tol=1e-6):
        warn(f'optim_wrapper.optimizer.lr is {new:g}, and {path} resumes with {saved:g}; '
             'a new run from its weights (load_from) takes the new one')
    for key in _SETTINGS:
        if key in settings and key in base and _plain(settings[key]) != _plain(base[key]):
            warn(f'optim_wrapper.optimizer.{key} is {settings[key]}, and {path} resumes with '
                 f'{base[key]}; a new run from its weights (load_from) takes the new one')


def _plain(value: object) -> object:
    """Of a config or of a saved state, to compare."""
    if isinstance(value, Counter):
        return sorted(value.elements())
    return sorted(value) if isinstance(value, (list, tuple)) else value


def _compare_schedules(context: Context, path: str, states) -> None:
    """See :func:`goes_on`."""
    parts = schedulers_of(context.cfg)
    if not isinstance(states, list):
        return  # of several optimisers
    if len(parts) != len(states):
        raise ConfigError(
            f'--resume: {path} was written with {len(states)} schedules (param_scheduler), and the '
            f'config has {len(parts)}; make them as they were, or start a new run with '
            f'--cfg-options load_from={path}')
    for key, new, saved in _changed(parts, states):
        warn(f'{key} is {new}, and {path} resumes with {saved}, as its run was planned; a new '
             'run from its weights (load_from) takes the new one')


def _changed(parts: list[tuple[str, dict]], states: list[dict]
             ) -> Iterator[tuple[str, object, object]]:
    """(key, value of the config, value of the checkpoint) of what differs in schedules."""
    for (key, part), state in zip(parts, states, strict=True):
        if part.get('convert_to_iter_based') or \
                part.get('by_epoch', True) != state.get('by_epoch', True):
            continue  # they count other things
        for name in _SCHEDULE:
            if name in part and name in state and _plain(part[name]) != _plain(state[name]):
                yield f'{key}.{name}', part[name], _plain(state[name])
