"""Figures of the page of results that are rows of dots."""
from pathlib import Path

from accuracy_tables import by_labels, camvid_cells, detector_scores, student_stages
from deployed_tables import RUNTIMES, by_runtime
from dots import dots
from heads_table import NETS
from mmengine.config import Config
from speed_tables import STUDENTS, by_area, measured

from mmvitlin.experiments.recipe import load_report

ROOT = Path(__file__).parents[2]
FORMS = dict(onnxruntime='onnxruntime', openvino='OpenVINO')


def _spread(stage: dict) -> tuple[float, float]:
    """Mean, and deviation if there are several runs."""
    return stage['mean'], stage['std'] if len(stage['values']) > 1 else 0.


def _by_frames(results: dict, ways: dict | None = None):
    names, columns = by_labels(results, ways)
    return dots({'': {text: {f'{count} labelled frames': _spread(rows[way])
                             for count, rows in columns.items() if way in rows}
                      for way, text in names.items()}}, 'mIoU, mean ± standard deviation')


def inherited(results: dict):
    """Students that have a pretrained ViT's weights, by the number of labelled frames."""
    return _by_frames(results)


def random_students(results: dict):
    """An Adventurer from random weights by what it was distilled with."""
    return _by_frames(results, Config.fromfile(ROOT / results['recipe']).more_tables[0].ways)


def students(results: dict, timed: dict):
    """Scores of small students beside their times."""
    rows, stages = measured(timed), results['stages']
    size = by_area(s for _, s, _ in rows)[-1]
    names = {'vit': load_report(ROOT / results['recipe']).teacher,
             **{kind: names[0] for kind, names in student_stages().items()}}
    times = f"milliseconds at {size.replace('x', '×')}"
    return dots({
        'mIoU, mean ± standard deviation': {
            STUDENTS[kind]: {'': _spread(stages[stage])} for kind, stage in names.items()},
        times: {STUDENTS[kind]: {'': (rows[kind, size, 'fp32']['ms']['median'], 0.)}
                for kind in names if (kind, size, 'fp32') in rows}}, from_zero=times)


def attentions(results: dict):
    """Seconds of base networks by attention, a panel for each size."""
    rows = measured(results)
    names = list(dict.fromkeys(n for n, _, _ in rows))
    return dots({size.replace('x', '×'): {net: {'': (rows[net, size, 'fp32']['ms']['median'] / 1e3,
                                                     0.)} for net in names
                                          if (net, size, 'fp32') in rows}
                 for size in by_area(s for _, s, _ in rows)}, 'seconds', from_zero=True)


def deployed(results: dict):
    """Seconds of base networks in each runtime, a panel for each size."""
    found = by_runtime(results, 'backbone')
    return dots({size.replace('x', '×'): {
        net: {RUNTIMES[key]: (row['ms']['median'] / 1e3, 0.) for key, row in rows.items()}
        for (net, s), rows in found.items() if s == size}
        for size in by_area(s for _, s in found)}, 'seconds', from_zero=True)


def reduced_precision(results: dict):
    """Seconds in float32 and int8 at the largest size, a panel for each runtime."""
    rows = measured(results, 'labels')
    size = by_area(s for _, s, _ in rows)[-1]
    names = {'softmax': 'softmax ViT-S', 'focal': 'focal ViT-S', 'linear': 'linear ViT-S',
             'adventurer': 'Adventurer-T'}
    panels: dict[str, dict] = {}
    for runtime, word in FORMS.items():
        for net in results['scores']:
            cells = {text: rows.get((f'{net}_{precision}_{size}@{runtime}', size, 'fp32'))
                     for precision, text in (('fp32', 'float32'), ('int8', 'int8'))}
            panels.setdefault(word, {})[names[net]] = {
                text: row and (row['ms']['median'] / 1e3, 0.) for text, row in cells.items()}
    return dots(panels, f"seconds at {size.replace('x', '×')}", from_zero=True)


def heads(results: dict, timed: dict):
    """Scores of heads on CamVid beside their times at the largest size."""
    size, rows = next((name.split()[1], found) for name, found in reversed(timed['rows'].items())
                      if name.startswith('camvid'))
    stages, panels = results['stages'], ('mIoU on CamVid', f"ms at {size.replace('x', '×')}")
    found = {text: (stages.get(f'camvid_{name}'), rows.get(f'camvid_{name}'))
             for name, text in NETS.items()}
    return dots({
        panels[0]: {text: {'': _spread(stage)} for text, (stage, _) in found.items() if stage},
        panels[1]: {text: {'': (row['median'], 0.)} for text, (_, row) in found.items()
                    if row and not row['load']['disturbed']}}, from_zero=panels[1])


def full_size(results: dict):
    """Scores on larger images, whole and in windows, a panel for each size."""
    panels: dict[str, dict] = {}
    for (net, scale, mode), cell in camvid_cells(results).items():
        title = f'{360 * scale:.0f}×{480 * scale:.0f}'
        panels.setdefault(title, {}).setdefault(net, {})[
            dict(whole='whole images', slide='windows')[mode]] = (cell['miou'], cell['std'] or 0.)
    return dots(panels, 'mIoU')


def detection(results: dict):
    """AP50 of boxes with and without distillation."""
    columns = {'cars': 'bbox_AP50_ordinary_car', 'people': 'bbox_AP50_ordinary_person',
               'all eight classes': 'bbox_AP50_ordinary',
               'all, masks': 'segm_AP50_ordinary'}
    report = load_report(ROOT / results['recipe'])
    scores = {text: detector_scores(results, key) for text, key in columns.items()}
    return dots({'': {text: {report.rows[name].replace(' from the teacher without labels', ''):
                             _spread(row) for name, row in rows.items()}
                      for text, rows in scores.items()}}, 'AP50, mean ± standard deviation')


def teacher_cost(results: dict):
    """Seconds of a distillation step by how the teacher is computed."""
    return dots({'': {name: {'': (row['ms']['median'] / 1e3, 0.)}
                      for name, row in results['rows'].items()}}, 'seconds a step', from_zero=True)
