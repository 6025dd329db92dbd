"""Time and memory, as lines of Markdown, of the measured files beside this one."""
import math
from pathlib import Path

from commands import ending

from mmvitlin.benchmark.trends import faster_from
from mmvitlin.experiments.recipe import load_report
from mmvitlin.utils.machine import undisturbed

ROOT = Path(__file__).parents[2]


def measured(results: dict, part: str = 'backbone') -> dict[tuple[str, str, str], dict]:
    """Rows of tools/benchmark.py that ran and still hold: (network, image, precision) → row.

    Of inference at batch 1, not compiled, and not disturbed by other processes, from which nothing
    is concluded.

    Raises:
        ValueError: rows of two devices.
    """
    rows = {}
    for key, row in results['rows'].items():
        name, its_part, mode, size, batch, precision, compiled, _ = key.split('|')
        if row['status'] == 'ok' and not row.get('stale') and undisturbed([row]) and (
                its_part, mode, batch, compiled) == (part, 'inference', 'batch 1', 'eager'):
            if (name, size, precision) in rows:
                raise ValueError(f'{key}: measured on two devices; a table is of one')
            rows[name, size, precision] = row
    return rows


def by_area(sizes) -> list[str]:
    """Image sizes, each once, small to large."""
    return sorted(set(sizes), key=lambda s: math.prod(map(int, s.split('x'))))


def on(results: dict) -> str:
    """Threads and processor of the last or only call."""
    at = results.get('calls', [results])[-1]['machine']
    return at['gpu'] or f"{at['threads']} threads of {at['processor']}"


def seconds(ms: float) -> str:
    """Milliseconds to a short text in seconds."""
    return f'{ms / 1000:.2f}' if ms < 10_000 else f'{ms / 1000:.1f}'


def in_seconds(row: dict) -> str:
    """The median; * where it was not timed in turn with the others."""
    in_turn = row['ms']['rounds'] > 1 and row.get('interleaved', True)
    return f"{row['ms']['median'] / 1e3:.3g}" + '*' * (not in_turn)


def rounds(rows: dict) -> str:
    """How often cells were measured that were measured more than once."""
    counts = {row['ms']['rounds'] for row in rows.values()} - {1} or {1}
    return str(min(counts)) if len(counts) == 1 else f'{min(counts)} to {max(counts)}'


def speed(results: dict) -> list[str]:
    """Backbones of three widths, from small images to large, and where one overtakes another."""
    rows = measured(results)
    precisions = sorted({p for _, _, p in rows}, reverse=True)  # fp32 first
    words = dict(fp32='float32', bf16='bfloat16', fp16='float16')
    kinds = {'vit-': 'ViT', 'linear-vit-': 'linear ViT', 'adventurer-': 'Adventurer'}
    lines = ['### Three widths, 224² to 2048×4096', '',
             f'Backbones at batch 1 on {on(results)}, medians of {rounds(rows)} rounds in turn, '
             'except those marked *, which ran once; seconds, and in brackets how many '
             'times faster than the ViT of that name with fused attention. '
             f'{parameters(rows)}', '',
             '| | image | ' + ' | '.join(f'{kind}, {words[p]}' for p in precisions
                                         for kind in kinds.values()) + ' |',
             '| --- |' + ' --- |' * (1 + 3 * len(precisions))]
    for width in ('tiny', 'small', 'base', 'large'):
        for size in by_area(s for n, s, _ in rows if n.endswith(width)):
            cells = []
            for precision in precisions:
                by_kind = {kind: rows.get((kind + width, size, precision)) for kind in kinds}
                for kind, row in by_kind.items():
                    text = '–' if row is None else in_seconds(row)
                    if row and by_kind['vit-'] and kind != 'vit-':
                        ratio = by_kind['vit-']['ms']['median'] / row['ms']['median']
                        text += f' ({ratio:.1f}×)'
                    cells.append(text)
            lines.append(f"| {width} | {size.replace('x', '×')} | {' | '.join(cells)} |")
    lines += ['', '![time against tokens](speed_cpu_latency.png)', '',
              '![memory against tokens](speed_cpu_memory.png)', '',
              f"| faster from | {' | '.join(words[p] for p in precisions)} | time grows as tokens "
              'to the |', '| --- |' + ' --- |' * (1 + len(precisions))]
    for width in ('tiny', 'small', 'base', 'large'):
        for kind in ('linear-vit-', 'adventurer-'):
            if any((kind + width) == n for n, _, _ in rows):
                cells = [overtakes(results, kind + width, 'vit-' + width, p)
                         for p in precisions]
                grown = ' and '.join(
                    f'{v:.2f} ({word})' for word, net in (('softmax', 'vit-' + width),
                                                          ('linear', kind + width))
                    for k, v in results['growth'].items()
                    if k.startswith(f'{net} · ') and f' · {precisions[0]} · ' in k)
                lines.append(f'| {kinds[kind]} {width} | {" | ".join(cells)} | {grown} |')
    largest = by_area(s for _, s, _ in rows)[-1]
    shares = ', '.join(f"{name} {100 * row['fraction']:.0f}%" for (name, size, precision), row in
                       rows.items() if size == largest and precision == precisions[0]
                       and 'fraction' in row and 'base' in name)
    lines += ['', 'Share of the bound by matrix products and memory of this machine, measured in '
              f"the same call, at {largest.replace('x', '×')} in {words[precisions[0]]}: "
              f'{shares}.' if shares else '']
    return [*lines, '', *ending(results)]


