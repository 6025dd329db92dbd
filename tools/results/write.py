"""Write README.md of docs/results and the tables of its index.md from its JSON files.

    python tools/results/write.py [--check] [--demo DIR]

With --demo the results of `make demo` are copied there first.
"""
import argparse
import json
import re
import shutil
import tempfile
from functools import partial
from pathlib import Path

import accuracy_tables as accuracy
import deployed_tables as deployed
import evidence_tables as evidence
import site_figures
import speed_tables as speed
from gpu_table import counts as gpu_counts
from heads_table import heads
from PIL import Image
from site_tables import page as site_page
from trust_table import trust

from mmvitlin.benchmark.figures import speed_figures
from mmvitlin.benchmark.trends import series

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / 'docs' / 'results'
WRITERS = {
    'Do the methods work': dict(
        pretrained_camvid=accuracy.few_labels, replaced_attention=accuracy.replaced,
        camvid=accuracy.ablation, camvid_few_labels=accuracy.few_labels,
        camvid_ablation=accuracy.ablation, camvid_images=accuracy.comparison,
        cifar10_ablation=accuracy.ablation,
        cifar10_longer=accuracy.comparison, cifar10_scopes=accuracy.ablation,
        streets_adala=accuracy.comparison, adala_camvid=accuracy.comparison,
        alignment_rates=accuracy.alignment,
        rates_camvid=accuracy.rates, label_rates_camvid=accuracy.rates,
        cifar10_rates=accuracy.rates,
        students_camvid=accuracy.students, camvid_heads=heads,
        teachers_camvid=accuracy.comparison, transfer=evidence.transfer,
        robustness=evidence.robustness,
        robustness_cifar10=partial(evidence.robustness, name='robustness_cifar10'),
        cheaper_teacher=speed.teachers),
    'Time and memory': dict(
        attention_speed=speed.attentions, deployed_cpu=deployed.deployed,
        peers_cpu=deployed.peers, reduced_precision=deployed.reduced_precision,
        speed_cpu=speed.speed, ops_cpu=speed.ops,
        students_speed=speed.student_times,
        gpu_counts=gpu_counts),
    'Large images': dict(
        highres_memory=speed.highres, highres_camvid=accuracy.camvid_at_full_size,
        camvid_lengths=partial(accuracy.camvid_at_full_size, recipe='camvid_lengths'),
        resolution_streets=accuracy.resolution),
    'Detection': dict(
        detection_streets=accuracy.detection, detection_speed=speed.detector_speed),
    'Trust': dict(reliability=trust),
    'The demos': dict(demo=speed.demo, demo_adala=speed.demo),
}
JOINED = {'heads_speed'}  # in the table of another file


def pages(files: dict[str, dict]) -> dict[Path, str]:
    """The pages, by file.

    Args:
        files: Name → content.
    """
    if unknown := sorted(files.keys() - JOINED - {n for group in WRITERS.values() for n in group}):
        raise SystemExit(f'no table is made of {unknown}; add them to WRITERS')
    lines = ['# Results', '', 'Each table is made of the JSON file named above it, by '
             '`python tools/results/write.py`; the command below a table measured it.', '']
    lines_of = {}
    for title, group in WRITERS.items():
        here = [name for name in group if name in files]
        lines += [f'## {title}', ''] if here else []
        for name in here:
            heading, *body = lines_of[name] = group[name](files[name])
            at = re.findall(r'"date": "([0-9-]{10})', json.dumps(files[name]))  # one of each call
            lines += [heading, '', f"[{name}.json]({name}.json){', ' + max(at) if at else ''}",
                      *body]
    index = RESULTS / 'index.md'
    found = {RESULTS / 'README.md': '\n'.join(lines).rstrip() + '\n',
             index: site_page(index.read_text(), lines_of)}
    for path, page in found.items():
        for picture in re.findall(r'!\[[^]]*\]\(([^)]+)\)', page):
            if not (path.parent / picture).is_file():
                raise SystemExit(f'{path.relative_to(ROOT)} shows {picture}, which is not there')
    return found


def draw(results: dict) -> None:
    """Figures of the speed grid, in 128 colours."""
    limits = {f"{precision} on {call['machine']['gpu'] or call['machine']['processor']}": limit
              for call in results['calls'] for precision, limit in call['limits'].items()}
    with tempfile.TemporaryDirectory() as folder:
        speed_figures(series(results), results['pairs'], limits, folder)
        for name in ('latency', 'memory'):
            picture = Image.open(Path(folder) / f'{name}.png').convert('RGB').quantize(128)
            picture.save(RESULTS / f'speed_cpu_{name}.png', optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--demo', type=Path, help='work directory of a finished demo')
    parser.add_argument('--check', action='store_true', help='only say whether the pages are what '
                        'the files hold')
    args = parser.parse_args()
    if args.demo:
        kind = speed.demo_of(json.loads((args.demo / 'results.json').read_text()))
        shutil.copy(args.demo / 'results.json', RESULTS / f'{kind}.json')
        for name in ('latency', 'predictions'):  # a fifth of the size, rare colours kept
            picture = Image.open(args.demo / f'{name}.png').convert('RGB').quantize(
                256, Image.Quantize.MAXCOVERAGE)
            picture.save(RESULTS / f'{kind}_{name}.png', optimize=True)
    files = {path.stem: json.loads(path.read_text()) for path in RESULTS.glob('*.json')}
    if not args.check:
        site_figures.draw(files, RESULTS)
        if 'speed_cpu' in files:
            draw(files['speed_cpu'])
    for path, page in pages(files).items():
        if args.check:
            if not path.is_file() or path.read_text() != page:
                raise SystemExit(f'{path.relative_to(ROOT)} is not what the files hold; run '
                                 'python tools/results/write.py')
        else:
            path.write_text(page)
    print(f'docs/results/README.md and index.md: results of {len(files)} files')


if __name__ == '__main__':
    main()
