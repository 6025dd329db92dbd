"""Lists of the files of a split, checked line by line before a data set reads them."""
from __future__ import annotations

import codecs
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mmvitlin.utils.errors import ConfigError

_SHOWN = 3
_MARKS = {codecs.BOM_UTF8: 'a byte order mark, which becomes a part of the first name',
          codecs.BOM_UTF16_LE: 'the mark of UTF-16', codecs.BOM_UTF16_BE: 'the mark of UTF-16'}


@dataclass(frozen=True)
class Line:
    """What is wrong with a line of a list.

    Attributes:
        number: Of the line, from 1; 0 for the whole file.
        words: What is wrong, and the remedy.
        stops: Whether a run cannot go on with it.
    """
    number: int
    words: str
    stops: bool = True


def faulty_lines(dataset) -> Iterator[tuple[str, Line]]:
    """(list file, what is wrong with a line) of a data set of mmseg or mmpretrain.

    Args:
        dataset: Built, if only with ``lazy_init=True``. Others than those with a list of image
            files give nothing, and so do remote files.
    """
    path = getattr(dataset, 'ann_file', '')
    if not isinstance(path, str) or not path or '://' in path or not Path(path).is_file() \
            or path.endswith(('.json', '.pkl', '.csv', '.xml', '.yml', '.yaml')):
        return
    prefix = getattr(dataset, 'data_prefix', None) or {}
    if not isinstance(prefix, dict) or 'img_path' not in prefix:
        return
    if hasattr(dataset, 'seg_map_suffix'):
        look = _Look([(prefix['img_path'], dataset.img_suffix),
                      (prefix.get('seg_map_path'), dataset.seg_map_suffix)])
    elif hasattr(dataset, 'with_label'):
        classes = (getattr(dataset, 'metainfo', None) or {}).get('classes')
        look = _Look([(prefix['img_path'], '')], dataset.with_label, len(classes or ()),
                     stripped=dataset.with_label)
    else:
        return
    for line in look.lines(Path(path)):
        yield path, line


def refuse_faulty_lists(dataset, key: str) -> None:
    """Stop where lines of a data set's list cannot be followed.

    Args:
        dataset: See :func:`faulty_lines`.
        key: Of the data set in the config.

    Raises:
        ConfigError: names the list, its first such lines and the remedy.
    """
    wrong = [(path, line) for path, line in faulty_lines(dataset) if line.stops]
    if wrong:
        shown = '; '.join(f'line {line.number}: {line.words}' if line.number else line.words
                          for _, line in wrong[:_SHOWN])
        more = f'; and {len(wrong) - _SHOWN} more lines' if len(wrong) > _SHOWN else ''
        raise ConfigError(f'{key}.ann_file: {wrong[0][0]}: {shown}{more}')


class _Look:
    """How the lines of a list are read.

    Args:
        parts: (folder or None, suffix) of the files that a name stands for.
        labelled: A class number follows each name.
        num_classes: 0 if it is not known.
        stripped: Whether the data set takes blanks off the ends of a line.
    """

    def __init__(self, parts: list[tuple[str | None, str]], labelled: bool = False,
                 num_classes: int = 0, stripped: bool = True):
        self.parts = [(Path(folder), suffix) for folder, suffix in parts
                      if folder and '://' not in str(folder)]
        self.labelled, self.num_classes, self.stripped = labelled, num_classes, stripped
        self.folders: dict[Path, dict[str, str]] = {}

    def lines(self, path: Path) -> Iterator[Line]:
        """What is wrong with those of a file."""
        content = path.read_bytes()
        for mark, words in _MARKS.items():
            if content.startswith(mark):
                yield Line(1, f'begins with {words}; save the file as UTF-8 without one')
                return
        try:
            text = content.decode()
        except UnicodeDecodeError as error:
            yield Line(content[:error.start].count(b'\n') + 1,
                       'is not UTF-8; save the file in that encoding')
            return
        if not text.strip():
            yield Line(0, 'the file lists nothing')
            return
        first: dict[str, int] = {}
        for number, line in enumerate(text.removesuffix('\n').split('\n'), 1):
            if words := self._fault(line):
                yield Line(number, words)
                continue
            name = line.strip().rsplit(' ', 1)[0] if self.labelled else line.strip()
            if name in first:
                yield Line(number, f"'{name}' is listed in line {first[name]} already", stops=False)
            first.setdefault(name, number)

    def _fault(self, line: str) -> str:
        if not line.strip():
            return 'is blank; take it out'
        if '\r' in line.strip('\r'):
            return 'holds line ends of another system (CR alone); write the file with LF'
        line = line.rstrip('\r')
        if not self.stripped and line != line.strip():
            return f'{line!r} begins or ends with blanks, which become a part of the name'
        line, label = line.strip(), ''
        if self.labelled:
            line, blank, label = line.rpartition(' ')
            if not blank:
                return (f'{label!r} has no class number after a blank'
                        + (' (a tab is none)' if '\t' in label else ''))
            if not label.isdigit():
                return f'the class of {line!r} is {label!r}; it must be a number from 0'
            if self.num_classes and int(label) >= self.num_classes:
                return (f'the class of {line!r} is {label}, but there are {self.num_classes} '
                        f'classes (0 to {self.num_classes - 1})')
        if '\t' in line:
            return f'{line!r} holds a tab; one name a line'
        files = [folder / f'{line}{suffix}' for folder, suffix in self.parts]
        if len(files) == 2 and os.path.normpath(files[0]) == os.path.normpath(files[1]):
            return (f'{line!r} stands for one file, {files[0]}, as the image and as its label; '
                    'give names below data_prefix, which both folders have')
        return next(filter(None, (self._absent(line, *part) for part in self.parts)), '')

    def _absent(self, name: str, folder: Path, suffix: str) -> str:
        """A message where there is no such file; '' where there is."""
        file = folder / f'{name}{suffix}'
        if file.parent not in self.folders:
            self.folders[file.parent] = {p.name.lower(): p.name for p in file.parent.iterdir()} \
                if file.parent.is_dir() else {}
        listing = self.folders[file.parent]
        if listing.get(file.name.lower()) == file.name or file.exists():
            return ''
        words = f'there is no file {file}'
        if '\\' in name and (folder / f'{name}{suffix}'.replace('\\', '/')).is_file():
            return f'{words}; write / for \\'
        if suffix and ' ' in name and any(
                (folder / f'{name.split()[0]}{end}').is_file() for end in (suffix, '')):
            return f'{words}; one name a line, without what follows the blank'
        if suffix and name.lower().endswith(suffix.lower()):
            return f"{words}; the suffix '{suffix}' is added to the names: list them without it"
        if file.name.lower() in listing:
            return f"{words}, but '{listing[file.name.lower()]}': names must agree in upper and " \
                'lower case'
        stem = file.name.removesuffix(suffix).lower() + '.'
        other = next((n for low, n in listing.items() if low.startswith(stem)), None) if suffix \
            else None
        return f"{words}, but '{other}': give the data set its suffix" if other else words
