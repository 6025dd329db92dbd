"""Scores, as lines of Markdown, of the measured files beside this one."""
import itertools
import json
import statistics
from pathlib import Path

from commands import ending
from mmengine.config import Config
from scores import beside, gap, measure, over, score, spread_of
from speed_tables import STUDENTS, on, student_cells

from mmvitlin.compat.mmengine import read_config
from mmvitlin.evaluation.resolution import gains
from mmvitlin.experiments.recipe import load_report
from mmvitlin.utils.machine import undisturbed

ROOT = Path(__file__).parents[2]


def comparison(results: dict) -> list[str]:
    """Table of a recipe's results over seeds."""
    report = load_report(ROOT / results['recipe'])
    stages, seeds = results['stages'], results['seeds']
    student, spread = stages[report.student], spread_of(results)
    rows = {name: text for name, text in report.rows.items() if 'mean' in stages.get(name, {})}
    metric = measure(results)
    lines = [
        f'### {report.title}', '',
        f'{metric} on held-out images in percent, {over(seeds)}; the last column is by how much '
        f'the student (“{report.rows[report.student]}”) leads the row, compared seed by seed' +
        (', with its 95% interval' if len(seeds) > 1 else '') + ':', '',
        f'| | {metric} | iterations with labels | student leads by |', '| --- | --- | --- | --- |',
        *(f"| {text} | {score(stages[name])} | {stages[name]['iterations']} | "
          f"{'' if name == report.student else gap(student, stages[name], spread)} |"
          for name, text in rows.items()), '',
        (f"“{report.rows[report.student]}” trained for "
         f"{sum(stages[n]['iterations'] for n in report.unlabelled):,} iterations without labels "
         'before. ' * bool(report.unlabelled) + report.note).strip(), '',
        *([f'Intervals between distilled rows use the spread of all {len(spread.rows)} of them '
           f'that row and seed do not explain, {spread.deviation:.2f} ({spread.freedom} degrees '
           'of freedom); one of twenty such intervals is expected to miss the true value.', '']
          if spread else []),
        *ending(results)]
    return lines


def student_stages() -> dict[str, tuple[str, str, str]]:
    """Kind of student → its stages of the recipe of students: distilled, from scratch, and with
    labels only for the same total iterations."""
    stages = {kind: tuple(f"{stage}_{kind.replace('-', '_')}"
                          for stage in ('distilled', 'scratch', 'long'))
              for kind in STUDENTS if kind != 'vit'}
    return {**stages, 'adventurer': ('distilled-both', 'supervised', 'supervised_long')}


def students(results: dict) -> list[str]:
    """Accuracy of several students, distilled and from scratch, beside their size and time."""
    report, stages = load_report(ROOT / results['recipe']), results['stages']
    timed = json.loads((ROOT / 'docs/results/students_speed.json').read_text())
    heads, cells = student_cells(timed)
    labels, without = (stages[n]['iterations'] for n in (report.student, *report.unlabelled))
    columns = ['mIoU, distilled', f'labels for {labels}', 'gain over it',
               f'labels for {labels + without}', 'gain over it', *heads]
    lines = [f'### {report.title}', '',
             f'mIoU on held-out images in percent, {over(results["seeds"])}, gains with their 95% '
             f'interval; distilled in {without} iterations without labels and {labels} with, '
             f'compared with the same network with labels for {labels} and for all '
             f'{labels + without}; '
             f'backbones at batch 1, float32, {on(timed)}:', '',
             f"| | {' | '.join(columns)} |", '| --- |' + ' --- |' * len(columns),
             f"| {STUDENTS['vit']} | {score(stages[report.teacher])} |  |  |  |  | "
             f"{' | '.join(cells['vit'])} |"]
    for kind, names in student_stages().items():
        distilled, *others = (stages.get(stage, {}) for stage in names)
        cells_of_others = [cell for other in others for cell in (
            score(other), gap(distilled, other) if 'mean' in other else '')]
        lines.append(f'| {STUDENTS[kind]} | {score(distilled)} | '
                     f"{' | '.join([*cells_of_others, *cells[kind]])} |")
    return [*lines, '', *ending(results)]


def by_labels(results: dict, ways: dict[str, str | tuple[str, str | None]] | None = None
              ) -> tuple[dict[str, str], dict[int, dict[str, dict]]]:
    """Ways of training that were measured, as text, and number of labelled frames → way → its
    scores; ``ways`` are the recipe's, name → text, or text and another stage with all labels."""
    recipe = Config.fromfile(str(ROOT / results['recipe']))
    ways = {name: (way, name) if isinstance(way, str) else way
            for name, way in (recipe.ways if ways is None else ways).items()}
    counts = {prefix: len(frames[0]) for prefix, labels in recipe.amounts.items()
              for frames in labels.values()}
    columns: dict[int, dict[str, dict]] = {}
    for way, (_, whole) in ways.items():
        for count, stage in ((recipe.count, whole),
                             *((n, f'{prefix}_{way}') for prefix, n in counts.items())):
            if 'mean' in results['stages'].get(stage, {}):
                columns.setdefault(count, {})[way] = results['stages'][stage]
    return {way: text for way, (text, _) in ways.items()
            if any(way in rows for rows in columns.values())}, columns


