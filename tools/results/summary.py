"""The project's README on its results."""

import advice
import evidence_tables as tables
from accuracy_tables import (
    ROOT,
    comparison,
    detector_scores,
    few_labels,
    load_report,
    students,
)
from commands import commands
from large_images import large_images
from scores import beside, gap, measure, over, score, spread_of
from speed_tables import (
    SUBJECTS,
    by_area,
    detector_times,
    in_seconds,
    measured,
    on,
    overtakes,
    parameters,
    rounds,
)
from trust_table import survived

ABLATIONS = {'CamVid': 'camvid_ablation', 'CIFAR-10': 'cifar10_ablation'}
READY = dict(
    camvid_ablation='the ablation of ViT-Linearizer on CamVid (recipe `camvid_ablation.py`)',
    resolution_streets='what resolution buys on drawn streets (`tools/resolution_curve.py`)',
    cifar10_ablation='the same on CIFAR-10 (`cifar10_ablation.py`)',
    cifar10_longer='longer distillation on CIFAR-10 (`cifar10_longer.py`)',
    cifar10_scopes='tokens that activation matching compares (`cifar10_scopes.py`)',
    camvid_images='distillation on unrelated images (`camvid_images.py`)',
    camvid_few_labels='fewer labelled images (`camvid_few_labels.py`)',
    students_camvid='ConvNeXt, MLP-Mixer and other students (`camvid_students.py`)',
    teachers_camvid='teachers in half precision or read from disk (`camvid_teachers.py`)',
    detection_streets='detectors on drawn streets (`streets_detection.py`)',
    highres_camvid='CamVid at full size and twice it (`camvid_highres.py`)',
    robustness='corruptions (`tools/robustness.py`)',
    robustness_cifar10='corruptions of CIFAR-10 (`tools/robustness.py`)',
    transfer='what was transferred (`tools/transfer.py`)')


def lines(files: dict[str, dict]) -> list[str]:
    """The measured section, from the files that are there."""
    told = []
    of_parts = {where: files[name] for where, name in ABLATIONS.items() if name in files}
    if {'camvid', 'adala_camvid', 'speed_cpu'} <= files.keys():
        told += advice.lines(files, of_parts)
    if 'camvid' in files and 'adala_camvid' in files:
        told += accuracy(files['camvid'], files['adala_camvid'])
    told += ablations(of_parts) if of_parts else []
    for name, title in (('camvid_images', 'Which images to distil on'),
                        ('cifar10_longer', 'With more time'),
                        ('cifar10_scopes', 'Which tokens to match')):
        told += [f'### {title}', '', *comparison(files[name])[2:]] if name in files else []
    if 'students_camvid' in files:
        told += ['### Which student', '', *students(files['students_camvid'])[2:]]
    if 'camvid_few_labels' in files:
        told += ['### Few labels', '', *few_labels(files['camvid_few_labels'])[2:]]
    for name in ('robustness', 'robustness_cifar10'):
        told += shown_here(tables.robustness(files[name], name)) if name in files else []
    told += transferred(files['transfer']) if 'transfer' in files else []
    if 'speed_cpu' in files:
        told += speed(files['speed_cpu'], files.get('detection_speed'), files.get('ops_cpu'))
    if 'cheaper_teacher' in files:
        told += teacher_cost(files['cheaper_teacher'], files.get('teachers_camvid'))
    if 'highres_memory' in files:
        told += large_images(files['highres_memory'], files.get('resolution_streets'),
                             files.get('highres_camvid'))
    if 'detection_streets' in files:
        told += detection(files['detection_streets'], files.get('detection_speed'))
    if 'reliability' in files:
        told += trust(files['reliability'])
    gpus = any(name in files for name in ('ops_gpu', 'speed_gpu'))
    waiting = [words for name, words in READY.items() if name not in files]
    if waiting:
        told += [f"Ready to run, not measured yet: {'; '.join(waiting)}.", '']
    return [*told, 'Every table with its machine and date: '
            '[docs/results](docs/results/README.md).' +
            ('' if gpus else ' Nothing was measured on a GPU yet.'), '']


