"""Write the README's measured section from the files in docs/results.

With --demo the results of `make demo` are copied there first.
"""
import argparse
import json
import math
import re
import shutil
import statistics
from pathlib import Path

from PIL import Image

from mmvitlin.engine.recipe import load_report

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / 'docs' / 'results'
METRICS = {'accuracy/top1': 'top-1 accuracy'}


def rates(results: dict) -> list[str]:
    """Losses of short alignments at several learning rates."""
    found: dict[str, list[tuple[str, float]]] = {}
    for name, row in results['stages'].items():
        kind, _, rate = name.partition('_')
        if rate:
            found.setdefault(kind, []).append((rate, row['mean']))
    words = [f"{kind} " + ', '.join(f'{loss:.4f} at {rate}' for rate, loss in rows)
             for kind, rows in found.items()]
    return [f"Its learning rates are the best of three by the loss after 200 iterations without "
            f"labels (`docs/results/adala_rates.json`): {'; '.join(words)}.", '',
            f"```bash\n{results['command']}\n```", '']


def paired(student: dict, other: dict) -> str:
    """Mean difference over seeds, each seed with its own; with its deviation for several."""
    theirs = other['values']
    if len(theirs) == 1:  # shared by all seeds
        theirs = theirs * len(student['values'])
    gaps = [a - b for a, b in zip(student['values'], theirs, strict=True)]
    spread = f' ± {statistics.stdev(gaps):.1f}' if len(gaps) > 1 else ''
    return f'{statistics.mean(gaps):+.1f}{spread}'


def comparison(results: dict) -> list[str]:
    """Table of a recipe's results over seeds."""
    told = load_report(ROOT / results['recipe'])
    stages, seeds = results['stages'], results['seeds']
    student = stages[told.student]
    rows = {name: text for name, text in told.rows.items() if name in stages}
    metric = METRICS.get(results.get('metric'), 'mIoU')
    lines = [
        f'### {told.title}', '',
        f'{metric} on held-out images in percent, {len(seeds)} seeds, mean ± standard deviation; '
        f'the last column is by how much the student (“{told.rows[told.student]}”) is ahead, seed '
        'by seed:', '',
        f'| | {metric} | iterations with labels | ahead by |', '| --- | --- | --- | --- |',
        *(f"| {text} | {stages[name]['mean']:.1f} ± {stages[name]['std']:.1f} | "
          f"{stages[name]['iterations']} | "
          f"{'' if name == told.student else paired(student, stages[name])} |"
          for name, text in rows.items()), '',
        f"The student had {sum(stages[n]['iterations'] for n in told.unlabelled)} iterations "
        'without labels before.' + (f' {told.note}' if told.note else ''), '',
        f"```bash\n{results['command']}\n```", '']
    return lines + ([results['note'], ''] if results.get('note') else [])


def detection(results: dict) -> list[str]:
    """Boxes and masks of a recipe's detectors over seeds."""
    told = load_report(ROOT / results['recipe'])
    seeds = results['seeds']
    columns = {'AP50 of cars': 'coco/bbox_AP50_ordinary_car',
               'of people': 'coco/bbox_AP50_ordinary_person',
               'of all eight classes': 'coco/bbox_AP50_ordinary',
               'masks, all classes': 'coco/segm_AP50_ordinary',
               'box AP, all sizes': 'coco/bbox_mAP'}
    lines = [f'### {told.title}', '',
             f'Held-out scenes, {len(seeds)} seeds, mean ± standard deviation, in percent; AP50 of '
             'objects of ordinary size (1/300 of the image and more, which is where COCO\'s medium '
             'objects begin):', '',
             f"| | {' | '.join(columns)} |", '| --- |' + ' --- |' * len(columns)]
    for name, text in told.rows.items():
        scores = {key: [100 * run[name]['metrics'][key] for run in results['runs'].values()
                        if name in run] for key in columns.values()}
        cells = [f'{statistics.mean(v):.1f}' + (f' ± {statistics.stdev(v):.1f}' if len(v) > 1
                                                else '') for v in scores.values() if v]
        if cells:
            lines.append(f"| {text} | {' | '.join(cells)} |")
    rows = [n for n in told.rows if n in results['stages']]
    return [*lines, '',
            f"{results['stages'][rows[0]]['iterations']} iterations with boxes and masks each; the "
            f"student had {sum(results['stages'][n]['iterations'] for n in told.unlabelled)} "
            f'iterations without labels before. {told.note}', '',
            f"```bash\n{results['command']}\n```", '',
            *([results['note'], ''] if results.get('note') else [])]