def few_labels(results: dict) -> list[str]:
    """Ways of training, a column for each number of labelled frames; then the recipe's
    ``more_tables``, of which something was measured to compare."""
    report = load_report(ROOT / results['recipe'])
    recipe = Config.fromfile(str(ROOT / results['recipe']))
    lines = [f'### {report.title}', '',
             *_by_labels_table(results, *by_labels(results), recipe.get('control', 'scratch_long')),
             '', report.note, '']
    for table in recipe.get('more_tables', ()):
        names, columns = by_labels(results, table.ways)
        if len(names) > 1 and table.control in names:
            lines += [f'**{table.title}**', '',
                      *_by_labels_table(results, names, columns, table.control), '',
                      table.note, '']
    return [*lines, *ending(results)]


def _by_labels_table(results: dict, names: dict[str, str], columns: dict[int, dict[str, dict]],
                     control: str) -> list[str]:
    lines = [f'{measure(results)} on held-out images in percent, {over(results["seeds"])}; in '
             f"brackets the difference from “{names[control]}” with as many frames, "
             'compared seed by seed, and its 95% interval, bold where that does not contain 0'
             + ('; “of” says how many seeds a row has that not all have' if any(
                 row.get('incomplete') for rows in columns.values() for row in rows.values())
                else '') + ':', '',
             '| | ' + ' | '.join(f'{n} frames' for n in columns) + ' |',
             '| --- |' + ' --- |' * len(columns)]
    for way, text in names.items():
        cells = []
        for rows in columns.values():
            row, labels = rows.get(way, {}), rows.get(control, {})
            cell = score(row)
            if row.get('incomplete'):
                cell += f" of {len(row['values'])}"
            if row and labels and row is not labels:
                bold = '' if beside(row, labels) == 'level with' else '**'
                cell += f' ({bold}{gap(row, labels)}{bold})'
            cells.append(cell)
        lines.append(f"| {text} | {' | '.join(cells)} |")
    return lines


HYPOTHESES = (  # the order that the paper found, best first; its last row is a full training
    ('objectives', ['distilled-both', 'distilled-activation_only', 'distilled-mask_only',
                    'supervised_long']),
    ('objectives', ['distilled', 'distilled_activation', 'distilled_mask', 'scratch_long']),
    ('scope of the activation matching, without the class token, second in the paper, whose last '
     'layer this teacher did not train,', ['distilled-both', 'distilled-scope_all']),
    *(('scope of the activation matching', [f'{read}-{scope}' for scope in ('visible', 'cls', 'all')
                                            ]) for read in ('distilled', 'distilled_cls')))


def ablation(results: dict) -> list[str]:
    """Table of an ablation, and whether the published order holds in it."""
    report = load_report(ROOT / results['recipe'])
    stages, spread, words = results['stages'], spread_of(results), []
    for what, order in HYPOTHESES:
        if any('mean' not in stages.get(name, {}) for name in order):
            continue
        steps = [f'{report.rows[a]} − {report.rows[b]} {gap(stages[a], stages[b], spread)}'
                 for a, b in itertools.pairwise(order)]
        words.append(f"Of the {what} the paper's order is "
                     f"{' > '.join(report.rows[name] for name in order)}; measured, step by step: "
                     f"{'; '.join(steps)}.")
    table = comparison(results)
    at = len(table) - len(ending(results))  # the words come before the command
    return [*table[:at], *(line for word in words for line in (word, '')), *table[at:]]


RATES = {  # what a recipe of rates compares
    'camvid_rates': ('CamVid without labels', 'the loss after 200 iterations'),
    'camvid_label_rates': ('CamVid with labels', 'mIoU on the validation frames after 150 '
                           'iterations, of the ViT and of “long” after 450'),
    'cifar10_rates': ('CIFAR-10', 'the loss after 200 iterations, with labels after 150, of the '
                      'ViT after 300')}


