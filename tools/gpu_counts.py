"""Count a GPU run's memory traffic, launches and waits on a machine without a GPU.

    python tools/gpu_counts.py --out docs/results/gpu_counts.json      two minutes
    ... --images FOLDER                                                with reading, of JPEG files

Of kernels of other packages those that are installed are counted; rows of others stay.
"""
import argparse
import json
from pathlib import Path

from mmvitlin.benchmark.gpu_counts import layers, of_packages, spills, steps
from mmvitlin.benchmark.reading import reading
from mmvitlin.benchmark.training_step import training_step
from mmvitlin.engine.hooks.result import command_line, versions

PARTS = {
    'layers': lambda files: layers(),
    'packages': lambda files: of_packages(),
    'steps': lambda files: steps(),
    'training_step': lambda files: training_step(),
    'registers': lambda files: spills(),
    'reading': reading,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, default=Path('work_dirs/gpu_counts.json'))
    parser.add_argument('--images', type=Path, help='folder of JPEG files, for reading')
    parser.add_argument('--parts', nargs='+', choices=PARTS, default=list(PARTS),
                        help='count only these; the others stay as the file has them')
    args = parser.parse_args()
    files = sorted(args.images.rglob('*.jp*g')) if args.images else []
    if args.images and not files:
        parser.error(f'--images {args.images}: holds no .jpg or .jpeg file')
    partial_run = args.parts != list(PARTS)
    result = json.loads(args.out.read_text()) if partial_run and args.out.is_file() else {}
    result['note'] = 'bytes and kernels from shapes, not times; bfloat16'
    for name in args.parts:
        if name != 'reading' or files:
            counted = PARTS[name](files)
            kept = result.get(name, {}) if name == 'packages' else {}
            result[name] = {**kept, **counted}
            result.setdefault('commands', {})[name] = command_line()
            print(json.dumps({name: result[name]}, indent=1, ensure_ascii=False))
    result.update(versions=versions())
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2, ensure_ascii=False) + '\n')
    print('written to', args.out)


if __name__ == '__main__':
    main()
