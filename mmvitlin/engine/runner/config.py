"""Reading configs."""
from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config

from mmvitlin.compat.mmengine import config_path, read_config
from mmvitlin.engine.rules.context import LOADERS, warn
from mmvitlin.engine.rules.kinds import check_kinds
from mmvitlin.engine.runner.config_source import chain
from mmvitlin.engine.runner.data_roots import move_data, roots_to_move
from mmvitlin.engine.runner.options import ABSENT, fit
from mmvitlin.engine.runner.variables import idle, misnamed, replaced, sources
from mmvitlin.utils import paths
from mmvitlin.utils.errors import ConfigError, in_words


def load_config(path: str, options: dict | None = None, work_dir: str | None = None) -> Config:
    """Read a config of any of the libraries.

    ``options`` are key → value, those of ``--cfg-options`` as
    :func:`mmvitlin.engine.runner.options.parse_option` reads them, and are fitted to what the
    config has; a ``data_root`` among them is the root of every data set of the config, so that one
    option moves the data; sets with another root than the config's own stay, with a warning. A
    config that sets ``data_root`` anew moves the data sets that have its
    base's; of another variable that its base has used already, a warning says that it changes
    nothing. ``iterations``, in the config or among the options, trains for as many
    (:func:`schedule_of`).
    ``switches``, in the config or among the options, names files to merge over it: those of
    ``configs/_base_/switches`` by their names, others by their paths. The work directory is
    ``work_dirs/<name of the config>`` unless the config or the caller says otherwise; switches
    among the options that make another network or training of it, all but :data:`SAME_RUN`, are
    added to that name.

    Raises:
        ConfigError: no such file or switch, an option that would change nothing, or a value of the
            wrong kind for its key.
    """
    path = locate_config(path)
    _refuse_no_config(path)
    for place in (os.getcwd(), os.path.dirname(os.path.abspath(path))):  # of custom_imports
        if place not in sys.path:
            sys.path.append(place)
    try:
        cfg = read_config(path)
    except Exception as error:  # it is Python, and executed
        raise ConfigError(f'{path} is no config: {_located(path) or in_words(error)}') from error
    check_kinds(cfg, typed=False)
    files = sources(path)
    if old := replaced(files, 'data_root'):
        move_data(cfg, str(cfg.data_root), old)
    read = {*_RUNNER, 'switches'}
    if wrong := misnamed(cfg, files, {*read, 'iterations'}):
        raise ConfigError(f'{path}: nothing reads {wrong}')
    if 'data_preprocessor' in (cfg.get('model') or {}):
        read.discard('data_preprocessor')
    for name, base in idle(files, read).items():
        warn(f"{path}: '{name}' is a variable of its base {base.path.name}, which has used it "
             'before this config sets it: it changes nothing here'
             + _made_of(cfg, base.values.get(name)))
    options = dict(options or {})
    given = 'switches' in options
    switches = cfg.pop('switches', None)
    switches = fit('switches', options.pop('switches', switches), [])
    _merge_switches(cfg, switches or [], Path(path).parent)
    used = {name for file in files for name in file.used}
    own = None if 'iterations' in used else cfg.pop('iterations', None)
    if (iterations := options.pop('iterations', own)) is not None:
        options = {**schedule_of(cfg, iterations), **options}
    _refuse_idle(cfg, options, path)
    options = {key: fit(key, value, _at(cfg, key)) for key, value in options.items()}
    if 'data_root' in options:
        old, cfg.data_root = cfg.get('data_root'), options.pop('data_root')
        move_data(cfg, str(cfg.data_root or ''), roots_to_move(cfg, old))
    try:
        cfg.merge_from_dict(options)
    except Exception as error:  # a place in a list that is not there, a value that has no keys
        raise ConfigError(f'--cfg-options {sorted(options)} do not fit {path}: {in_words(error)}'
                          ) from error
    check_kinds(cfg, typed=False)
    if 'runtime' in ([switches] if isinstance(switches, str) else switches or []):
        _seed_samples(cfg)  # behind the options, whose keys it would move
    if work_dir is not None:
        cfg.work_dir = work_dir
    elif cfg.get('work_dir') is None:
        names = ([switches] if isinstance(switches, str) else switches or []) if given else []
        more = [Path(name).stem for name in names if name and name not in SAME_RUN]
        cfg.work_dir = str(Path('work_dirs') / '_'.join([Path(path).stem, *more]))
    return cfg