def demo(results: dict) -> list[str]:
    """The demo's scores and times."""
    m = results['machine']
    lines = [
        '### Drawn streets, `make demo`', '',
        'Held-out mIoU, one seed: ' + ', '.join(
            f"{name.replace('_', ' ')} {score:.1f}" for name, score in results['miou'].items()) +
        f". Backbones at batch 1, float32, fused attention in the ViT, {m['threads']} threads of "
        f"{m['gpu'] or m['processor']} (`docs/results/demo.json`):", '',
        '| image | tokens | ViT ms | Adventurer ms | Adventurer is | ViT MiB | Adventurer MiB |',
        '| --- | --- | --- | --- | --- | --- | --- |'
    ]
    for shape, row in results['latency_ms'].items():
        t, s = row['teacher']['median'], row['student']['median']
        height, width = map(int, shape.split('x'))
        word = f'{t / s:.1f}× faster' if t > s else f'{s / t:.1f}× slower'
        peak = results['peak_mb'][shape]
        lines.append(f'| {height}×{width} | {height * width // 256:,} | {t:.0f} | {s:.0f} | '
                     f"{word} | {peak['teacher']:.0f} | {peak['student']:.0f} |")
    minutes, seconds = divmod(round(results['total_seconds']), 60)
    return [*lines, '', f'The whole demo took {minutes} min {seconds} s after set-up.', '',
            '![latency against tokens](docs/results/demo_latency.png)', '']


OPS = {
    'fp32 1024x2048': 'Adventurer-B against ViT-B, float32, 1024×2048',
    'fp32 2048x4096': 'the same, 2048×4096',
    'bf16 1024x2048': 'the same, bfloat16, 1024×2048',
    'linear ViT fp32 1024x2048': 'linear ViT-B against ViT-B, float32, 1024×2048',
    'linear ViT fp32 2048x4096': 'the same, 2048×4096',
    'training step 1024x1024': 'Adventurer-B against ViT-B, forward and backward, 1024×1024',
    'activation matching 8192': 'activation matching, 8,192 tokens: linear against pairwise form',
}


def seconds(ms: float) -> str:
    """Milliseconds to a short text in seconds."""
    return f'{ms / 1000:.2f}' if ms < 10_000 else f'{ms / 1000:.1f}'