def parameters(rows: dict[tuple[str, str, str], dict]) -> str:
    """Sizes of the networks: an Adventurer is larger than the ViT of its name, but for base."""
    words, kinds = [], {'vit-': 'ViT', 'linear-vit-': 'linear ViT', 'adventurer-': 'Adventurer'}
    for width in ('tiny', 'small', 'base', 'large'):
        sizes = {kind: next((r['parameters'] for (n, _, _), r in rows.items()
                             if n == prefix + width), None) for prefix, kind in kinds.items()}
        if any(sizes.values()):
            words.append(f'{width}: ' + ', '.join(f'{kind} {count / 1e6:.0f}'
                                                  for kind, count in sizes.items() if count))
    return f"Millions of parameters: {'; '.join(words)}."


def overtakes(results: dict, name: str, other: str, precision: str) -> str:
    """From which image on ``name`` is faster than ``other``."""
    setting = f'backbone · inference · batch 1 · {precision} · eager'
    return next((faster_from(p) for p in results['pairs'] if (p['faster'], p['slower']) ==
                 (name, other) and p['setting'].startswith(setting)), 'no size measured')


SUBJECTS = {'coco_1024': 'Adventurer-B', 'linear-vit-base': 'linear ViT-B'}
KINDS = dict(fused='fused attention', materialised='materialised attention',
             windowed='14×14 windows')


STUDENTS = {'vit': 'softmax ViT, the teacher', 'adventurer': 'Adventurer',
            'linear-vit-elu': 'linear ViT (ELU)',
            'linear-vit-relu': 'linear ViT (ReLU, depthwise convolution)',
            'convnext': 'ConvNeXt (last stride 8)', 'mixer': 'MLP-Mixer (built for each size)'}


def student_cells(results: dict) -> tuple[list[str], dict[str, list[str]]]:
    """Headings, and by network its parameters and milliseconds at every image size."""
    rows = measured(results)
    sizes = by_area(s for _, s, _ in rows)
    cells = {}
    for name in dict.fromkeys(n for n, _, _ in rows):
        of_sizes = [rows.get((name, size, 'fp32')) for size in sizes]
        millions = next(row['parameters'] for row in of_sizes if row) / 1e6
        cells[name] = [f'{millions:.2f}', *(
            '–' if row is None else f"{row['ms']['median']:.0f}" for row in of_sizes)]
    return ['M parameters', *(f"{s.replace('x', '×')}, ms" for s in sizes)], cells


def attentions(results: dict) -> list[str]:
    """Base networks by attention, beside the softmax ViT of the same run."""
    rows = measured(results)
    sizes = by_area(s for _, s, _ in rows)
    lines = ['### Base networks by attention', '',
             f'Batch 1, float32, {on(results)}, medians of {rounds(rows)} rounds in turn; beside '
             'the seconds how many times faster than the softmax ViT, and the peak memory above '
             'the loaded network:', '', f"| | {' | '.join(s.replace('x', '×') for s in sizes)} |",
             '| --- |' + ' --- |' * len(sizes)]
    for name in dict.fromkeys(n for n, _, _ in rows):
        cells = []
        for size in sizes:
            row, base = rows.get((name, size, 'fp32')), rows.get(('vit-base', size, 'fp32'))
            cells.append('' if row is None else f"{in_seconds(row)}, "
                         f"{base['ms']['median'] / row['ms']['median']:.1f}×, "
                         f"{row['peak_mib']:,.0f} MiB")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return [*lines, '', *ending(results)]


