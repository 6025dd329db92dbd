"""Run an exported file on images, without torch.

    python -m mmvitlin.deploy student.onnx street.png more_images/ --out-dir found
    python -m mmvitlin.deploy student.xml street.png --runtime openvino --precision bf16
"""
from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from mmvitlin.deploy.model import ExportedModel, Prediction
from mmvitlin.deploy.runtimes import PRECISIONS, RUNTIMES, open_file
from mmvitlin.utils.errors import ConfigError, UnreadableFileError, UserError
from mmvitlin.utils.outputs import claim, save_png
from mmvitlin.utils.paths import IMAGE_ENDINGS, shown


def parse_args(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog='python -m mmvitlin.deploy', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('file', help='.onnx, or .xml of OpenVINO')
    parser.add_argument('images', nargs='*', type=Path,
                        help='files, or folders, searched to their depth')
    parser.add_argument('--out-dir', type=Path, default=Path('found'),
                        help='labels/ and overlay/ are written there (default: found)')
    parser.add_argument('--runtime', choices=RUNTIMES,
                        help='default: openvino for .xml, else onnxruntime')
    parser.add_argument('--precision', choices=PRECISIONS, default='fp32',
                        help='of the computing; bf16 and fp16 with openvino, where the processor '
                        'has them (default: fp32)')
    parser.add_argument('--threads', type=int, help="of the CPU (default: the runtime's choice)")
    parser.add_argument('--original-size', action='store_true',
                        help="leave out the resizing of the config's test pipeline")
    parser.add_argument('--describe', action='store_true',
                        help='print the description in the file')
    parser.add_argument('--memory', metavar='HxW', help='print the peak memory of this process, in '
                        'MiB, after one image of that size')
    return parser.parse_args(words)


def list_images(paths: list[Path], deep: bool = True) -> list[Path]:
    """Image files, those of folders sorted, and with ``deep`` of the folders in them.

    Raises:
        UnreadableFileError: a path that is not there, or a folder without images.
    """
    files = []
    for path in paths:
        if not path.exists():
            raise UnreadableFileError(f'no file or folder {path}')
        inside = [path] if path.is_file() else [
            p for p in shown(path) if p.suffix.lower() in IMAGE_ENDINGS and p.is_file()
            and (deep or p.parent == path)]
        if not inside:
            raise UnreadableFileError(f'no images in {path}; known are {", ".join(IMAGE_ENDINGS)}')
        files += inside
    return files


def output_names(files: list[Path]) -> list[str]:
    """Names of what is written of each file: its stem, and more where two files share one."""
    names = [path.stem for path in files]
    for longer in (lambda path: path.name.replace('.', '_'),
                   lambda path: '_'.join(path.absolute().parts[1:]).replace('.', '_')):
        count = Counter(names)
        names = [longer(path) if count[name] > 1 else name
                 for name, path in zip(names, files, strict=True)]
    taken: set[str] = set()
    for n, name in enumerate(names):
        number = 2
        while names[n] in taken:
            names[n], number = f'{name}_{number}', number + 1
        taken.add(names[n])
    return names


def write(result: Prediction, name: str, folder: Path) -> str:
    """Write labels and overlay; the classes that were found, as text."""
    if result.labels is None:
        best = np.argsort(-result.scores)[:3]
        return ', '.join(f'{result.classes[n]} {100 * result.scores[n]:.0f}%' for n in best)
    wide = result.labels.dtype != np.uint8
    labels = Image.fromarray(result.labels.astype(np.uint16) if wide else result.labels)
    save_png(labels, folder / 'labels' / f'{name}.png')
    save_png(result.overlay(), folder / 'overlay' / f'{name}.png')
    return ', '.join(f'{c} {100 * share:.0f}%' for c, share in list(result.shares().items())[:3])


def peak_memory(args: argparse.Namespace) -> dict[str, object]:
    """Peak resident memory of this process in MiB, with and without an image's work.

    Raises:
        ConfigError: no size, one that the file does not take, or see
            :func:`mmvitlin.deploy.runtimes.open_file`.
    """
    def peak() -> float:
        status = Path('/proc/self/status').read_text()
        return int(status.split('VmHWM:')[1].split()[0]) / 1024

    size = re.fullmatch(r'([1-9]\d*)x([1-9]\d*)', args.memory)
    if size is None:
        raise ConfigError(f'--memory is HEIGHTxWIDTH, such as 512x1024, got {args.memory!r}')
    height, width = map(int, size.groups())
    runtime = open_file(args.file, args.runtime, args.precision, args.threads)
    fits = runtime.size in (None, (height, width))
    if not fits and not runtime.meta.get('stride'):
        raise ConfigError('{} takes images of {}x{} only'.format(args.file, *runtime.size))
    loaded = peak()
    if fits:
        runtime.run(np.zeros((1, 3, height, width), np.float32))
    else:
        ExportedModel(runtime, resize=False)(np.zeros((height, width, 3), np.uint8))
    return dict(loaded_mib=round(loaded, 1), peak_mib=round(peak(), 1),
                torch='torch' in sys.modules)


def run(args: argparse.Namespace) -> int:
    """Run the command; its exit status, 1 where an image could not be read."""
    if args.memory:
        print(json.dumps(peak_memory(args)))
        return 0
    if args.describe:
        print(json.dumps(open_file(args.file, args.runtime).meta, indent=1))
        return 0
    if not args.images:
        raise ConfigError('there are no images to run it on: give files or folders, or --describe')
    model = ExportedModel(args.file, args.runtime, args.precision, args.threads,
                          not args.original_size)
    files = list(dict.fromkeys(list_images(args.images)))
    names = output_names(files)
    if model.task == 'segmentation':
        claim(args.out_dir, ('labels', 'overlay'), args.images)
    failed = 0
    for path, name in zip(files, names, strict=True):
        start = time.perf_counter()
        try:
            result = model(path)
            milliseconds = 1e3 * (time.perf_counter() - start)
            words = write(result, name, args.out_dir)
        except UnreadableFileError as error:
            print(f'error: {error}', file=sys.stderr)
            failed += 1
            continue
        print(f'{path}: {words} ({milliseconds:.0f} ms with reading the image)')
    return 1 if failed else 0


def main(words: list[str] | None = None) -> None:
    """The command line."""
    try:
        sys.exit(run(parse_args(words)))
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        sys.exit(2)


if __name__ == '__main__':
    main()
