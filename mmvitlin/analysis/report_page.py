"""One self-contained HTML page of a set of runs: opens from disk, asks no network for anything."""
from __future__ import annotations

import base64
import html
import io
import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from mmvitlin.analysis.figures import overlay, plt, read_scalars

_STYLE = '''
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #fdfdfc; --card: #fff; --line: #d8d8d4;
  --soft: #5c5c58; --accent: #0072b2; }
@media (prefers-color-scheme: dark) { :root { --ink: #e9e9e6; --paper: #17181a; --card: #202225;
  --line: #3a3d41; --soft: #a5a7a9; --accent: #56b4e9; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1, h2, p, figcaption { overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child { text-align: left; }
figure { margin: 1rem 0; } figure > img { width: 100%; background: #fff; border-radius: 6px; }
figcaption, .soft { color: var(--soft); font-size: .9rem; }
.compare { position: relative; background: var(--card); border: 1px solid var(--line);
  border-radius: 6px; overflow: hidden; }
.compare img { display: block; width: 100%; }
.compare .over { position: absolute; inset: 0; clip-path: inset(0 0 0 var(--at, 50%)); }
.compare .edge { position: absolute; top: 0; bottom: 0; left: var(--at, 50%); width: 2px;
  background: #fff; mix-blend-mode: difference; }
.compare span { position: absolute; top: .4rem; padding: .1rem .5rem; border-radius: 4px;
  background: #000a; color: #fff; font-size: .8rem; }
input[type=range] { width: 100%; accent-color: var(--accent); }
'''
_SCRIPT = '''
for (const input of document.querySelectorAll('input[type=range]')) {
  const move = () => input.previousElementSibling.style.setProperty('--at', input.value + '%');
  input.addEventListener('input', move);
  move();
}
'''


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
    """What the page shows.

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
    """Every run with a result.json in the folders and below.

    Raises:
        FileNotFoundError: a folder that is not there.
    """
    runs, seen = [], set()
    folders = list(map(Path, folders))
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f'no work directory at {folder}')
        for file in sorted(folder.rglob('result.json')):
            if file.resolve() in seen:  # of a folder within another
                continue
            seen.add(file.resolve())
            parent = file.parent.parent.name
            seed = int(parent[4:]) if parent.startswith('seed') and parent[4:].isdigit() else None
            name = file.parent.name
            if len(folders) > 1 and file.parent != folder:
                name = f'{folder.name} · {name}'
            runs.append(Run(name, seed, file.parent, json.loads(file.read_text())))
    return runs


def find_speeds(folders: Iterable[str | Path]) -> list[dict]:
    """Content of every results.json of ``tools/benchmark.py`` that lies in the folders."""
    found = []
    for folder in map(Path, folders):
        path = folder / 'results.json'
        content = json.loads(path.read_text()) if path.is_file() else {}
        if 'rows' in content and 'calls' in content:
            found.append(content)
    return found


def samples_of(rows: Iterable[dict], palette: np.ndarray, student: str) -> list[Sample]:
    """Sliders between teacher and student.

    Args:
        rows: From :func:`mmvitlin.analysis.side_by_side.predictions`.
        palette: (C, 3) colours.
        student: Its name.
    """
    return [Sample(*(overlay(row['image'], row[who], palette, 0.6)
                     for who in ('teacher', 'student')), 'teacher', f'student: {student}')
            for row in rows]


def _embedded(picture: bytes, kind: str = 'png') -> str:
    return f'data:image/{kind};base64,{base64.b64encode(picture).decode()}'


def _jpeg(picture: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, 'JPEG', quality=88)
    return _embedded(buffer.getvalue(), 'jpeg')


def accuracy_table(runs: Sequence[Run]) -> str:
    """Metrics of each stage, mean and spread over its seeds."""
    by_name: dict[str, list[Run]] = {}
    for run in runs:
        by_name.setdefault(run.name, []).append(run)
    metrics = list(dict.fromkeys(m for run in runs for m in run.result.get('metrics', {})))
    head = ''.join(f'<th>{html.escape(m)}</th>' for m in metrics)
    lines = [f'<tr><th>run</th>{head}<th>iterations</th><th>seconds</th><th>seeds</th></tr>']
    for name, group in by_name.items():
        cells = []
        for metric in metrics:
            values = [v for r in group if isinstance(v := r.result.get('metrics', {}).get(metric),
                                                     (int, float))]
            spread = f' ± {statistics.stdev(values):.2f}' if len(values) > 1 else ''
            cells.append(f'{statistics.mean(values):.2f}{spread}' if values else '')
        seconds = statistics.mean(r.result.get('seconds', 0) for r in group)
        cells += [group[0].result.get('iterations', ''), f'{seconds:.0f}',
                  len({r.seed for r in group})]
        lines.append(_row([name, *cells]))
    return f'<div class="scroll"><table>{"".join(lines)}</table></div>'


def _row(cells: Sequence[object]) -> str:
    return '<tr>' + ''.join(f'<td>{html.escape(str(c))}</td>' for c in cells) + '</tr>'


def speed_table(content: dict) -> str:
    """Times and memory that ``tools/benchmark.py`` measured, with the machine."""
    lines = ['<tr><th>network</th><th>image</th><th>precision</th><th>ms</th><th>10–90%</th>'
             '<th>peak MiB</th><th>of the limit</th></tr>']
    for key, row in content['rows'].items():
        if row.get('stale'):
            continue
        name, part, mode, shape, batch, precision, compiled, device = key.split('|')
        if row['status'] != 'ok':
            cells = [row['status'], '', '', '']
        else:
            ms, peak = row['ms'], row.get('peak_mib')
            spread = f"{ms['p10']:.1f}–{ms['p90']:.1f}" if ms['rounds'] > 1 else 'one run'
            cells = [f"{ms['median']:.1f}", spread, '' if peak is None else f'{peak:.0f}',
                     f"{100 * row['fraction']:.0f}%" if 'fraction' in row else '']
        lines.append(_row([f'{name}, {part}, {mode}, {batch}, {compiled}, {device}', shape,
                           precision, *cells]))
    machines = {c['gpu'] or c['processor'] for c in (
        content['calls'][row.get('call', -1)]['machine'] for row in content['rows'].values())}
    where = html.escape(' and '.join(sorted(machines)))
    return (f'<p class="soft">{where}</p>'
            f'<div class="scroll"><table>{"".join(lines)}</table></div>')


def curves(runs: Sequence[Run]) -> str:
    """Training losses of all runs that logged any, as one picture; '' for none."""
    logged = [(run, points) for run in runs
              if (points := read_scalars(run.folder).get('loss'))]
    if not logged:
        return ''
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
    return _figure('Training losses; runs with other objectives are not comparable in height.',
                   _embedded(buffer.getvalue()))


def _figure(caption: str, source: str) -> str:
    words = html.escape(caption)
    return f'<figure><img src="{source}" alt="{words}"><figcaption>{words}</figcaption></figure>'


def _slider(sample: Sample) -> str:
    left, right = html.escape(sample.left_name), html.escape(sample.right_name)
    return (f'<figure><div class="compare"><img src="{_jpeg(sample.left)}" alt="{left}">'
            f'<img class="over" src="{_jpeg(sample.right)}" alt="{right}"><div class="edge"></div>'
            f'<span style="left:.5rem">{left}</span><span style="right:.5rem">{right}</span></div>'
            f'<input type="range" min="0" max="100" value="50" '
            f'aria-label="{left} to the left, {right} to the right"></figure>')


def write_page(page: Page, path: str | Path) -> Path:
    """Write the page; everything it shows is inside it."""
    parts = [f'<h1>{html.escape(page.title)}</h1>']
    parts += [f'<p class="soft">{html.escape(note)}</p>' for note in page.notes]
    if page.runs:
        parts += ['<h2>Accuracy</h2>', accuracy_table(page.runs)]
    if page.speeds:
        parts += ['<h2>Speed</h2>', *map(speed_table, page.speeds)]
    if page.samples:
        parts += ['<h2>Teacher and student</h2>', *map(_slider, page.samples)]
    if page.figures:
        parts.append('<h2>Figures</h2>')
        parts += [_figure(caption, _embedded(Path(file).read_bytes()))
                  for caption, file in page.figures.items()]
    if page.runs and (drawn := curves(page.runs)):
        parts += ['<h2>Training</h2>', drawn]
    text = ('<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f'<title>{html.escape(page.title)}</title><style>{_STYLE}</style></head><body>'
            f'{"".join(parts)}<script>{_SCRIPT}</script></body></html>')
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path