def accuracy(camvid: dict, adala: dict) -> list[str]:
    """Both methods and their controls under one budget of labels."""
    a, b = camvid['stages'], adala['stages']
    rows = [
        ('linear ViT by ViT-AdaLA, both stages', b['both_stages'],
         b['align_attention']['iterations'] + b['align_both']['iterations']),
        ('linear ViT, feature alignment alone', b['stage2_only'],
         b['align_feature_only']['iterations']),
        ('Adventurer by ViT-Linearizer', a['distilled'], a['distill']['iterations']),
        ('activation matching alone', a.get('distilled_activation'),
         a.get('distill_activation', {}).get('iterations')),
        ('masked prediction alone', a.get('distilled_mask'),
         a.get('distill_mask', {}).get('iterations')),
        ('linear ViT, weights inherited, no alignment', b['no_alignment'], 0),
        ('Adventurer by plain L2 on final features', a.get('distilled_l2'),
         a.get('distill_l2', {}).get('iterations')),
        ('Adventurer from scratch', a['scratch'], 0),
        ('for comparison: linear ViT, no alignment, labels for the whole budget',
         b.get('no_alignment_long'), 0),
        ('for comparison: the ViT keeps its softmax', b['softmax_finetuned'], 0),
        ('for comparison: the teacher itself', a['teacher'], 0),
        ('for comparison: Adventurer, labels for the whole budget', a['scratch_long'], 0)]
    return [
        '### Accuracy', '',
        f"CamVid, 120×160 crops, patch 8, networks of 2 M parameters, {len(camvid['seeds'])} "
        f"seeds, mIoU on held-out images. The teacher had {a['teacher']['iterations']} iterations "
        'with the same labels, and the ViTs turned linear start from its weights:', '',
        '| | iterations without labels | with labels | mIoU |', '| --- | --- | --- | --- |',
        *(f"| {text} | {without or ''} | {stage['iterations']} | {score(stage)} |"
          for text, stage, without in rows if stage), '',
        'Learning rates of ViT-AdaLA are the best of those tried by the loss without labels '
        '([rates_camvid.json](docs/results/rates_camvid.json)), those of the others 1e-3. ' +
        ''.join(f'{words} ' for words in dict.fromkeys(
            file['predates'] for file in (camvid, adala) if 'predates' in file)) +
        'Teachers that were trained on other data, such as CLIP, were not measured.', '',
        *commands(camvid, adala)]


def ablations(files: dict[str, dict]) -> list[str]:
    """Every row of the ablations, one column for each data set.

    Args:
        files: Data set → its ablation.
    """
    heads = [f'{where}, {measure(results)} | beside it' for where, results in files.items()]
    rows: dict[str, str] = {}
    for results in files.values():
        rows |= load_report(ROOT / results['recipe']).rows
    lines = [
        '### What each part of ViT-Linearizer brings', '',
        'Activation matching makes the map of cosine similarities between all tokens like the '
        "teacher's, at the ends of K equal parts of the depth (stages), over the tokens of its "
        'scope; in masked prediction, of weight λ, the student predicts the final features of the '
        'tokens that it was not shown. Plain L2 and class probabilities are what one would do '
        'without either; the head of class probabilities is kept for the labels, or replaced by a '
        'new one.', '',
        f"{over(next(iter(files.values()))['seeds'])}; beside it: the row less ViT-Linearizer, "
        'each seed beside its own, with the 95% interval, bold where that does not hold 0. '
        'Intervals of rows of this method, which have one budget, are by what all of them scatter '
        'together; one in twenty is expected to miss. CIFAR-10 has one teacher for all seeds:', '',
        f"| | {' | '.join(heads)} |", '| --- |' + ' --- | --- |' * len(files)]
    for name, text in rows.items():
        cells = []
        for results in files.values():
            row, ours = results['stages'].get(name, {}), results['stages']['distilled-both']
            spread = spread_of(results)
            told = '' if name == 'distilled-both' or 'mean' not in row else gap(row, ours, spread)
            bold = told and beside(row, ours, spread) != 'level with'
            cells += [score(row), f'**{told}**' if bold else told]
        lines.append(f"| {text} | {' | '.join(cells)} |")
    return [*lines, '', 'Why, as far as it can be told: below the same tables in '
            '[docs/results](docs/results/README.md).', '', *commands(*files.values())]