def ops(results: dict) -> list[str]:
    """The ops benchmark's ratios."""
    m, rows = results['machine'], results['rows']
    lines = [
        '### Speed on two CPU cores', '',
        f"Batch 1, medians, opponents in turn in one process on {m['threads']} threads of "
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
    growths = {n: rows[n] for n in ('growth 4096 to 16384', 'linear ViT growth') if n in rows}
    if blocks:
        lines += ['', "Of the time of an Adventurer-B block its matrix products alone take " +
                  ', '.join(f"{100 * r['ratio']:.0f}% at {int(n.split()[2]):,} tokens"
                            for n, r in blocks.items()) + '.']
    if growths:
        lines += ['', 'Four times the tokens, 4,096 to 16,384: ' + '; '.join(
            f"{who} {r['ratio']:.2f}× the time, {r['memory_ratio']:.2f}× the peak memory"
            for who, r in zip(('Adventurer-B', 'linear ViT-B'), growths.values(), strict=False))
            + '.']
    if results.get('note'):
        lines += ['', results['note']]
    return [*lines, '', f"```bash\n{results['command']}\n```", '']


def highres(results: dict) -> list[str]:
    """Memory and time of the way from scores to labels."""
    lines = ['### Labels of whole images in bounded memory', '',
             'Peak memory above the network\'s own, and time, of the same coarse scores to labels:',
             '', '| | mmseg | mmvitlin | memory | time |', '| --- | --- | --- | --- | --- |']
    for name, row in results['rows'].items():
        if 'memory_ratio' in row:
            a, b = row['mmseg'], row['ours']
            lines.append(
                f"| {name} | {a['peak_mib']:,.0f} MiB, {a['seconds']:.1f} s | "
                f"{b['peak_mib']:,.0f} MiB, {b['seconds']:.1f} s | 1/{row['memory_ratio']:.0f} | "
                f"1/{row['time_ratio']:.1f} |")
    for name, row in results['rows'].items():
        if 'memory_ratio' not in row:
            lines += ['', f"{name}, from image to labels: {row['peak_mib']:,.0f} MiB above the "
                          f"network, {row['seconds']:.0f} s."]
    return [*lines, '', f"```bash\n{results['command']}\n```", '']


def resolution(results: dict) -> list[str]:
    """One checkpoint at several input sizes."""
    lines = ['### What resolution buys, and costs', '', results['note'], '',
             '| input | mIoU | large | small | thin | ms | peak MiB |',
             '| --- | --- | --- | --- | --- | --- | --- |']
    for row in results['rows']:
        scores = [row[k] for k in ('miou', 'large', 'small', 'thin')]
        lines.append(f"| {row['scale']:g}× ({row['pixels'] / 1e6:.2g} MP) | " +
                     ' | '.join('–' if s is None else f'{s:.1f}' for s in scores) +
                     f" | {row['ms']:.0f} | {row['peak_mib']:.0f} |")
    return [*lines, '', f"```bash\n{results['command']}\n```", '']


def camvid_at_full_size(results: dict) -> list[str]:
    """Three networks on larger images, whole and in windows."""
    names = dict(vit='softmax ViT', adventurer='Adventurer, distilled',
                 linear_vit='linear ViT, aligned')
    found: dict[tuple, dict[str, list[float]]] = {}
    for key, rows in results['rows'].items():
        net, mode, _ = key.split()
        for row in rows:
            cell = found.setdefault((net, mode, row['scale']), {})
            for name in ('miou', 'thin', 'ms', 'peak_mib'):
                cell.setdefault(name, []).append(row[name])
    lines = ['### CamVid at full size and twice it', '',
             'Trained on crops of 240×320; 233 test images, mean over seeds; memory above the '
             'loaded network:', '',
             '| network | image | | mIoU | thin objects | ms | MiB |',
             '| --- | --- | --- | --- | --- | --- | --- |']
    for (net, mode, scale), cell in sorted(found.items(), key=lambda f: (
            list(names).index(f[0][0]), f[0][2], f[0][1] == 'slide')):
        spread = f" ± {statistics.stdev(cell['miou']):.1f}" if len(cell['miou']) > 1 else ''
        lines.append(
            f"| {names[net]} | {360 * scale:.0f}×{480 * scale:.0f} | {mode} | "
            f"{statistics.mean(cell['miou']):.1f}{spread} | {statistics.mean(cell['thin']):.1f} | "
            f"{statistics.median(cell['ms']):.0f} | {statistics.median(cell['peak_mib']):.0f} |")
    return [*lines, '', f"```bash\n{results['command']}\n```", '',
            *([results['note'], ''] if results.get('note') else [])]


def teachers(results: dict) -> list[str]:
    """Steps with a teacher computed in several ways."""
    alone = results['rows']['student alone']['ms']['median']
    lines = ['### What a teacher costs', '',
             f"One distillation step of `{results['teacher']}` into Adventurer-"
             f"{results['student'][0].upper()}, batch {results['batch']}, float32, in turn:", '',
             "| the teacher's features | s a step | beside the student alone | peak of a step, MiB "
             '| its weights, MiB |', '| --- | --- | --- | --- | --- |']
    for name, row in results['rows'].items():
        ms = row['ms']['median']
        lines.append(f'| {name} | {seconds(ms)} | {ms / alone:.2f}× | {row["peak_mib"]:,.0f} | '
                     f"{'' if name == 'student alone' else format(row['teacher_mib'], ',.0f')} |")
    kept = results['kib_an_image']
    return [*lines, '', f"An image's features take {kept['cache'] / 1024:.1f} MiB on disk, "
            f"{kept['cache16'] / 1024:.1f} in float16.", '',
            f"```bash\n{results['command']}\n```", '']


def trust(results: dict) -> list[str]:
    """Killed runs, layouts of processes, damaged files."""
    rows = results['rows']
    lines = ['### Killed runs, several processes, damaged files', '']
    if killed := rows.get('killed at random'):
        equal = 'the very weights' if killed['bit_equal'] else 'NOT the weights'
        lines.append(f"- A distillation of {killed['iterations']} steps with averaged weights, "
                     f"killed by SIGKILL at {killed['kills']} random moments, ended with {equal} "
                     'of an undisturbed run.')
    for kind in ('distillation', 'segmentation'):
        if told := rows.get(f'layouts, {kind}'):
            lines.append(f'- One global batch of {kind} on several processes, 50 steps, against '
                         'one process: ' + '; '.join(
                             f"{name.replace('x', '×')} (machines × processes) losses within "
                             f"{row['loss_gap']:.0e}, weights within {row['weight_gap']:.0e}"
                             for name, row in told.items() if name != '1x1') + ' (relative).')
    if tested := rows.get('evaluation on two processes'):
        same = 'the same scores' if tested['equal'] else 'OTHER scores'
        lines.append(f"- {tested['images']} images evaluated on two processes: {same} as on one.")
    if again := rows.get('worker killed under torchrun'):
        equal = 'the same weights' if again['bit_equal'] else 'OTHER weights'
        lines.append(f'- One of two workers killed under torchrun: both were started anew, went on '
                     f'from the last checkpoint and ended with {equal}.')
    if fuzzed := rows.get('mutated configs and checkpoints'):
        counts = {kind: sum(fuzzed[kind].values()) for kind in ('configs', 'checkpoints')}
        lines.append(f"- {counts['configs']} mutated configs and {counts['checkpoints']} mutated "
                     f"checkpoints: {len(fuzzed['unclear'])} ended in anything but a result or one "
                     'clear error.')
    return [*lines, '', f"```bash\n{results['command']}\n```", '']


def widths(results: dict) -> list[str]:
    """From which image on linear ViTs are faster, by width."""
    at = results['calls'][-1]['machine']
    rows = {tuple(k.split('|')): r for k, r in results['rows'].items() if not r.get('stale')}
    lines = ['### Crossovers by width', '',
             f"Backbones at batch 1, float32, {at['threads']} threads of "
             f"{at['gpu'] or at['processor']}; the same ViT with fused softmax attention and with "
             'linear attention:', '',
             '| ViT | linear is faster from | at the largest image | time grows as tokens to the |',
             '| --- | --- | --- | --- |']
    for name in dict.fromkeys(k[0] for k in rows):
        if not name.startswith('linear-'):
            continue
        other = name.removeprefix('linear-')
        pair = next((p for p in results['pairs'] if {p['faster'], p['slower']} == {name, other}),
                    None)
        if pair is None or pair['faster'] == other:
            where = 'no size measured'
        elif pair['always']:
            first = [min((r for k, r in rows.items() if k[0] == who), key=lambda r: r['tokens'])
                     for who in (name, other)]
            level = first[0]['ms']['p90'] >= first[1]['ms']['p10']
            where = 'every size measured' + (', level at the smallest' if level else '')
        else:
            where = f"{pair['tokens']:,} tokens, {pair['side']}×{pair['side']} pixels"
        times = {who: {k[3]: r['ms']['median'] for k, r in rows.items()
                       if k[0] == who and r['status'] == 'ok'} for who in (name, other)}
        largest = max(times[name].keys() & times[other].keys(),
                      key=lambda s: math.prod(map(int, s.split('x'))))
        ratio = times[other][largest] / times[name][largest]
        growth = ' and '.join(f'{v:.2f} ({word})' for word, who in (('softmax', other),
                                                                    ('linear', name))
                              for k, v in results['growth'].items() if k.startswith(f'{who} · '))
        lines.append(f'| {other} | {where} | {largest}: {ratio:.1f}× | {growth} |')
    return [*lines, '', '![time against tokens](docs/results/crossovers_cpu.png)', '',
            f"```bash\n{results['calls'][-1]['command']}\n```", '']


WRITERS = dict(camvid=comparison, cifar10=comparison, adala_camvid=comparison, adala_rates=rates,
               students_camvid=comparison, teachers_camvid=comparison, cheaper_teacher=teachers,
               ops_cpu=ops, crossovers_cpu=widths, detection_streets=detection,
               highres_memory=highres, highres_camvid=camvid_at_full_size,
               resolution_streets=resolution, reliability=trust, demo=demo)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--demo', type=Path, help='work directory of a finished demo')
    args = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    if args.demo:
        shutil.copy(args.demo / 'results.json', RESULTS / 'demo.json')
        for name in ('latency', 'predictions'):  # 256 colours: a third of the size
            picture = Image.open(args.demo / f'{name}.png').convert('RGB').quantize(256)
            picture.save(RESULTS / f'demo_{name}.png', optimize=True)
    body: list[str] = []
    for name, write in WRITERS.items():
        path = RESULTS / f'{name}.json'
        if path.is_file():
            body += write(json.loads(path.read_text()))
    readme = ROOT / 'README.md'
    text, count = re.subn(r'(<!-- results -->\n).*?(<!-- /results -->)',
                          lambda m: m[1] + '\n'.join(body) + m[2], readme.read_text(), flags=re.S)
    if not count:
        raise SystemExit('README.md has no <!-- results --> … <!-- /results -->')
    readme.write_text(text)
    print(f'README.md: results of {len(list(RESULTS.glob("*.json")))} files')


if __name__ == '__main__':
    main()
