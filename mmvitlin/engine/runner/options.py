"""Values of KEY=VALUE on a command line, fitted to a config."""
from __future__ import annotations

import argparse
import ast
import json
import re
from contextlib import suppress

from mmvitlin.utils.errors import ConfigError

_CONSTANTS = {'none': None, 'null': None, 'true': True, 'false': False}
_YES_OR_NO = {'yes', 'no', 'on', 'off', 'y', 'n', 't', 'f'}
_PAIRS = {'(': ')', '[': ']', '{': '}'}
_PATH = re.compile(r'(data_root|load_from|checkpoint|work_dir|.*_(dir|root|prefix|file|path))$')
ABSENT = object()  # nothing is at a key, not even None


class Text(str):
    """A value whose meaning depends on what the config has at its key; see :func:`fit`."""


def parse_option(key: str, text: str) -> object:
    """Value of ``key=text`` as far as the text alone determines it.

    What ``ast.literal_eval`` takes is that value; so are JSON and ``dict(key=value, …)``.
    None, none and null are None, true and false are booleans, in any case. A key that names a file
    or folder takes numbers and booleans as names.

    Raises:
        ValueError: the text begins with ``dict(`` and is no dict.
    """
    word = text.strip()
    if word.lower() in ('none', 'null'):
        return None
    if _names_a_path(key) and not word.startswith((*'"\'[({', 'dict(')):
        return Text(text)
    parts = split(word)
    if parts is None and word.startswith('dict('):
        raise ValueError('a bracket or quote is not closed')
    if parts is None or len(parts) > 1:  # bare commas: the config decides
        return Text(text)
    try:
        return _value(word)
    except ValueError:
        if word.startswith('dict('):
            raise
        return Text(text)


def fit(key: str, value: object, before: object) -> object:
    """A value as the config needs it, checked against the kind of what it replaces.

    ``a,b`` is a list or tuple where the config has one, a tuple where all parts are literals, and
    the string otherwise; ``[a,b]`` with bare words is a string where the config has one. A dict in
    the place of what is none is marked as ``_delete_``, as mmengine's merging needs it.

    Args:
        key: Of the config, with dots.
        value: From :func:`parse_option`, or a value of Python.
        before: What the config has there, or ``ABSENT``.

    Raises:
        ConfigError: a string instead of a number, a boolean or a ``dict(type=…)``.
    """
    if isinstance(value, Text):
        value = _resolve(key, value, before)
    return _checked(key, value, before)


def _resolve(key: str, text: Text, before: object) -> object:
    word = text.strip()
    parts = split(word)
    if parts is not None and len(parts) > 1:
        items = [_item(part) for part in (parts if parts[-1] else parts[:-1])]
        if isinstance(before, (list, tuple)):
            return type(before)(items)
        plain = _names_a_path(key) or any(isinstance(item, Text) for item in items)
        return str(text) if plain else tuple(items)
    if not isinstance(before, str) and word[:1] in _PAIRS:
        with suppress(ValueError):
            return _bare_items(word)
    return str(text)


def _checked(key: str, value: object, before: object) -> object:
    if isinstance(value, dict):
        if isinstance(before, dict):
            return type(value)({k: _checked(f'{key}.{k}', v, before.get(k, ABSENT))
                                for k, v in value.items()})
        merged = before is ABSENT or isinstance(before, (list, tuple))
        return value if merged else dict(value, _delete_=True)
    if not isinstance(value, str):
        return value
    if isinstance(before, dict) and 'type' in before:
        raise ConfigError(f"{key} must be a dict(type=…), got '{value}'; set a key of it, such as "
                          f'{key}.type')
    if isinstance(before, bool):
        if value.lower() in _YES_OR_NO or _nearly_a_boolean(value):
            raise ConfigError(f"{key} must be True or False, got '{value}'")
    elif isinstance(before, (int, float)):
        with suppress(ValueError):
            return float(value)  # inf, 007
        if not re.fullmatch(r'[a-zA-Z_]+', value):  # a word, such as auto, is allowed
            raise ConfigError(f"{key} must be a number, got '{value}'")
    return value


def _nearly_a_boolean(word: str) -> bool:
    return sorted(word.lower()) in (sorted('true'), sorted('false'))


def _names_a_path(key: str) -> bool:
    return _PATH.match(key.rsplit('.', 1)[-1]) is not None


def split(text: str, separator: str = ',') -> list[str] | None:
    """Parts between separators that are in no bracket and no quotes; None where brackets or quotes
    are left open."""
    parts, start, closing, quote, before = [], 0, [], '', ''
    for n, letter in enumerate(text):
        if quote:
            if letter == quote and text[n - 1] != '\\':
                quote = ''
        elif letter in '"\'' and before in ('', *'([{,=:'):  # elsewhere an apostrophe
            quote = letter
        elif letter in _PAIRS:
            closing.append(_PAIRS[letter])
        elif closing and letter == closing[-1]:
            closing.pop()
        elif letter == separator and not closing:
            parts.append(text[start:n].strip())
            start = n + 1
        before = letter if letter.strip() else before
    if quote or closing:
        return None
    return [*parts, text[start:].strip()]