def shown_here(lines: list[str]) -> list[str]:
    """Lines of the page of results, for a page two folders above it."""
    return [line.replace('](', '](docs/results/') if line.startswith('![') else line
            for line in lines]


def transferred(results: dict) -> list[str]:
    """Whether a student's nearness to its teacher tells its score; the figures."""
    return ['### What was transferred', '',
            f"Similarity maps of {len(results['rows'])} networks on {results['images']} images "
            'that neither they nor their teachers saw. ' +
            tables.correlated(results['correlations'])[0] + ' ' + results.get('note', ''),
            '', *shown_here(tables.TRANSFER_FIGURES), *commands(results)]


def speed(results: dict, windows: dict | None, ops: dict | None) -> list[str]:
    """Base networks by size of image, and where each overtakes."""
    rows = measured(results)
    told = [
        '### Time', '',
        f'Base networks at batch 1, float32, on {on(results)}, the ViT with fused attention; '
        f'seconds, medians of {rounds(rows)} rounds in turn, but for what is marked *, which ran '
        'once, alone:', '',
        '| image | ViT-B | linear ViT-B | Adventurer-B |',
        '| --- | --- | --- | --- |']
    for size in by_area(s for _, s, _ in rows):
        of = [rows.get((name, size, 'fp32')) for name in ('vit-base', 'linear-vit-base',
                                                          'adventurer-base')]
        cells = ['–' if r is None else in_seconds(r) for r in of]
        for n in (1, 2):
            if of[0] and of[n]:
                cells[n] += f" ({of[0]['ms']['median'] / of[n]['ms']['median']:.1f}×)"
        told.append(f"| {size.replace('x', '×')} | {' | '.join(cells)} |")
    peaks = []
    for size in by_area(s for _, s, _ in rows):
        of = [rows.get((name, size, 'fp32'), {}).get('peak_mib')
              for name in ('vit-base', 'linear-vit-base', 'adventurer-base')]
        if None not in of:
            peaks.append(f"{size.replace('x', '×')} {of[0]:,.0f}, {of[1]:,.0f} and {of[2]:,.0f}")
    if ops:
        again = [f"{ops['rows'][name]['ratio']:.1f}×" for name in (
            'linear ViT fp32 2048x4096', 'fp32 2048x4096')]
        told += ['', 'The largest ratios hang on that one run of the ViT; measured another time '
                 f"([ops_cpu.json](docs/results/ops_cpu.json)) they are {' and '.join(again)}."]
    told += ['', 'Faster than the ViT of its name, in float32, from images of:', '',
             '| | tiny | small | base |', '| --- | --- | --- | --- |']
    for kind, prefix in (('linear ViT', 'linear-vit-'), ('Adventurer', 'adventurer-')):
        cells = [overtakes(results, prefix + w, f'vit-{w}', 'fp32')
                 for w in ('tiny', 'small', 'base')]
        told.append(f"| {kind} | {' | '.join(cells)} |")
    return [*told, '', f'Below that, keep the softmax. {parameters(rows)}', '',
            *(against_windows(windows) if windows else []),
            'Peak memory above the loaded network in MiB, ViT-B, linear ViT-B and Adventurer-B: '
            f"{'; '.join(peaks)}.", '',
            '![time against tokens](docs/results/speed_cpu_latency.png)', '',
            '![memory against tokens](docs/results/speed_cpu_memory.png)', '',
            *commands(results, windows),
            *([results['note'], ''] if results.get('note') else [])]