def rates(results: dict) -> list[str]:
    """Losses or scores of short runs, by learning rate."""
    by_kind: dict[str, list[tuple[str, float]]] = {}
    for name, row in results['stages'].items():
        kind, _, rate = name.partition('_')
        if rate:
            by_kind.setdefault(kind, []).append((rate, row['mean']))
    form = '.1f' if results['metric'] == 'mIoU' else '#.3g'
    words = [f"{kind} " + ', '.join(f'{value:{form}} at {rate}' for rate, value in rows)
             for kind, rows in by_kind.items()]
    where, what = RATES[Path(results['recipe']).stem]
    return [f'### Learning rates, {where}', '', f"By learning rate, {what}: {'; '.join(words)}.",
            '', *ending(results)]


def alignment(results: dict) -> list[str]:
    """The error that the first stage of ViT-AdaLA leaves, by how it is trained."""
    report = read_config(ROOT / results['recipe'])['what']
    rows = [(row['mean'], name, row) for name, row in results['stages'].items()]
    return ['### How to train the first stage of ViT-AdaLA', '',
            'The pretrained ViT-S (width 384) with Hedgehog maps at 168×224, 8 images a step, one '
            "seed: squared error of the linear attentions' outputs over the softmax attentions' "
            'squared outputs, mean over layers and the last 50 iterations:', '',
            '| | iterations | error |', '| --- | --- | --- |',
            *(f"| {report[name]} | {row['iterations']} | {error:.3f} |"
              for error, name, row in sorted(rows, key=lambda r: r[0])), '', *ending(results)]


def replaced(results: dict) -> list[str]:
    """Frozen features of a pretrained ViT under other attentions."""
    sizes = list(dict.fromkeys(key.split('|')[1] for key in results['rows']))
    names = list(dict.fromkeys(key.split('|')[0] for key in results['rows']))
    frames = results['frames']
    lines = ['### A pretrained ViT with its attention replaced, nothing trained', '',
             'The pretrained ViT-S/14 and the same weights under each attention, frozen; a linear '
             f"classifier by ridge regression on {frames['train']} frames of CamVid, mIoU on "
             f"{frames['val']} others. Frames have 360×480 pixels, larger ones are scaled up. "
             f'Beside the score the time of one image, float32, {on(results)}, not in turn:', '',
             f"| | {' | '.join(size.replace('x', '×') for size in sizes)} |",
             '| --- |' + ' --- |' * len(sizes)]
    for name in names:
        of = [results['rows'].get(f'{name}|{size}') for size in sizes]
        cells = [f"{row['miou']:.1f}, {row['seconds']:.2f} s" if row else '' for row in of]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return [*lines, '', *ending(results)]


def detector_scores(results: dict, metric: str) -> dict[str, dict]:
    """Percents of each detector that has them, by row, seeds in order; as ``gap`` takes them."""
    report = load_report(ROOT / results['recipe'])
    percents = {name: [100 * run[name]['metrics'][f'coco/{metric}'] for run in
                       results['runs'].values() if name in run] for name in report.rows}
    return {name: dict(values=v, mean=statistics.mean(v),
                       std=statistics.stdev(v) if len(v) > 1 else 0.)
            for name, v in percents.items() if v}


def detection(results: dict) -> list[str]:
    """Boxes and masks of a recipe's detectors over seeds."""
    report = load_report(ROOT / results['recipe'])
    seeds = results['seeds']
    columns = {'AP50 of cars': 'bbox_AP50_ordinary_car', 'of people': 'bbox_AP50_ordinary_person',
               'of all eight classes': 'bbox_AP50_ordinary',
               'masks, all classes': 'segm_AP50_ordinary', 'box AP, all sizes': 'bbox_mAP'}
    scores = {key: detector_scores(results, key) for key in columns.values()}
    of_all = scores['bbox_AP50_ordinary']
    lines = [f'### {report.title}', '',
             f'Held-out scenes, {over(seeds)}, in percent; AP50 of objects of ordinary size (1/300 '
             "of the image and more, which is where COCO's medium objects begin); the last column "
             f'is by how much “{report.rows[report.student]}” is ahead in the AP50 of all classes, '
             'compared seed by seed' +
             (', with its 95% interval' if len(seeds) > 1 else '') + ':', '',
             f"| | {' | '.join(columns)} | student leads by |",
             '| --- |' + ' --- |' * (len(columns) + 1)]
    for name in of_all:
        cells = [score(scores[key][name]) for key in columns.values()]
        ahead = '' if name == report.student else gap(of_all[report.student], of_all[name])
        lines.append(f"| {report.rows[name]} | {' | '.join(cells)} | {ahead} |")
    first = results['stages'][next(iter(of_all))]
    return [*lines, '',
            f"{first['iterations']} iterations with boxes and masks each; the "
            f"student had {sum(results['stages'][n]['iterations'] for n in report.unlabelled)} "
            f'iterations without labels before. {report.note}', '',
            *ending(results)]


