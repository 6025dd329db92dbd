"""The scores of a checkpoint, from the ``result.json`` of its run, without names of folders."""
from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from mmvitlin.utils.paths import folder, is_place

PATH = 'PATH'
_NAMES_A_PLACE = re.compile(r'.*(dir|root|prefix|file|path|checkpoint|load_from|out|resume|images|'
                            r'labels)$')


def run_scores(checkpoint: Path, meta: Mapping) -> str:
    """Scores as they were measured, in Markdown.

    Args:
        checkpoint: The file; ``result.json`` and ``test_result.json`` are looked for beside it.
        meta: Its entries besides the weights.

    Returns:
        A table for each file that belongs to these weights; else the reason why there is none.
    """
    parts, why = [], f'Not known: there is no `result.json` of the run of {_words_of(meta)}.'
    trained = _read(checkpoint.with_name('result.json'))
    if trained is not None:
        why = _differs(trained, meta)
        if not why:
            parts += _table(trained, 'The last validation of the run')
    tested = _read(checkpoint.with_name('test_result.json'))
    if tested is not None and checkpoint.name in map(_name_of, _split(tested.get('command'))):
        parts += _table(tested, 'A test')
    return '\n\n'.join(parts or [why])


def run_record(checkpoint: Path, meta: Mapping) -> dict | None:
    """The ``result.json`` beside a checkpoint; None where there is none, or it is of other weights.

    Args:
        checkpoint: The file.
        meta: Its entries besides the weights.
    """
    result = _read(checkpoint.with_name('result.json'))
    return None if result is None or _differs(result, meta) else result


def public_command(command: str) -> str:
    """A command line in which names of one's own folders are replaced by PATH.

    Configs and tools of the toolkit keep their names.
    """
    words = _split(command)
    shown, before = [], ''
    for n, word in enumerate(words):
        key, equals, value = word.partition('=')
        if n == 1 and words[0] == 'python' and value == '' and word.endswith('.py'):
            shown += _script(word)
        elif equals and (is_place(value) or _NAMES_A_PLACE.match(key)):
            shown.append(f'{PATH if is_place(key) else key}={_config(value) or PATH}')
        elif is_place(word) or before.startswith('--') and _NAMES_A_PLACE.match(before):
            shown.append(_config(word) or PATH)
        else:
            shown.append(word)
        before = word
    return ' '.join(word if re.fullmatch(r'[^\s\'"`]+', word) else shlex.quote(word)
                    for word in shown).replace('`', '')


def _split(command: object) -> list[str]:
    """Words of a command line; empty where no shell would accept it."""
    with suppress(ValueError):
        return shlex.split(str(command or ''))
    return []


def _script(word: str) -> list[str]:
    path = Path(word.replace('\\', '/'))
    if path.name == '__main__.py':
        return ['-m', path.parent.name]
    return [f'tools/{path.name}' if path.parent.name == 'tools' else path.name]


def _config(word: str) -> str | None:
    """A shipped config's name from the repository's root; None for anything else."""
    within = 'configs/' + word.replace('\\', '/').rpartition('configs/')[2]
    with suppress(FileNotFoundError):
        if 'configs/' in word and (folder('configs').parent / within).is_file():
            return within
    return None


def _name_of(word: str) -> str:
    return word.replace('\\', '/').rpartition('/')[2]


def _read(path: Path) -> dict | None:
    with suppress(OSError, ValueError):
        content = json.loads(path.read_text(encoding='utf-8'))
        if isinstance(content, dict):
            return content
    return None


def _words_of(meta: Mapping) -> str:
    return f"{meta['iter']:,} iterations" if meta.get('iter') else 'these weights'


def _differs(result: Mapping, meta: Mapping) -> str:
    """Why a result is not of these weights; '' where nothing says so."""
    for key, measured, saved in (('iterations', result.get('iterations'), meta.get('iter')),
                                 ('seed', result.get('seed'), meta.get('seed'))):
        if None not in (measured, saved) and measured != saved:
            return (f'Not known: the `result.json` beside the checkpoint has {key} {measured}, the '
                    f'checkpoint {saved}.')
    return ''


def _table(result: Mapping, what: str) -> Iterator[str]:
    scores, losses = result.get('metrics') or {}, result.get('train') or {}
    values = [*scores.items(), *((f'{name}, training, mean of the last iterations', value)
                                 for name, value in losses.items())]
    rows = [f'| {name} | {value:.6g} |' for name, value in values
            if isinstance(value, (int, float))]
    date = result.get('date', 'at a time that is not known')
    yield f'{what}, {date}:' if scores else f'No score was measured. Losses of the run, {date}:'
    if rows:
        yield '\n'.join(['| | |', '| --- | --- |', *rows])
    yield '\n'.join(circumstances(result))


def circumstances(result: Mapping) -> Iterator[str]:
    """Versions, commit, machine and command of a result, a line each."""
    versions = ', '.join(f'{k} {v}' for k, v in (result.get('versions') or {}).items())
    yield f"- Versions: {versions or 'not known'}"
    commit = str(result.get('commit', 'not known'))
    yield f"- Commit: {commit.rstrip('+')}{', files changed' * commit.endswith('+')}"
    yield (f"- Ran on: {result.get('device', 'not known')}, {result.get('threads', '?')} threads, "
           f"{result.get('precision', 'precision not known')}, seed {result.get('seed', '?')}")
    command = public_command(str(result.get('command', '')))
    yield '- Command: ' + {'': 'not known', 'python': 'a Python session'}.get(
        command, f'`{command}`')