def against_windows(results: dict) -> list[str]:
    """The opponent that a user of large images would really pick."""
    rows = measured(results, 'features')

    def seconds(name: str) -> float:
        return rows[name, '1024x1024', 'fp32']['ms']['median'] / 1e3

    words = []
    for name, told in SUBJECTS.items():
        windows = seconds(f'windowed softmax baseline of {name}')
        words.append(f'{told} {seconds(name):.1f} s, {seconds(name) / windows:.2f} of the '
                     f'{windows:.1f} s of the windows beside it')
    return ["The nearest opponent is no global attention but ViTDet's windows (14×14, four global "
            f"blocks). Backbone and pyramid at 1024×1024: {'; '.join(words)}. What windows cost in "
            'accuracy was not measured.', '']


def teacher_cost(results: dict, taught: dict | None) -> list[str]:
    """A step of distillation beside one whose teacher costs nothing, and what its student loses.

    Args:
        results: Times.
        taught: Scores of students by how their teacher was computed.
    """
    rows = dict(results['rows'])
    alone = rows.pop('student alone')['ms']['median']
    words = [f"{name} {row['ms']['median'] / alone:.2f}× ({row['ms']['median'] / 1e3:.2f} s, peak "
             f"{row['peak_mib']:,.0f} MiB)" for name, row in rows.items()]
    kept, usual = results['kib_an_image'], rows['as it is']['ms']['median']
    cheaper = [name for name, row in rows.items() if row['ms']['median'] < 0.95 * usual]
    return ['### What a teacher costs', '',
            f"A step in which `{results['teacher']}` teaches Adventurer-"
            f"{results['student'][0].upper()} at 224×224, batch {results['batch']}, on "
            f"{on(results)}, beside the student's part of it alone, by how the teacher's features "
            f"come: {', '.join(words)}; cheaper than as it is: {', '.join(cheaper)}. "
            f"{results['note']} An image's features take "
            f"{kept['cache'] / 1024:.1f} MiB on disk, {kept['cache16'] / 1024:.1f} in float16; "
            'steps that fill the cache cost as much as without it, and the writing.', '',
            *(same_student(taught) if taught else []), *commands(results, taught)]


def same_student(results: dict) -> list[str]:
    """Whether a cheaper teacher changes the student."""
    report, s = load_report(ROOT / results['recipe']), results['stages']
    ours = s[report.student]
    words = [f'{text} {score(s[name])} ({gap(s[name], ours)})' for name, text in
             report.rows.items() if name != report.student and 'mean' in s.get(name, {})]
    return [f'What comes of it: a small Adventurer on CamVid, {over(results["seeds"])}, '
            f'{report.rows[report.student]}: {measure(results)} {score(ours)}; '
            f"{'; '.join(words)}.", '']


def detection(results: dict, timed: dict | None) -> list[str]:
    """Cars and people on drawn streets; time against windows."""
    told = load_report(ROOT / results['recipe'])
    kinds = [detector_scores(results, f'bbox_AP50_ordinary{kind}')
             for kind in ('', '_car', '_person')]
    words = [f"{told.rows[name]}, " + ', '.join(f"{score(kind[name])} {what}" for kind, what in zip(
        kinds, ('over all eight classes', 'for cars', 'for people'), strict=True))
        for name in kinds[0]]
    ahead = [f'by {gap(kinds[0][told.student], other)} of “{told.rows[name]}”'
             for name, other in kinds[0].items() if name != told.student]
    lines = ['### Detection', '', f"{told.title}, box AP50 in percent of objects that cover 1/300 "
             "of the image and more (which is where COCO's medium objects begin), "
             f"{over(results['seeds'])}: {'; '.join(words)}. Over all classes the student is "
             f"ahead {' and '.join(ahead)}. {told.note}", '']
    return lines + ([*detector_times(timed), ''] if timed else []) + commands(results, timed)


def trust(results: dict) -> list[str]:
    """Kills survived, damaged files."""
    return ['### Killed runs, several processes, damaged files', '', *survived(results), '',
            *commands(results)]
