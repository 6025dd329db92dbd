"""Reading configs."""
from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from mmengine.config import Config, DictAction

from mmvitlin import compat, shipped
from mmvitlin.engine.config_source import chain
from mmvitlin.engine.preflight import datasets_of
from mmvitlin.errors import ConfigError, in_words


def load_config(path: str, options: dict | None = None, work_dir: str | None = None) -> Config:
    """Read a config of any of the libraries.

    ``options`` are mmengine's ``--cfg-options``; a ``data_root`` among them is the root of
    every data set of the config, so that one option moves the data. ``switches``, in the config
    or among the options, names files to merge over it: those of ``configs/_base_/switches`` by
    their names, others by their paths. The work directory is ``work_dirs/<name of the config>``
    unless the config or the caller says otherwise.

    Raises:
        ConfigError: no such file or switch, or an option that would change nothing.
    """
    compat.apply()
    path = locate_config(path)
    if not Path(path).is_file():
        raise ConfigError(f'no config file at {path}')
    try:
        cfg = Config.fromfile(path)
    except Exception as error:  # it is Python, and executed
        raise ConfigError(f'{path} is no config: {in_words(error)}') from error
    options = dict(options or {})
    switches = cfg.pop('switches', None)
    _merge_switches(cfg, options.pop('switches', switches) or [], Path(path).parent)
    _refuse_idle(cfg, options, path)
    if (root := options.pop('data_root', None)) is not None:
        cfg.data_root = root
        _move_data(cfg, str(root))
    try:
        cfg.merge_from_dict(options)
    except Exception as error:  # a place in a list that is not there, a value that has no keys
        raise ConfigError(f'--cfg-options {sorted(options)} do not fit {path}: {in_words(error)}'
                          ) from error
    if work_dir is not None:
        cfg.work_dir = work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / Path(path).stem)
    return cfg


def locate_config(path: str) -> str:
    """The file that ``mmseg::…``, ``mmvitlin::…`` and the like name, which must be there; other
    paths as they are.

    Raises:
        ConfigError: that library has no such config, or is not installed.
    """
    if '::' not in path:
        return path
    compat.apply()
    try:
        return str(Config._get_cfg_path(path, '')[0])
    except (FileNotFoundError, ModuleNotFoundError) as error:
        raise ConfigError(str(error)) from error


def config_of_run(folder: str | Path) -> Path:
    """The newest config that a run left in its work directory.

    Raises:
        ConfigError: there is none.
    """
    found = [*Path(folder).glob('*.py'), *Path(folder).glob('*/vis_data/config.py')]
    if not found:
        raise ConfigError(f'no run left its config in {folder}')
    return max(found, key=lambda path: path.stat().st_mtime_ns)


_RUNNER = {  # what a Runner takes, and we, whether the config has it or not
    'activation_checkpointing', 'auto_scale_lr', 'cfg', 'compile', 'custom_hooks',
    'custom_imports', 'data_preprocessor', 'data_root', 'default_hooks', 'default_scope',
    'efficient_conv_bn_eval', 'env_cfg', 'experiment_name', 'find_unused_parameters',
    'init_weights_for_test_or_val', 'load_from', 'log_level', 'log_processor', 'model',
    'model_wrapper_cfg', 'optim_wrapper', 'param_scheduler', 'randomness', 'resume',
    'runner_type', 'strategy', 'sync_bn', 'test_cfg', 'test_dataloader', 'test_evaluator',
    'train_cfg', 'train_dataloader', 'tta_model', 'tta_pipeline', 'val_cfg', 'val_dataloader',
    'val_evaluator', 'visualizer', 'work_dir'}
_ENV = {'cudnn_benchmark', 'dist_cfg', 'mp_cfg', 'resource_limit'}


def _refuse_idle(cfg: Config, options: dict, path: str) -> None:
    """Raises ConfigError for an option that would change nothing."""
    variables = _variables(path) if options else set()
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
                              f'options are heeded; set what is made of it{hint}')
        if top not in cfg:
            close = difflib.get_close_matches(top, [*cfg.keys(), *_RUNNER], n=1)
            hint = f"do you mean '{close[0]}'?" if close else \
                'if something of yours reads it, give the config a value for it first'
            within = [k for k in cfg if isinstance(cfg[k], dict) and top in cfg[k]]
            if within:
                hint = f'it is in {within[0]}: {within[0]}.{key}'
            raise ConfigError(f"{what}: {path} has no '{top}'; {hint}")