def _located(path: str) -> str:
    """In which file of a config the error is, where it is no Python or inherits from itself."""
    try:
        list(chain(path))
    except ConfigError as error:
        return str(error)
    except Exception:  # a base that is not there, of which running the config says enough
        return ''
    return ''


SAME_RUN = ('deepspeed', 'fsdp', 'runtime', 'save_memory')  # switches of how a run is computed


def locate_config(path: str) -> str:
    """The file that ``mmseg::…``, ``mmvitlin::…`` and the like name, which must be there; other
    paths as they are.

    Raises:
        ConfigError: that library has no such config, or is not installed.
    """
    if '::' not in path:
        return path
    try:
        return config_path(path)
    except (FileNotFoundError, ModuleNotFoundError) as error:
        raise ConfigError(str(error)) from error


def _refuse_no_config(path: str) -> None:
    """Raises ConfigError for a path where no config can be."""
    if Path(path).suffix in ('.pth', '.pt', '.safetensors', '.onnx'):
        raise ConfigError(f'{path} is given as the config, and is a checkpoint; the config comes '
                          'first')
    if Path(path).is_dir():
        try:
            hint = f', in which a run left {config_of_run(path)}'
        except ConfigError:
            hint = ''
        raise ConfigError(f'no config file at {path}, which is a folder{hint}')
    if not Path(path).is_file():
        now = paths.renamed(path)
        raise ConfigError(f'no config file at {path}'
                          + (f', which has another name: configs/{now}' if now else ''))


def config_of_run(folder: str | Path) -> Path:
    """The newest config that a run left in its work directory.

    Raises:
        ConfigError: there is none.
    """
    configs = [*Path(folder).glob('*.py'), *Path(folder).glob('*/vis_data/config.py')]
    if not configs:
        raise ConfigError(f'no run left its config in {folder}')
    return max(configs, key=lambda path: path.stat().st_mtime_ns)


_RUNNER = {  # keys that a Runner or mmvitlin takes, whether the config has them or not
    'activation_checkpointing', 'allow_random_weights', 'auto_scale_lr', 'cfg', 'compile',
    'custom_hooks', 'custom_imports', 'data_preprocessor', 'data_root', 'default_hooks',
    'default_scope',
    'efficient_conv_bn_eval', 'env_cfg', 'experiment_name', 'find_unused_parameters',
    'init_weights_for_test_or_val', 'load_from', 'log_level', 'log_processor', 'model',
    'model_wrapper_cfg', 'optim_wrapper', 'param_scheduler', 'randomness', 'resume',
    'runner_type', 'strategy', 'sync_bn', 'test_cfg', 'test_dataloader', 'test_evaluator', 'tf32',
    'train_cfg', 'train_dataloader', 'tta_model', 'tta_pipeline', 'val_cfg', 'val_dataloader',
    'val_evaluator', 'visualizer', 'work_dir'}
_ENV = {'cudnn_benchmark', 'dist_cfg', 'mp_cfg', 'resource_limit'}


