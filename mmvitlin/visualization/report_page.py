"""One self-contained HTML page of a set of runs: it opens from disk and needs no network."""
from __future__ import annotations

import base64
import io
import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jinja2
import numpy as np
from PIL import Image

from mmvitlin.utils.machine import undisturbed
from mmvitlin.visualization.figures import plt
from mmvitlin.visualization.logs import read_scalars
from mmvitlin.visualization.overlay import overlay

_TEMPLATE = Path(__file__).with_suffix('.html')


@dataclass
class Run:
    """A finished run: one stage of a recipe with one seed, or a work directory by itself.

    Attributes:
        name: Stage; with the folder it was found through in front, where there are several.
        seed: Of the run, or None.
        folder: Its work directory.
        result: Its result.json.
    """
    name: str
    seed: int | None
    folder: Path
    result: dict


@dataclass
class Sample:
    """Two pictures of one image, to be compared by a slider."""
    left: np.ndarray
    right: np.ndarray
    left_name: str
    right_name: str


@dataclass
class Page:
    """Content of the page.

    Attributes:
        title: Heading.
        runs: From :func:`find_runs`.
        figures: Caption → image file.
        samples: For the sliders.
        notes: Paragraphs under the heading.
        speeds: From :func:`find_speeds`.
    """
    title: str
    runs: Sequence[Run] = ()
    figures: dict[str, Path] = field(default_factory=dict)
    samples: Sequence[Sample] = ()
    notes: Sequence[str] = ()
    speeds: Sequence[dict] = ()


def find_runs(folders: Iterable[str | Path]) -> list[Run]:
    """All runs with a result.json in the folders and below.

    Raises:
        FileNotFoundError: a folder does not exist.
    """
    found: list[tuple[Path, int | None, tuple[str, ...], Path]] = []
    seen = set()
    folders = list(map(Path, folders))
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f'no work directory at {folder}')
        for file in sorted(folder.rglob('result.json')):
            if file.resolve() in seen:  # of a folder within another
                continue
            seen.add(file.resolve())
            run = file.parent.resolve()
            parent = run.parent.name
            seed = int(parent[4:]) if parent.startswith('seed') and parent[4:].isdigit() else None
            of = run.parent if seed is None else run.parent.parent  # one for all seeds
            found.append((file.parent, seed, (*of.parts[1:], run.name), folder))
    names = _short_names({parts for _, _, parts, _ in found})
    runs = []
    for path, seed, parts, folder in found:
        name = names[parts]
        if len(folders) > 1 and path != folder and ' · ' not in name:
            name = f'{folder.name} · {name}'
        runs.append(Run(name, seed, path, json.loads((path / 'result.json').read_text())))
    return runs


def _short_names(paths: set[tuple[str, ...]]) -> dict[tuple[str, ...], str]:
    """A name for each path: its last part, with the fewest before it that tell it from others."""
    names = {}
    for path in paths:
        same = [other for other in paths if other != path and other[-1] == path[-1]]
        count = next(n for n in range(1, len(path) + 2)
                     if n > len(path) or all(other[-n:] != path[-n:] for other in same)) \
            if same else 1
        names[path] = ' · '.join(path[-count:])
    return names


def find_speeds(folders: Iterable[str | Path]) -> list[dict]:
    """Content of every results.json of ``tools/benchmark.py`` that lies in the folders."""
    contents = []
    for folder in map(Path, folders):
        path = folder / 'results.json'
        content = json.loads(path.read_text()) if path.is_file() else {}
        if 'rows' in content and 'calls' in content:
            contents.append(content)
    return contents


def samples_of(rows: Iterable[dict], palette: np.ndarray, student: str) -> list[Sample]:
    """Sliders between teacher and student.

    Args:
        rows: From :func:`mmvitlin.visualization.side_by_side.predictions`.
        palette: (C, 3) colours.
        student: Its name.
    """
    return [Sample(*(overlay(row['image'], row[role], palette, 0.6)
                     for role in ('teacher', 'student')), 'teacher', f'student: {student}')
            for row in rows]


def _embedded(picture: bytes, kind: str) -> str:
    return f'data:image/{kind};base64,{base64.b64encode(picture).decode()}'