def student_times(results: dict) -> list[str]:
    """Backbones of about one size at three resolutions."""
    heads, cells = student_cells(results)
    return ['### Small students of five kinds', '',
            f'Backbones at batch 1, float32, {on(results)}, medians of '
            f'{rounds(measured(results))} rounds in turn:', '',
            f"| | {' | '.join(heads)} |", '| --- |' + ' --- |' * len(heads),
            *(f'| {STUDENTS[name]} | {" | ".join(row)} |' for name, row in cells.items()), '',
            *ending(results)]


def detector_speed(results: dict) -> list[str]:
    """Backbone and pyramid of detectors beside their softmax baselines."""
    return ['### Backbone and pyramid of detectors', '', *detector_times(results), '',
            *ending(results)]


def detector_times(results: dict) -> list[str]:
    """The table of :func:`detector_speed`."""
    rows = measured(results, 'features')
    sizes = by_area(s for _, s, _ in rows)
    lines = [f'Batch 1, float32, {on(results)}, in turn; the ViT in 14×14 windows with four '
             'global blocks is what ViTDet uses at these sizes. Seconds, in brackets the time '
             'relative to the windows, and peak memory above the loaded network:', '',
             f"| | {' | '.join(s.replace('x', '×') for s in sizes)} |",
             '| --- |' + ' --- |' * len(sizes)]
    for name in dict.fromkeys(n for n, _, _ in rows):
        first = name.rpartition(' of ')[2]
        cells = []
        for size in sizes:
            row = rows.get((name, size, 'fp32'))
            windows = rows.get((f'windowed softmax baseline of {first}', size, 'fp32'))
            if row is None:
                cells.append('–')
                continue
            ratio = row['ms']['median'] / windows['ms']['median'] if windows else math.nan
            peak = '' if row.get('peak_mib') is None else f", {row['peak_mib']:,.0f} MiB"
            cells.append(f"{row['ms']['median'] / 1e3:.2f} ({ratio:.2f}×){peak}")
        kind = name.partition(' softmax baseline of ')[0] if ' baseline of ' in name else ''
        label = SUBJECTS.get(first, first)
        label = f'ViT, {KINDS[kind]}, beside {label}' if kind else f'**{label}**'
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return lines


OPS = {
    'fp32 1024x2048': 'Adventurer-B against ViT-B, float32, 1024×2048',
    'fp32 2048x4096': 'the same, 2048×4096',
    'bf16 1024x2048': 'the same, bfloat16, 1024×2048',
    'linear ViT fp32 1024x2048': 'linear ViT-B against ViT-B, float32, 1024×2048',
    'linear ViT fp32 2048x4096': 'the same, 2048×4096',
    'training step 1024x1024': 'Adventurer-B against ViT-B, forward and backward, 1024×1024',
    'activation matching 8192': 'activation matching, 8,192 tokens: linear against pairwise form',
}


def ops(results: dict) -> list[str]:
    """The ops benchmark's ratios."""
    m, rows = results['machine'], results['rows']
    lines = [
        '### Speed on two CPU cores', '',
        f"Batch 1, medians, networks in turn in one process on {m['threads']} threads of "
        f"{m['processor']}, each in its best mode (eager or compiled); the ViT with fused "
        'attention:', '',
        '| | slower, s | faster, s | ratio | memory, MiB |', '| --- | --- | --- | --- | --- |']
    for name, text in OPS.items():
        row = rows.get(name)
        if row is None:
            continue
        times = [row['ms'][k]['median'] for k in row['ms']]
        peaks = ' → '.join(f'{p:,.0f}' for p in row.get('peak_mib', {}).values())
        lines.append(f'| {text} | {seconds(times[0])} | {seconds(times[1])} | '
                     f"{row['ratio']:.1f}× | {peaks} |")
    blocks = {n: r for n, r in rows.items() if n.startswith('block at')}
    growths = {net: rows[n] for n, net in (('growth 4096 to 16384', 'Adventurer-B'),
                                           ('linear ViT growth', 'linear ViT-B')) if n in rows}
    if blocks:
        lines += ['', "Share of matrix products in the time of an Adventurer-B block: " +
                  ', '.join(f"{100 * r['ratio']:.0f}% at {int(n.split()[2]):,} tokens"
                            for n, r in blocks.items()) + '.']
    if growths:
        lines += ['', 'Four times the tokens, 4,096 to 16,384: ' + '; '.join(
            f"{net} {r['ratio']:.2f}× the time, {r['memory_ratio']:.2f}× the peak memory"
            for net, r in growths.items()) + '.']
    return [*lines, '', *ending(results)]


