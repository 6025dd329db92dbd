"""Report of a teacher / student comparison, as text."""
from __future__ import annotations

from mmvitlin.experiments.recipe import Report
from mmvitlin.utils.disturbance import in_words
from mmvitlin.utils.machine import undisturbed

_NOISE = 2.0  # mIoU: smaller differences of one seed are noise


def report(results: dict, layout: Report) -> str:
    """The report as Markdown; differences below the noise are called so.

    Args:
        results: As ``tools/demo.py`` writes them.
        layout: Title, rows and names of the stages, from the recipe.
    """
    miou, seconds = results['miou'], results['seconds']
    lines = [f'# {layout.title}', '', '| model | mIoU | iterations with labels | seconds |',
             '| --- | --- | --- | --- |']
    for name, text in layout.rows.items():
        lines.append(f"| {text} | {miou[name]:.2f} | {results['iterations'][name]} | "
                     f'{seconds[name]:.0f} |')
    free = sum(results['iterations'][n] for n in layout.unlabelled)
    spent = sum(seconds[n] for n in layout.unlabelled)
    lines += ['', *(_verdict(miou, layout.student, other) for other in layout.rows
                    if other != layout.student), '',
              f'Distillation took {free} iterations without labels, {spent:.0f} s. One seed: '
              f'differences of a point or two are noise. {layout.note}'.rstrip(), '',
              '![predictions](predictions.png)', '', '![losses](losses.png)', '',
              '## Speed of the backbones', '',
              'Batch 1, float32, medians (10–90%), fused attention in the teacher; peak memory '
              'above the loaded model.', '',
              '| image | teacher ms | student ms | student is | teacher MiB | student MiB |',
              '| --- | --- | --- | --- | --- | --- |']
    for shape, row in results['latency_ms'].items():
        t, s, peak = row['teacher'], row['student'], results['peak_mb'][shape]
        word = _ratio(t, s)
        lines.append(f"| {shape} | {t['median']:.0f} ({t['p10']:.0f}–{t['p90']:.0f}) | "
                     f"{s['median']:.0f} ({s['p10']:.0f}–{s['p90']:.0f}) | {word} | "
                     f"{peak['teacher']:.0f} | {peak['student']:.0f} |")
    if loads := {shape: row['student']['load'] for shape, row in results['latency_ms'].items()
                 if len(undisturbed(row.values())) < 2}:
        lines += ['', 'Other processes disturbed these sizes, so they are not compared: ' +
                  '; '.join(f'{shape} ({in_words(load)})' for shape, load in loads.items()) + '.']
    m, v = results['machine'], results['versions']
    lines += ['', '![latency](latency.png)', '',
              f"Measured on {m['processor']}, {m['threads']} threads"
              f"{', ' + m['gpu'] if m['gpu'] else ''}; torch {v['torch']}, {results['date']}; "
              f"parameters of the backbones: teacher {results['params']['teacher']:,}, student "
              f"{results['params']['student']:,}.", '']
    return '\n'.join(lines)


def _ratio(teacher: dict, student: dict) -> str:
    if len(undisturbed([teacher, student])) < 2:
        return 'disturbed'
    ratio = teacher['median'] / student['median']
    return f'{ratio:.2f}x faster' if ratio >= 1 else f'{1 / ratio:.2f}x slower'


def _verdict(miou: dict[str, float], student: str, other: str) -> str:
    gap = miou[student] - miou[other]
    if abs(gap) < _NOISE:
        return f'- `{student}` against `{other}`: {gap:+.2f} mIoU, which one seed cannot tell '\
            'from 0.'
    word = 'better' if gap > 0 else 'worse'
    return f'- `{student}` is {abs(gap):.2f} mIoU {word} than `{other}`.'