def _refuse_idle(cfg: Config, options: dict, path: str) -> None:
    """Raises ConfigError for an option that would change nothing."""
    variables = {n for file in sources(path) for n in file.used} if options else set()
    for key in options:
        top, *rest = key.split('.')
        what = f'--cfg-options {key}'
        if top == 'launcher':
            raise ConfigError(f'{what}: give it as --launcher')
        if top == 'data_preprocessor' and 'data_preprocessor' in (cfg.get('model') or {}):
            raise ConfigError(f"{what}: the model of {path} has one of its own; set model.{key}")
        if top == 'env_cfg' and rest and rest[0] not in _ENV:
            raise ConfigError(f'{what}: env_cfg has {sorted(_ENV)}')
        if top in _RUNNER:
            continue
        if top in variables and top in cfg:
            made = [k for k, v in leaves(cfg) if v == cfg[top] and k.split('.')[0] in _RUNNER]
            made = [k for k in made if k.rsplit('.', 1)[-1] == top] or made
            hint = f", such as {', '.join(made[:3])}" if made else ''
            raise ConfigError(f"{what}: '{top}' is a variable of {path}, and is used before "
                              f'options are applied; set what is made of it{hint}')
        if top not in cfg:
            close = difflib.get_close_matches(top, [*cfg.keys(), *_RUNNER], n=1)
            hint = f"do you mean '{close[0]}'?" if close else \
                'if something of yours reads it, give the config a value for it first'
            within = [k for k in cfg if isinstance(cfg[k], dict) and top in cfg[k]]
            if within:
                hint = f'it is in {within[0]}: {within[0]}.{key}'
            raise ConfigError(f"{what}: {path} has no '{top}'; {hint}")


def _made_of(cfg: Config, value: object) -> str:
    """Words on where a config still has the value of a variable of its base."""
    made = [k for k, v in leaves(cfg) if v == value and type(v) is type(value)
            and k.split('.')[0] in _RUNNER] if value is not None else []
    return f"; set what is made of it, such as {', '.join(made[:3])}" if made else ''


def leaves(node, key: str = '') -> Iterator[tuple[str, object]]:
    """(key, value) of all that is below a part of a config."""
    if key:
        yield key, node
    if isinstance(node, (Config, dict, list, tuple)):
        for name, child in enumerate(node) if isinstance(node, (list, tuple)) else node.items():
            yield from leaves(child, f'{key}.{name}' if key else str(name))


def _merge_switches(cfg: Config, names: str | list[str], beside: Path) -> None:
    """Merge files over a config in the order that they name, 0 without one, and as given within it;
    hooks are added to its own.

    Raises:
        ConfigError: there is no such switch, or two give the same of another kind.
    """
    folder = paths.folder('configs') / '_base_' / 'switches'
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, (list, tuple)) or not all(isinstance(n, str) for n in names):
        raise ConfigError(f'switches: must be a list of names, got {names!r}')
    sharding = ''
    found: list[tuple[str, Config]] = []
    for name in filter(None, names):
        places = [beside / name, Path(name)] if name.endswith('.py') else [folder / f'{name}.py']
        path = next((p for p in places if p.is_file()), None)
        if path is None:
            raise ConfigError(f"switches: there is no '{name}'; take one of "
                              f'{sorted(p.stem for p in folder.glob("*.py"))}, or the path of a '
                              'config file')
        found.append((name, read_config(path)))
    for name, switch in sorted(found, key=lambda pair: pair[1].get('order', 0)):
        switch.pop('order', None)
        if 'strategy' in switch:
            if sharding:
                raise ConfigError(f"switches: '{sharding}' and '{name}' both give a strategy; take "
                                  'one')
            sharding = name
        own = list(cfg.get('custom_hooks') or [])
        present = {hook['type'] for hook in own}
        own += [h for h in switch.pop('custom_hooks', []) if h['type'] not in present]
        changes = switch.to_dict()
        moved = changes.get('model', {}).get('data_preprocessor')
        if moved and 'data_preprocessor' in cfg and 'data_preprocessor' not in cfg.model:
            del changes['model']['data_preprocessor']
            changes['data_preprocessor'] = moved  # classification has it there
        root = cfg.get('data_root')
        cfg.merge_from_dict(changes)
        if 'data_root' in changes:
            move_data(cfg, str(cfg.data_root), {str(root)} if root else None)
        if own:
            cfg.custom_hooks = own
        if name == 'runtime':
            _adapt_loaders(cfg)


