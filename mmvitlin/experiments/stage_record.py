"""Record of the settings of a stage, written beside its results, to tell it from other runs."""
from __future__ import annotations

import hashlib
import json
from pathlib import Path

from mmvitlin.engine.runner.config import leaves, load_config
from mmvitlin.experiments.stage import Stage
from mmvitlin.utils.device import half_dtype
from mmvitlin.utils.errors import ConfigError
from mmvitlin.utils.files import write_whole

_WITHOUT_INFLUENCE = ('work_dir', 'data_root', 'num_workers', 'persistent_workers', 'pin_memory',
                      'prefetch_factor', 'logger', 'log_level', 'log_processor', 'visualizer',
                      'vis_backends', 'launcher', 'max_keep_ckpts', 'keep_in_memory')


def settings_of(stage: Stage, options: dict, given: dict[str, str], amp: bool, seed: int = 0
                ) -> dict:
    """All settings that the result of a stage depends on, except the seed and the data's location.
    A stage that names data of its own in its options has those, for they are a part of it.

    'config' has the options merged into it; 'amp' is the precision that ``--amp`` means on this
    machine, False where it means none.
    """
    data = {k: str(v) for k, v in stage.options.items() if k.split('.')[-1] == 'data_root'}
    options = {k: v for k, v in {**options, **stage.options}.items()
               if k.split('.')[-1] not in _WITHOUT_INFLUENCE}
    files = {k: hashlib.blake2b(Path(v).read_bytes(), digest_size=16).hexdigest()
             for k, v in given.items() if Path(v).is_file()}
    cfg = load_config(stage.config, options).to_dict() if stage.there() else options
    half = half_dtype() if amp else None
    amp = str(half).removeprefix('torch.') if half else False
    own = dict(by_seed={k: v for k, v in stage.options_of(seed).items() if k in stage.by_seed},
               data=data)
    return json.loads(json.dumps(dict(config=_telling(cfg), amp=amp, inputs=files,
                                      **{k: v for k, v in own.items() if v}), default=str))


def _data_root(stage: Stage, options: dict) -> str | None:
    """Where the data of a stage lies, which is recorded and not compared."""
    given = {**options, **stage.options}
    if 'data_root' not in given and stage.there():
        given = load_config(stage.config, given)
    root = given.get('data_root')
    return None if root is None else str(root)


def _telling(node):
    if isinstance(node, dict):
        return {str(k): _telling(v) for k, v in node.items() if k not in _WITHOUT_INFLUENCE}
    return [_telling(v) for v in node] if isinstance(node, (list, tuple)) else node


def _differing(before: dict, now: dict) -> list[str]:
    """Innermost keys whose values are not the same."""
    had, has = dict(leaves(before)), dict(leaves(now))
    either = {**had, **has}
    nested = {k for k, v in either.items() if isinstance(v, (dict, list))
              and type(had.get(k)) is type(has.get(k))}  # what differs is below
    return [k for k in either if k not in nested and (
        k not in had or k not in has or had[k] != has[k])]


def remember(stage: Stage, folder: Path, options: dict, given: dict[str, str], amp: bool,
             seed: int = 0) -> None:
    """Write the settings of a stage; one that is resumed must have the same."""
    if any(folder.glob('*.pth')):
        compare(stage, folder, options, given, amp, seed)
    folder.mkdir(parents=True, exist_ok=True)
    settings = settings_of(stage, options, given, amp, seed)
    text = json.dumps(dict(settings, data_root=_data_root(stage, options)), indent=1)
    write_whole(f'{text}\n'.encode(), folder / 'stage.json')


def made_of(settings: dict) -> str:
    """Digest of :func:`settings_of`, without what differs from seed to seed and machine to machine.

    The precision that ``--amp`` means on a machine is not part of it: each run's result says it.
    """
    without = 'inputs', 'by_seed', 'data_root'
    inputs = {k: v for k, v in settings.items() if k not in without} | dict(amp=False)
    return hashlib.blake2b(json.dumps(inputs, sort_keys=True).encode(), digest_size=8).hexdigest()


def record_of(folder: Path) -> dict | None:
    """The recorded settings of a folder's stage; None where there is no record."""
    path = folder / 'stage.json'
    return json.loads(path.read_text()) if path.is_file() else None


def compare(stage: Stage, folder: Path, options: dict, given: dict[str, str], amp: bool,
            seed: int = 0) -> None:
    """Refuse a folder that was made with other settings; one without a record is accepted."""
    before, now = record_of(folder), settings_of(stage, options, given, amp, seed)
    if before is None:
        return
    changed = [k for k in ('amp', 'by_seed', 'data') if before.get(k) != now.get(k)]
    if keys := _differing(before.get('config', {}), now['config']):
        changed.insert(0, f"config ({', '.join(keys[:3])}{', …' if keys[3:] else ''})")
    had, has = before.get('inputs', {}), now['inputs']
    changed += [f'inputs ({k})' for k in sorted({*had, *stage.inputs})  # a file may be gone
                if k not in had or k not in stage.inputs or has.get(k, had[k]) != had[k]]
    if changed:
        raise ConfigError(f"stage '{stage.name}' in {folder} was run with another "
                          f"{' and '.join(changed)}; give back what it had, take another "
                          '--work-dir, or remove the folder (and those of the stages after it) to '
                          'run it again')
    was, at = before.get('data_root'), _data_root(stage, options)
    if was and at and Path(was).absolute() != Path(at).absolute():
        print(f'    {folder} was run on the data in {was}, and data_root is {at} now; it is taken '
              'for the same data', flush=True)