def _jpeg(picture: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, 'JPEG', quality=88)
    return _embedded(buffer.getvalue(), 'jpeg')


@dataclass
class Table:
    """Cells of a table, under a heading for each column."""
    heads: Sequence[str]
    rows: list[Sequence[object]]
    note: str = ''


def accuracy_table(runs: Sequence[Run]) -> Table:
    """Metrics of each stage, mean and spread over its seeds."""
    by_name: dict[str, list[Run]] = {}
    for run in runs:
        by_name.setdefault(run.name, []).append(run)
    metrics = list(dict.fromkeys(m for run in runs for m in run.result.get('metrics', {})))
    table = Table(['run', *metrics, 'iterations', 'seconds', 'seeds'], [])
    for name, group in by_name.items():
        cells = []
        for metric in metrics:
            values = [v for r in group if isinstance(v := r.result.get('metrics', {}).get(metric),
                                                     (int, float))]
            spread = f' ± {statistics.stdev(values):.2f}' if len(values) > 1 else ''
            cells.append(f'{statistics.mean(values):.2f}{spread}' if values else '')
        seconds = statistics.mean(r.result.get('seconds', 0) for r in group)
        table.rows.append([name, *cells, group[0].result.get('iterations', ''), f'{seconds:.0f}',
                           len({r.seed for r in group})])
    return table


def speed_table(content: dict) -> Table:
    """Times and memory that ``tools/benchmark.py`` measured, with the machine."""
    machines = {c['gpu'] or c['processor'] for c in (
        content['calls'][row.get('call', -1)]['machine'] for row in content['rows'].values())}
    table = Table(['network', 'image', 'precision', 'ms', '10–90%', 'peak MiB', 'of the limit'],
                  [], ' and '.join(sorted(machines)))
    for key, row in content['rows'].items():
        if row.get('stale'):
            continue
        name, part, mode, shape, batch, precision, compiled, device = key.split('|')
        if row['status'] != 'ok':
            cells = [row['status'], '', '', '']
        else:
            ms, peak = row['ms'], row.get('peak_mib')
            spread = f"{ms['p10']:.1f}–{ms['p90']:.1f}" if ms['rounds'] > 1 else 'one run'
            spread += '' if undisturbed([row]) else ', disturbed'
            cells = [f"{ms['median']:.1f}", spread, '' if peak is None else f'{peak:.0f}',
                     f"{100 * row['fraction']:.0f}%" if 'fraction' in row else '']
        table.rows.append([f'{name}, {part}, {mode}, {batch}, {compiled}, {device}', shape,
                           precision, *cells])
    return table


def curves(runs: Sequence[Run]) -> bytes | None:
    """Training losses of all runs that logged any, as a PNG; None where none did."""
    logged = [(run, points) for run in runs
              if (points := read_scalars(run.folder).get('loss'))]
    if not logged:
        return None
    figure, axis = plt.subplots(figsize=(9, 4))
    names = list(dict.fromkeys(run.name for run, _ in logged))
    for run, points in logged:
        first = run is next(r for r, _ in logged if r.name == run.name)
        colour = plt.get_cmap('tab10')(names.index(run.name) % 10)
        axis.plot(*zip(*points, strict=True), color=colour, alpha=0.8,
                  label=run.name if first else None)
    axis.set(xlabel='iteration', ylabel='training loss', yscale='log')
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=130, bbox_inches='tight')
    plt.close(figure)
    return buffer.getvalue()


def write_page(page: Page, path: str | Path) -> Path:
    """Write the page; everything it shows is inside it."""
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True,
                                     undefined=jinja2.StrictUndefined)
    environment.filters.update(png=lambda picture: _embedded(picture, 'png'), jpeg=_jpeg)
    drawn = curves(page.runs)
    figures = {caption: Path(file).read_bytes() for caption, file in page.figures.items()}
    text = environment.from_string(_TEMPLATE.read_text()).render(
        page=page, figures=figures, curves=drawn,
        accuracy=accuracy_table(page.runs) if page.runs else None,
        speeds=[speed_table(content) for content in page.speeds])
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path