def resolution(results: dict) -> list[str]:
    """One checkpoint at several input sizes."""
    lines = ['### Resolution: accuracy, time and memory', '',
             '| input | mIoU | large | small | thin | ms | peak MiB |',
             '| --- | --- | --- | --- | --- | --- | --- |']
    for row in (r for r in results['rows'] if 'miou' in r):
        scores = [row[k] for k in ('miou', 'large', 'small', 'thin')]
        lines.append(f"| {row['scale']:g}× ({row['pixels'] / 1e6:.2g} MP) | " +
                     ' | '.join('–' if s is None else f'{s:.1f}' for s in scores) +
                     f" | {row['ms']:.0f} | {whole_number(row['peak_mib'])} |")
    classes = gains([row for row in results['rows'] if 'miou' in row])
    lines += ['', 'IoU of each class, the largest gains first:', '',
              '| class | ' + ' | '.join(f"{row['scale']:g}×" for row in results['rows']
                                       if 'miou' in row) + ' |',
              '| --- |' + ' --- |' * len(next(iter(classes.values())))]
    lines += [f'| {name} | ' + ' | '.join('–' if s is None else f'{s:.1f}' for s in scores) + ' |'
              for name, scores in classes.items()]
    figure = '![IoU, time and memory against the size of the input](resolution_streets.png)'
    return [*lines, '', figure, '', *ending(results)]


def whole_number(value: float | None) -> str:
    """Rounded, or a dash for what could not be measured."""
    return '–' if value is None else f'{value:.0f}'


def camvid_cells(results: dict) -> dict[tuple[str, float, str], dict]:
    """Network, scale and mode → mean scores, spread of mIoU, milliseconds and MiB, in order."""
    names = dict(vit='softmax ViT', adventurer='Adventurer, distilled',
                 labels='Adventurer, labels only', labels_steps='labels only, step sizes by length',
                 labels_crops='labels only, crops of 360×480',
                 labels_columns='labels only, columns too',
                 labels_columns_crops='labels only, columns too, crops of 360×480',
                 linear_vit='linear ViT, aligned')
    groups: dict[tuple, list[dict]] = {}
    for key, rows in results['rows'].items():
        net, mode, _ = key.split()
        for row in rows:
            if 'error' in row or row.get('limit') is not None:
                raise SystemExit(f'{key} was not evaluated on the whole test '
                                 'set; measure it again')
            groups.setdefault((net, row['scale'], mode), []).append(row)
    cells = {}
    for (net, scale, mode), rows in sorted(groups.items(), key=lambda f: (
            list(names).index(f[0][0]), f[0][1], f[0][2] == 'slide')):
        timed = results['times'].get(f'{scale:g}', {}).get(f'{net} {mode}')
        timed = timed and next(iter(undisturbed([timed])), None)
        scores = [row['miou'] for row in rows]
        peaks = [row['peak_mib'] for row in rows if row['peak_mib'] is not None]
        cells[names[net], scale, mode] = dict(
            miou=statistics.mean(scores), thin=statistics.mean(row['thin'] for row in rows),
            std=statistics.stdev(scores) if len(scores) > 1 else None,
            ms=timed and timed['median'], peak=statistics.median(peaks) if peaks else None)
    return cells


def camvid_at_full_size(results: dict, recipe: str = 'camvid_highres') -> list[str]:
    """Networks on larger images, whole and in windows."""
    stages = Config.fromfile(ROOT / f'configs/recipes/{recipe}.py').stages
    length = {stage.name: stage.get('iterations') for stage in stages}
    how = ('Trained on crops of 240×320 from networks that had seen labels on smaller crops, the '
           f"softmax ViT (the teacher) for {length['teacher']} iterations, the others for "
           f"{length['both_stages']}" if recipe == 'camvid_highres' else
           f"Labels only, {length['labels']} iterations, crops of 240×320 unless a row says "
           'otherwise')
    title = dict(camvid_highres='CamVid at full size and twice it',
                 camvid_lengths='Adventurers on longer sequences than they were trained on')[recipe]
    lines = [f'### {title}', '',
             f"{how}; {over({key.split()[2] for key in results['rows']})}, the whole test set; "
             'times of one image, in turn; memory above the loaded network:', '',
             '| network | image | | mIoU | thin objects | ms | MiB |',
             '| --- | --- | --- | --- | --- | --- | --- |']
    for (net, scale, mode), cell in camvid_cells(results).items():
        spread = '' if cell['std'] is None else f" ± {cell['std']:.1f}"
        lines.append(
            f"| {net} | {360 * scale:.0f}×{480 * scale:.0f} "
            f"| {'windows' if mode == 'slide' else mode} "
            f"| {cell['miou']:.1f}{spread} | {cell['thin']:.1f} "
            f"| {whole_number(cell['ms'])} | {whole_number(cell['peak'])} |")
    return [*lines, '', *ending(results)]