def _variables(path: str) -> set[str]:
    """What a config and its bases speak of by name."""
    found: set[str] = set()
    with suppress(ConfigError):  # its bases are computed
        for _, text in chain(path):
            found |= {n.id for n in ast.walk(ast.parse(text))
                      if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
            found |= set(re.findall(r'\b_base_\.(\w+)', text))
    return found


def leaves(node, key: str = '') -> Iterator[tuple[str, object]]:
    """(key, value) of all that is below a part of a config."""
    if key:
        yield key, node
    if isinstance(node, (Config, dict, list, tuple)):
        for name, child in enumerate(node) if isinstance(node, (list, tuple)) else node.items():
            yield from leaves(child, f'{key}.{name}' if key else str(name))


def _merge_switches(cfg: Config, names: str | list[str], beside: Path) -> None:
    """Merge files over a config; hooks are added to its own.

    Raises:
        ConfigError: there is no such switch, or two give the same of another kind.
    """
    folder = shipped.folder('configs') / '_base_' / 'switches'
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, (list, tuple)) or not all(isinstance(n, str) for n in names):
        raise ConfigError(f'switches: a list of names is wanted, got {names!r}')
    sharding = ''
    for name in filter(None, names):
        places = [beside / name, Path(name)] if name.endswith('.py') else [folder / f'{name}.py']
        path = next((p for p in places if p.is_file()), None)
        if path is None:
            raise ConfigError(f"switches: there is no '{name}'; take one of "
                              f'{sorted(p.stem for p in folder.glob("*.py"))}, or the path of a '
                              'config file')
        switch = Config.fromfile(path)
        if 'strategy' in switch:
            if sharding:
                raise ConfigError(f"switches: '{sharding}' and '{name}' both give a strategy; take "
                                  'one')
            sharding = name
        own = list(cfg.get('custom_hooks') or [])
        there = {hook['type'] for hook in own}
        own += [h for h in switch.pop('custom_hooks', []) if h['type'] not in there]
        cfg.merge_from_dict(switch.to_dict())
        if own:
            cfg.custom_hooks = own


def _move_data(cfg: Config, root: str) -> None:
    """Give every data set another root, and the evaluators what lay below the old ones."""
    roots = set()
    for _, dataset in datasets_of(cfg):
        roots.add(str(dataset['data_root'] or '').rstrip('/'))
        dataset['data_root'] = root
    for key in ('val_evaluator', 'test_evaluator'):
        found = cfg.get(key) or []
        for evaluator in found if isinstance(found, (list, tuple)) else [found]:
            for name in ('ann_file', 'seg_prefix'):
                value = evaluator.get(name)
                old = next((r for r in sorted(roots - {''}, key=len, reverse=True)
                            if isinstance(value, str) and value.startswith(f'{r}/')), None)
                if old is not None:
                    evaluator[name] = f"{root.rstrip('/')}{value[len(old):]}"


class ConfigOptions(DictAction):
    """mmengine's ``--cfg-options``, with a line for what has no value."""

    def __call__(self, parser, namespace, values, option_string=None):
        if bare := [v for v in values if '=' not in v]:
            parser.error(f'{option_string} {bare[0]}: give it as {bare[0]}=VALUE')
        super().__call__(parser, namespace, values, option_string)


def schedule_of(cfg: Config, iterations: int) -> dict[str, int]:
    """``--cfg-options`` by which a config trains for another number of iterations.

    Raises:
        ConfigError: it counts epochs.
    """
    before = cfg.train_cfg.get('max_iters')
    if before is None:
        raise ConfigError(f'{cfg.filename} counts epochs; iterations can be set for configs '
                          'that have train_cfg.max_iters')
    options = {'train_cfg.max_iters': iterations, 'train_cfg.val_interval': iterations,
               'default_hooks.checkpoint.interval': iterations}
    for n, part in enumerate(cfg.get('param_scheduler') or []):
        options.update({f'param_scheduler.{n}.{end}': round(part[end] * iterations / before)
                        for end in ('begin', 'end') if end in part})
    return options
