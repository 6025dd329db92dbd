"""Networks as they are deployed, as lines of Markdown."""
from commands import ending
from speed_tables import by_area, in_seconds, measured, on, rounds

RUNTIMES = {('torch', 'fp32'): 'torch', ('torch', 'bf16'): 'torch, bf16',
            ('onnxruntime', 'fp32'): 'onnxruntime', ('openvino', 'fp32'): 'OpenVINO',
            ('openvino', 'bf16'): 'OpenVINO, bf16'}


def by_runtime(results: dict, part: str) -> dict[tuple[str, str], dict[tuple[str, str], dict]]:
    """(network, image) → (runtime, precision) → row."""
    found: dict[tuple[str, str], dict[tuple[str, str], dict]] = {}
    for (name, size, precision), row in measured(results, part).items():
        net, _, runtime = name.partition('@')
        found.setdefault((net, size), {})[runtime or 'torch', precision] = row
    return found


def fastest(rows: dict[tuple[str, str], dict]) -> float:
    """Milliseconds in the runtime and precision that take least."""
    return min(row['ms']['median'] for row in rows.values())


def deployed(results: dict) -> list[str]:
    """Base networks in each runtime, beside the softmax ViT in the same one."""
    found = by_runtime(results, 'backbone')
    used = [key for key in RUNTIMES if any(key in rows for rows in found.values())]
    lines = ['### Base networks as exported files', '',
             f'Backbones at batch 1 on {on(results)}, medians of '
             f"{rounds(measured(results))} rounds in turn; seconds, and in brackets how many times "
             'faster than the softmax ViT-B in the same column. Last: the fastest form of each '
             'against the fastest of the softmax ViT-B.', '',
             f"| image | | {' | '.join(RUNTIMES[key] for key in used)} | fastest forms |",
             '| --- | --- |' + ' --- |' * (len(used) + 1)]
    for size in by_area(s for _, s in found):
        softmax = found.get(('vit-base', size), {})
        for net in dict.fromkeys(n for n, s in found if s == size):
            rows, cells = found[net, size], []
            for key in used:
                text = in_seconds(rows[key]) if key in rows else '–'
                if key in rows and key in softmax and net != 'vit-base':
                    ratio = softmax[key]['ms']['median'] / rows[key]['ms']['median']
                    text += f' ({ratio:.2f}×)'
                cells.append(text)
            # a form that is missing, as where it was disturbed, may be the fastest
            whole = net != 'vit-base' and all(key in rows and key in softmax for key in used)
            last = f'{fastest(softmax) / fastest(rows):.2f}×' if whole else ''
            lines.append(f"| {size.replace('x', '×')} | {net} | {' | '.join(cells)} | {last} |")
    return [*lines, '', *ending(results)]


def peers(results: dict) -> list[str]:
    """Whole networks from image to labels beside those that others publish."""
    found, published = by_runtime(results, 'labels'), results['published']
    used = [key for key in RUNTIMES if any(key in rows for rows in found.values())]
    lines = ['### What a user would run instead', '',
             f'Whole networks from an image to its labels, batch 1, {on(results)}, medians of '
             f"{rounds(measured(results, 'labels'))} rounds in turn within a column (* by itself), "
             'seconds; memory is the peak of a process that runs the file in OpenVINO, or '
             'onnxruntime, and has no torch. ViTs and Adventurers have UPerNet with 48 (tiny), 96 '
             "(small) or 128 channels, timm's pyramids SegFormer's head, the others their own; all "
             'take whole images (the configs of Adventurers test in windows, which takes longer). '
             'Parameters '
             'are with the auxiliary heads of training; “–” was not counted, failed or was '
             'disturbed. The last column is mIoU on Cityscapes as its source published '
             'it, with its own training and head, and was **not measured here**.', '']
    for size in by_area(s for _, s in found):
        nets = [n for n, s in found if s == size]
        lines += [f"| {size.replace('x', '×')} | M parameters | GFLOP | "
                  f"{' | '.join(RUNTIMES[key] for key in used)} | MiB | published mIoU, not "
                  'measured here |',
                  '| --- | --- | --- |' + ' --- |' * (len(used) + 2)]
        for net in sorted(set(nets), key=lambda n: fastest(found[n, size])):
            rows = found[net, size]
            plain = rows.get(('torch', 'fp32'), {})
            file = rows.get(('openvino', 'fp32')) or rows.get(('onnxruntime', 'fp32')) or {}
            millions = f"{plain['parameters'] / 1e6:.1f}" if plain.get('parameters') else '–'
            operations = f"{plain['flops'] / 1e9:,.0f}" if plain.get('flops') else '–'
            memory = f"{file['process_mib']:,.0f}" if file.get('process_mib') else '–'
            scored = (f"{published[net]['miou']:.1f}, {published[net]['source'].split(',')[0]}"
                      if net in published else '')
            times = [in_seconds(rows[key]) if key in rows else '–' for key in used]
            lines.append(f"| {net} | {millions} | {operations} | {' | '.join(times)} | {memory} | "
                         f'{scored} |')
        lines.append('')
    sources: dict[str, list[str]] = {}
    for net, row in published.items():
        sources.setdefault(row['source'], []).append(net)
    return [*lines, 'Published: ' + '; '.join(f"{', '.join(nets)}: {source}"
                                             for source, nets in sources.items()) + '.', '',
            *ending(results)]


def reduced_precision(results: dict) -> list[str]:
    """Accuracy of int8 files beside their times."""
    rows = measured(results, 'labels')
    names = {'softmax': 'softmax ViT-S', 'focal': 'focal ViT-S', 'linear': 'linear ViT-S',
             'adventurer': 'Adventurer-T'}
    columns = [(size, runtime) for size in by_area(s for _, s, _ in rows)
               for runtime in ('onnxruntime', 'openvino')]
    words = dict(onnxruntime='onnxruntime', openvino='OpenVINO')
    images = next(iter(results['scores'].values()))['images']
    lines = ['### int8 files', '',
             f'Networks fine-tuned on CamVid at 168×224; mIoU on its {images} test frames. Times '
             f"from image to labels, batch 1, {on(results)}, medians of {rounds(rows)} rounds in "
             'turn: float32, then int8, in seconds, and how many times faster that is.', '',
             '| | mIoU in torch | in int8 | ' + ' | '.join(
                 f"{size.replace('x', '×')}, {words[runtime]}" for size, runtime in columns) + ' |',
             '| --- | --- | --- |' + ' --- |' * len(columns)]
    for net, scores in results['scores'].items():
        cells = []
        for size, runtime in columns:
            plain, int8 = (rows.get((f'{net}_{precision}_{size}@{runtime}', size, 'fp32'))
                           for precision in ('fp32', 'int8'))
            cells.append('–' if None in (plain, int8) else f'{in_seconds(plain)}, '
                         f"{in_seconds(int8)}, {plain['ms']['median'] / int8['ms']['median']:.2f}×")
        miou = scores['miou']
        lines.append(f"| {names[net]} | {miou['torch']:.1f} | {miou['int8']:.1f} | "
                     f"{' | '.join(cells)} |")
    return [*lines, '', *ending(results)]
