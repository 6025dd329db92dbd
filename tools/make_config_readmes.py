"""Write the lists of the configs: the tables in the README.md of each folder, metafile.yml, and
docs/config_names.md, the names that configs had before.

    python tools/make_config_readmes.py              writes them
    python tools/make_config_readmes.py --check      fails where one is not what it would write

The text above the marker in a README is written by hand. A row is a config's first sentence and
the results in docs/results whose commands or recipe name it. Collections in a metafile.yml are
written by hand, its models are made of the config's header and its results.
"""
import argparse
import json
import re
import sys
from pathlib import Path

from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ('distill', 'seg', 'det', 'cls', 'recipes')
MARKER = '<!-- The table is written by tools/make_config_readmes.py. -->\n'
OLD_NAMES = ROOT / 'configs/old_names.yml'
DATA = dict(in1k='ImageNet-1K', coco='COCO', cityscapes='Cityscapes', ade20k='ADE20K',
            camvid='CamVid', cifar10='CIFAR-10', streets='drawn streets', images='any images')
NAMES_PAGE = """# Names of configs, before and now

Where the options are none, the two run the same. Asking for an old name gives the new one.
`configs/README.md` says how a name is read.

| before | now | options |
| --- | --- | --- |
"""


def old_names() -> dict[str, tuple[str, str]]:
    """Config by its old name → (its name now, the options that it takes today), as ``seg/x.py``."""
    names = {}
    for line in OLD_NAMES.read_text().splitlines():
        if not line.startswith('#'):
            old, now = line.split(': ', 1)
            names[old] = now.partition(' ')[::2]
    return names


def first_sentence(path: Path) -> str:
    """The first sentence of a config's header.

    Raises:
        ValueError: it begins with no comment.
    """
    words = []
    for line in path.read_text().splitlines():
        if not line.startswith('# ') or line.startswith('#   ') or \
                re.match(r'# (Published|Ours): ', line):
            break
        words.append(line[2:].strip())
    if not words:
        raise ValueError(f'{path.relative_to(ROOT)}: the first line is no comment; say what the '
                         'config is')
    first, *more = re.split(r'(?<=[.?])\s', ' '.join(words))
    if first.endswith('?') and more:
        first = f'{first} {more[0]}'
    first = re.sub(r'(?<![\w/-])([\w-]+)\.py\b', r'`\1`', first.rstrip('.'))
    return first[0].upper() + first[1:]


def results() -> dict[str, list[str]]:
    """Config, as ``seg/x.py`` → names of the results files of recipes that run it."""
    by_config: dict[str, list[str]] = {}
    renamed = old_names()
    for file in sorted((ROOT / 'docs/results').glob('*.json')):
        text = file.read_text()
        runs = json.loads(text).get('runs') or {}
        done = {name for run in runs.values() for name in run} if isinstance(runs, dict) else set()
        configs = set(re.findall(r'configs/(\w+/[\w.-]+\.py)', text))  # of its commands
        recipes = {path for path in configs if path.startswith('recipes/')}
        recipes |= {(json.loads(text).get('recipe') or '').removeprefix('configs/')} - {''}
        for recipe in recipes:
            configs |= {stage['config'].removeprefix('configs/')
                        for stage in Config.fromfile(str(ROOT / 'configs' / recipe)).stages
                        if not done or any(name == stage['name'] or name.startswith(
                            f"{stage['name']}-") for name in done)}
        for config in {renamed.get(config, (config, ''))[0] for config in configs}:
            by_config.setdefault(config, []).append(file.name)
    return by_config


def table(folder: str, measured: dict[str, list[str]]) -> str:
    """Of a folder's configs."""
    lines = ['| config | what it is | measured |', '| --- | --- | --- |']
    for path in sorted((ROOT / 'configs' / folder).glob('*.py')):
        files = measured.get(f'{folder}/{path.name}', [])
        links = ', '.join(f'[{name.removesuffix(".json")}](../../docs/results/{name})'
                          for name in files)
        lines.append(f'| [`{path.stem}`]({path.name}) | {first_sentence(path)} | '
                     f'{links or "not yet"} |')
    return '\n'.join(lines) + '\n'


def data_of(name: str) -> str:
    """The data set that a config's name has."""
    for part in re.split(r'[_-]', name):
        if part in DATA:
            return DATA[part]
    raise ValueError(f"{name}: the name has none of {sorted(DATA)}; see configs/README.md")


def metafile(folder: str, measured: dict[str, list[str]]) -> str:
    """Metafile of a folder's configs, for mim: paper, data, and results of each."""
    path = ROOT / 'configs' / folder / 'metafile.yml'
    above, _, _ = path.read_text().partition('Models:\n')
    collection = re.search(r'- Name: (.+)', above)[1]
    lines = []
    for config in sorted((ROOT / 'configs' / folder).glob('*.py')):
        header = ' '.join(line[1:].strip() for line in config.read_text().splitlines()
                          if line.startswith('#'))
        papers = ', '.join(dict.fromkeys(f'arXiv {n}' for n in re.findall(r'\d{4}\.\d{5}', header)))
        files = ', '.join(measured.get(f'{folder}/{config.name}', []))
        meta = f'Training Data: {data_of(config.stem)}'
        meta += f', Papers: [{papers}]' if papers else ''
        meta += f', Measured: [{files}]' if files else ', Measured: not yet'
        lines += [f'  - Name: {config.stem}', f'    In Collection: {collection}',
                  f'    Config: configs/{folder}/{config.name}', f'    Metadata: {{{meta}}}']
    return above + 'Models:\n' + '\n'.join(lines) + '\n'


def names_page() -> str:
    """docs/config_names.md."""
    rows = [f'| `{old}` | `{now}` | {f"`{options}`" if options else ""} |'
            for old, (now, options) in old_names().items()]
    return NAMES_PAGE + '\n'.join(rows) + '\n'


def pages() -> dict[Path, str]:
    """Content of all files that are written.

    Raises:
        ValueError: a README without the marker.
    """
    measured, made = results(), {ROOT / 'docs/config_names.md': names_page()}
    for folder in FOLDERS:
        path = ROOT / 'configs' / folder / 'README.md'
        above, marker, _ = path.read_text().partition(MARKER)
        if not marker:
            raise ValueError(f'{path.relative_to(ROOT)} has no line {MARKER!r}')
        made[path] = f'{above}{MARKER}\n{table(folder, measured)}'
        if folder != 'recipes':  # which train no one model
            made[path.with_name('metafile.yml')] = metafile(folder, measured)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--check', action='store_true', help='write nothing')
    args = parser.parse_args()
    made = pages()
    stale = [path for path, text in made.items() if not path.is_file() or path.read_text() != text]
    if args.check and stale:
        sys.exit(f'stale: {", ".join(str(p.relative_to(ROOT)) for p in stale)}; run `python '
                 'tools/make_config_readmes.py`')
    for path in [] if args.check else stale:
        path.write_text(made[path])


if __name__ == '__main__':
    main()
