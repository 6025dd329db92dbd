"""Write the README's measured section from the files in docs/results.

With --demo the results of `make demo` are copied there first.
"""
import argparse
import json
import re
import shutil
from pathlib import Path

from mmvitlin.engine.recipe import load_report

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / 'docs' / 'results'


def comparison(results: dict) -> list[str]:
    """Table of a recipe's results over seeds."""
    told = load_report(ROOT / results['recipe'])
    stages, seeds = results['stages'], results['seeds']
    student = stages[told.student]
    lines = [
        f'### {told.title}', '',
        f'mIoU on held-out images, {len(seeds)} seeds, mean ± standard deviation:', '',
        '| | mIoU | iterations with labels |', '| --- | --- | --- |',
        *(f"| {text} | {stages[name]['mean']:.1f} ± {stages[name]['std']:.1f} | "
          f"{stages[name]['iterations']} |" for name, text in told.rows.items()), '',
        f"The student had {sum(stages[n]['iterations'] for n in told.unlabelled)} iterations "
        'without labels before. Its mIoU against ' + ', '.join(
            f"{name.replace('_', ' ')}: {student['mean'] - stages[name]['mean']:+.1f}"
            for name in told.rows if name != told.student) + '.', '',
        f"```bash\n{results['command']}\n```", '']
    return lines + ([results['note'], ''] if results.get('note') else [])


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
    return [*lines, '', f'All of it took {minutes} min {seconds} s from a fresh clone after set-up.',
            '', '![latency against tokens](docs/results/demo_latency.png)', '']


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--demo', type=Path, help='work directory of a finished demo')
    args = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    if args.demo:
        for source, target in (('results.json', 'demo.json'), ('latency.png', 'demo_latency.png'),
                               ('predictions.png', 'demo_predictions.png')):
            shutil.copy(args.demo / source, RESULTS / target)
    body: list[str] = []
    for name, write in (('camvid', comparison), ('adala_camvid', comparison), ('demo', demo)):
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