def highres(results: dict) -> list[str]:
    """Memory and time of the way from scores to labels."""
    lines = ['### Labels of whole images in bounded memory', '',
             'Peak memory and time from the same stored scores of the head to labels, and the peak '
             'of the whole call with a stand-in backbone:', '',
             '| | mmseg | mmvitlin | memory | time | whole call, mmseg | mmvitlin |',
             '| --- | --- | --- | --- | --- | --- | --- |']
    for name, row in results['rows'].items():
        if 'memory_ratio' in row:
            a, b = row['mmseg'], row['ours']
            ratio = f"1/{row['time_ratio']:.1f}" if row['time_ratio'] else '–'
            lines.append(
                f"| {name} | {a['peak_mib']:,.0f} MiB, {a['seconds']:.1f} s | "
                f"{b['peak_mib']:,.0f} MiB, {b['seconds']:.1f} s | 1/{row['memory_ratio']:.0f} | "
                f"{ratio} | {a['total_mib']:,.0f} MiB | "
                f"{b['total_mib']:,.0f} MiB |")
    for name, row in results['rows'].items():
        if 'memory_ratio' not in row:
            lines += ['', f"{name}, from image to labels: {row['peak_mib']:,.0f} MiB above the "
                          f"network, {row['seconds']:.0f} s."]
    return [*lines, '', *ending(results)]


def teachers(results: dict) -> list[str]:
    """Steps with a teacher computed in several ways."""
    base = results['rows']['student alone']['ms']['median']
    lines = ['### Cost of a teacher', '',
             f"One distillation step of `{results['teacher']}` into Adventurer-"
             f"{results['student'][0].upper()}, batch {results['batch']}, float32, in turn:", '',
             "| the teacher's features | s a step | relative to the student alone | peak of a "
             'step, MiB | its weights, MiB |', '| --- | --- | --- | --- | --- |']
    for name, row in results['rows'].items():
        ms = row['ms']['median']
        lines.append(f'| {name} | {seconds(ms)} | {ms / base:.2f}× | {row["peak_mib"]:,.0f} | '
                     f"{'' if name == 'student alone' else format(row['teacher_mib'], ',.0f')} |")
    kept = results['kib_an_image']
    return [*lines, '', f"An image's features take {kept['cache'] / 1024:.1f} MiB on disk, "
            f"{kept['cache16'] / 1024:.1f} in float16.", '',
            *ending(results)]


def demo_of(results: dict) -> str:
    """'demo' or 'demo_adala', which files of a demo's results are called after."""
    return 'demo_adala' if 'adala' in results['recipe'] else 'demo'


def demo(results: dict) -> list[str]:
    """The demo's scores and times."""
    m, report = results['machine'], load_report(ROOT / results['recipe'])
    kind = demo_of(results)
    target = kind.replace('_', '-') + '-offline' * (not report.pretrained)
    millions = [f"{results['params'][role] / 1e6:.1f}" for role in ('teacher', 'student')]
    lines = [f'### {report.title}', '', f'`make {target}`, held-out mIoU, one seed:', '',
             '| | iterations | mIoU |', '| --- | --- | --- |',
             *(f"| {report.rows[name]} | {results['iterations'][name]} | {score:.1f} |"
               for name, score in results['miou'].items() if name in report.rows), '',
             f"Backbones of {' and '.join(millions)} M parameters at batch 1, float32, "
             f"{m['threads']} threads of {m['gpu'] or m['processor']}; the teacher's attention is "
             'fused:', '',
             '| image | teacher, ms | student, ms | the student is | teacher, MiB | student, MiB |',
             '| --- | --- | --- | --- | --- | --- |']
    for shape, row in results['latency_ms'].items():
        t, s = row['teacher']['median'], row['student']['median']
        word = f'{t / s:.1f}× faster' if t > s else f'{s / t:.1f}× slower'
        word = word if len(undisturbed(row.values())) == 2 else 'not known: others had the cores'
        peak = results['peak_mb'][shape]
        lines.append(f"| {shape.replace('x', '×')} | {t:.0f} | {s:.0f} | {word} | "
                     f"{peak['teacher']:.0f} | {peak['student']:.0f} |")
    minutes, seconds = divmod(round(results['total_seconds']), 60)
    return [*lines, '', f'The whole demo took {minutes} min {seconds} s after set-up.', '',
            f'![latency against tokens]({kind}_latency.png)', '', *ending(results)]