def _value(word: str) -> object:
    """A literal, JSON, or a ``dict(…)``.

    Raises:
        ValueError: it is none.
    """
    if word.lower() in _CONSTANTS:
        return _CONSTANTS[word.lower()]
    if re.fullmatch(r'[+-]?0\d+', word):  # literal_eval takes 000
        raise ValueError(word)
    with suppress(ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return ast.literal_eval(word)
    if word[:1] in ('{', '['):
        with suppress(ValueError, RecursionError):
            return json.loads(word)
    if word.startswith('dict(') and word.endswith(')'):
        return _pairs(word[5:-1], '=')
    raise ValueError(f'neither a literal nor JSON: {word}')


def _item(word: str) -> object:
    """A part of a list or dict: as :func:`parse_option`, bare words are :class:`Text`."""
    try:
        return _value(word)
    except ValueError:
        if word.startswith('dict('):
            raise
    with suppress(ValueError):
        return _bare_items(word)
    return Text(word)


def _bare_items(word: str) -> object:
    """``[a,b]``, ``(a,b)`` or ``{a:b}`` with words that are not quoted.

    Raises:
        ValueError: no such thing.
    """
    if len(word) < 2 or word[0] not in _PAIRS or word[-1] != _PAIRS[word[0]]:
        raise ValueError(word)
    inner = word[1:-1]
    if word[0] == '{':
        return _pairs(inner, ':')
    parts = split(inner)
    if parts is None or word[0] == '(' and len(parts) < 2:
        raise ValueError(word)
    parts = parts if parts[-1] else parts[:-1]
    return (list if word[0] == '[' else tuple)(_plain(_item(part)) for part in parts)


def _pairs(inner: str, mark: str) -> dict:
    parts = split(inner)
    if parts is None:
        raise ValueError(f'a bracket or quote is not closed in {inner}')
    pairs = {}
    for part in parts if parts[-1] else parts[:-1]:
        name, separator, value = part.partition(mark)
        name = name.strip().strip('"\'')
        if not separator or not name:
            raise ValueError(f"'{part}' is no key{mark}value")
        pairs[name] = _plain(_item(value.strip()))
    return pairs


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Text) else value


def format_option(key: str, value: object) -> str:
    """``key=value`` that :func:`parse_option` and :func:`fit` read back as the value."""
    if isinstance(value, Text):
        return f'{key}={value}'
    if not isinstance(value, str):
        return f'{key}={value!r}'
    simple = re.fullmatch(r'[^\s,()\[\]{}"\']+', value) is not None
    return f'{key}={value}' if simple and isinstance(parse_option(key, value), Text) else \
        f'{key}={value!r}'


class ConfigOptions(argparse.Action):
    """``--cfg-options KEY=VALUE …``, whose values :func:`parse_option` reads; given twice, both
    count."""

    def __call__(self, parser, namespace, values, option_string=None):
        options = dict(getattr(namespace, self.dest, None) or {})
        for pair in values:
            key, separator, text = pair.partition('=')
            if not separator:
                parser.error(f'{option_string} {pair}: give it as {pair}=VALUE')
            part = next((other for other in options if other.startswith(f'{key.strip()}.')), None)
            if part is not None:
                parser.error(f'{option_string} {pair}: would replace {part}, which is a part of it '
                             'and given before; write all in one of them')
            try:
                options[key.strip()] = self.read(key.strip(), text)
            except ValueError as error:
                parser.error(f'{option_string} {pair}: {error}')
        setattr(namespace, self.dest, options)

    @staticmethod
    def read(key: str, text: str) -> object:
        """Value of one pair."""
        return parse_option(key, text)


class GridOptions(ConfigOptions):
    """``--grid KEY=VALUE,VALUE …``: a list of values for each key, separated by commas that are in
    no bracket and no quotes."""

    @staticmethod
    def read(key: str, text: str) -> list:
        """Values of one key."""
        parts = split(text)
        if parts is None:
            raise ValueError('a bracket or quote is not closed')
        return [parse_option(key, part) for part in parts]


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Give a parser the options that say how a config is trained."""
    parser.add_argument('--work-dir', help='where logs and checkpoints go')
    parser.add_argument('--resume', nargs='?', const=True, default=False, metavar='CHECKPOINT',
                        help='go on from the newest checkpoint of the work directory, or this one')
    parser.add_argument('--amp', action='store_true', help='mixed precision: bfloat16, or '
                        'float16 on a GPU without it; float32 on a CPU without it')
    parser.add_argument('--seed', type=int, help='same as --cfg-options randomness.seed=N')
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions, default={},
                        metavar='KEY=VALUE',
                        help="override config keys; 'data_root=…' moves every data set")
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
