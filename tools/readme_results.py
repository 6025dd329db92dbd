"""Write the README's measured section from the files in docs/results.

With --demo the results of `make demo` are copied there first.
"""
import argparse
import json
import re
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / 'docs' / 'results'
STAGES = {
    'teacher': 'softmax ViT, labels (the teacher)',
    'distilled': 'Adventurer, distilled without labels, then fine-tuned',
    'scratch': 'Adventurer, the same fine-tuning from scratch',
    'scratch_long': 'Adventurer from scratch, labels for the whole budget',
}


def camvid(results: dict) -> list[str]:
    stages, seeds = results['stages'], results['seeds']
    lines = [
        '### CamVid, real images', '',
        f'mIoU on the 233 test frames, {len(seeds)} seeds, mean ± standard deviation; 120×160 '
        'crops, patch 8, width 128, 8 blocks (`docs/results/camvid.json`):', '',
        '| | mIoU | iterations with labels | without |', '| --- | --- | --- | --- |'
    ]
    for name, text in STAGES.items():
        row = stages[name]
        free = stages['distill']['iterations'] if name == 'distilled' else 0
        lines.append(f"| {text} | {row['mean']:.1f} ± {row['std']:.1f} | {row['iterations']} | "
                     f'{free} |')
    gain = stages['distilled']['mean'] - stages['scratch']['mean']
    control = stages['distilled']['mean'] - stages['scratch_long']['mean']
    weak = stages['teacher']['mean'] < stages['scratch_long']['mean']
    lines += [
        '', f'Under the same fine-tuning budget distillation is worth {gain:+.1f} mIoU. Against '
        f'labels for the whole budget it is {control:+.1f}' +
        ('; the teacher, a small ViT trained on the same few frames, is itself below the student '
         'that had labels for longest.' if weak else '.'), '',
        f"```bash\n{results['command']}\n```", '', *([results['note'], ''] if results.get('note')
                                                    else [])
    ]
    return lines


def demo(results: dict) -> list[str]:
    m = results['machine']
    lines = [
        '### Drawn streets, `make demo`', '',
        'Held-out mIoU, one seed: ' + ', '.join(
            f"{name.replace('_', ' ')} {results['miou'][name]:.1f}" for name in STAGES) +
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
    note = [results['note'], ''] if results.get('note') else []
    return [*lines, '', *note, '![latency against tokens](docs/results/demo_latency.png)', '']


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
    for name, write in (('camvid', camvid), ('demo', demo)):
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