_SEEDED = {'DefaultSampler': 'mmvitlin.SeededSampler',
           'InfiniteSampler': 'mmvitlin.SeededInfiniteSampler'}


def _adapt_loaders(cfg: Config) -> None:
    """Give loaders mmvitlin's samplers instead of mmengine's, and its workers."""
    for key in LOADERS:
        loader = cfg.get(key)
        if not isinstance(loader, dict):
            continue
        loader.setdefault('worker_init_fn', dict(type='mmvitlin.patient_worker'))
        sampler = loader.get('sampler')
        if isinstance(sampler, dict) and sampler.get('type') in _SEEDED:
            sampler.type = _SEEDED[sampler.type]


def _seed_samples(cfg: Config) -> None:
    """Make the seeds of the samplers reach the training data."""
    loader = cfg.get('train_dataloader')
    if not isinstance(loader, dict) or not isinstance(loader.get('dataset'), dict):
        return
    sampler, dataset = loader.get('sampler') or {}, loader.dataset
    if sampler.get('type') in _SEEDED.values() and dataset.get('type') != 'mmvitlin.SeededDataset':
        loader.dataset = dict(type='mmvitlin.SeededDataset', dataset=dataset)


def _at(cfg: Config, key: str) -> object:
    """What a config has at a key with dots, or ``ABSENT``."""
    node = cfg
    for name in key.split('.'):
        if isinstance(node, (list, tuple)) and name.isdigit() and int(name) < len(node):
            node = node[int(name)]
        elif isinstance(node, (Config, dict)) and name in node:
            node = node[name]
        else:
            return ABSENT
    return node


def schedule_of(cfg: Config, iterations: int) -> dict[str, int]:
    """``--cfg-options`` by which a config trains for another number of iterations, its schedule
    and the intervals of validation and checkpoints in proportion.

    Raises:
        ConfigError: it counts epochs, or ``iterations`` is not a positive integer.
    """
    if not isinstance(iterations, int) or isinstance(iterations, bool) or iterations < 1:
        raise ConfigError(f'iterations={iterations!r}: must be a whole number, 1 or more')
    before = (cfg.get('train_cfg') or {}).get('max_iters')
    if before is None:
        raise ConfigError(f'{cfg.filename} counts epochs; iterations can be set for configs '
                          'that have train_cfg.max_iters')
    def scaled(count: int) -> int:
        return count if count <= 0 else max(round(count * iterations / before), 1)

    options = {'train_cfg.max_iters': iterations,
               'train_cfg.val_interval': scaled(cfg.train_cfg.get('val_interval', before))}
    if isinstance(cfg.train_cfg.get('val_begin'), int):
        options['train_cfg.val_begin'] = scaled(cfg.train_cfg.val_begin)
    for n, of_user in enumerate(cfg.get('custom_hooks') or []):
        if isinstance(of_user.get('begin_iter'), int):  # of averaged weights
            options[f'custom_hooks.{n}.begin_iter'] = scaled(of_user['begin_iter'])
    hook = (cfg.get('default_hooks') or {}).get('checkpoint')
    if hook is not None:
        options['default_hooks.checkpoint.interval'] = scaled(hook.get('interval', before))
    schedules = cfg.get('param_scheduler') or []
    several = isinstance(schedules, (list, tuple))
    for n, part in enumerate(schedules if several else [schedules]):
        counts = {key: scaled(part[key]) for key in ('begin', 'end', 'T_max', 'step_size',
                                                      'total_steps')
                  if isinstance(part.get(key), int)}
        for key in ('milestones', 'periods'):
            if key in part:
                counts[key] = [scaled(at) for at in part[key]]
        if {'begin', 'end'} <= counts.keys():
            counts['end'] = max(counts['end'], counts['begin'] + 1)
        key = f'param_scheduler.{n}' if several else 'param_scheduler'
        options.update({f'{key}.{name}': count for name, count in counts.items()})
    return options
