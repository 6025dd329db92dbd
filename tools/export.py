"""Write a trained network for another runtime, and check what was written.

    python tools/export.py CONFIG CHECKPOINT student.onnx
    python tools/export.py CONFIG CHECKPOINT student.xml --size 1024 2048 --fixed
    python tools/export.py CONFIG CHECKPOINT student_int8.onnx --precision int8 \\
        --calibration FOLDER
    python tools/export.py CONFIG CHECKPOINT student.pt2 --to aot --size 1024 2048

A file of lower precision is compared with torch: on the config's test set, where it is there, by
mIoU and by the share of equal labels; or on --images, with --labels of the same names. A file that
loses more than a point is written too, with a warning. python -m mmvitlin.deploy runs .onnx and
.xml files without torch.
"""
import sys
from collections.abc import Iterator
from pathlib import Path

from mmvitlin.utils.environment import short_openmp_spin

short_openmp_spin()

import numpy as np
from PIL import Image

from mmvitlin.apis.export import SUFFIXES, Deployed, export, load_trained, size_of
from mmvitlin.apis.quantize import PRECISIONS, export_reduced
from mmvitlin.apis.shown_by_tests import max_value, steps_of_test, turns
from mmvitlin.datasets.subset import evenly
from mmvitlin.deploy.__main__ import list_images
from mmvitlin.deploy.model import read
from mmvitlin.engine.runner.cli import Parser, friendly
from mmvitlin.engine.runner.options import ConfigOptions
from mmvitlin.utils.errors import ConfigError


def chosen(folder: Path, count: int) -> list[Path]:
    """At most this many images of a folder, evenly spread."""
    files = list_images([folder], deep=False)  # labels may lie in a folder of it
    return [files[n] for n in evenly(len(files), count)]


def as_tested(path: Path, deployed: Deployed) -> np.ndarray:
    """An image as the config's test set reads it."""
    steps = steps_of_test((deployed.config.get('test_dataloader') or {}).get('dataset') or {})
    return read(path, max_value(steps), turns(steps))


def samples(args, deployed: Deployed) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Images and labels that a file is compared with torch on.

    Raises:
        ConfigError: an image of --images without its labels in --labels, or of another size.
    """
    if args.images is None:
        from mmvitlin.evaluation.resolution import labelled_images
        for path, labels in labelled_images(deployed.config, args.count):
            yield as_tested(path, deployed), labels
        return
    for path in chosen(args.images, args.count):
        image, labels = as_tested(path, deployed), None
        if args.labels is not None:
            file = args.labels / f'{path.stem}.png'
            if not file.is_file():
                raise ConfigError(f'--labels: no {file}, the labels of {path}')
            labels = np.asarray(Image.open(file))
            if labels.shape != image.shape[:2]:
                raise ConfigError(f'--labels: {file} is {labels.shape}, its image '
                                  f'{image.shape[:2]}; labels are one number a pixel')
        yield image, labels


def check_samples(args, deployed: Deployed) -> str:
    """Before anything is written: there is something to compare with torch on; what it is.

    Raises:
        ConfigError: neither --images nor a test set that can be read, nor --calibration.
    """
    if args.labels and not args.images:
        raise ConfigError('--labels are those of --images; give both')
    if args.images is not None:
        return 'given images'
    from mmvitlin.evaluation.resolution import labelled_images
    try:
        if next(labelled_images(deployed.config, 1), None) is None:
            raise ConfigError('it is empty')
    except Exception as error:  # of any library: no folder, no files, no labels
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if args.calibration is None:
            raise ConfigError('the file is compared with torch on images, and the test set of the '
                              f'config gives none ({reason[:200]}); give --images FOLDER'
                              ) from error
        print(f"no labelled test set ({reason[:200]}): compared on the calibration images, which "
              'flatters; --images FOLDER takes others', file=sys.stderr)
        args.images = args.calibration
        return 'calibration images'
    return 'test set'


@friendly
def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument('config', help='of a segmentor, a classifier, or a distillation (its '
                        'student is written)')
    parser.add_argument('checkpoint')
    parser.add_argument('target', type=Path, help='file to write')
    parser.add_argument('--to', choices=SUFFIXES,
                        help="default: by the target's suffix (.pt2: torch)")
    parser.add_argument('--size', type=int, nargs=2, metavar=('H', 'W'), help='traced at (default: '
                        'the windows that the config tests in, or 224 224)')
    parser.add_argument('--fixed', action='store_true', help='only this size, batch 1, as always '
                        'where the config tests in windows')
    parser.add_argument('--precision', choices=PRECISIONS, default='fp32',
                        help='of its weights; fp16 and int8 as .onnx or .xml')
    parser.add_argument('--calibration', type=Path, metavar='FOLDER',
                        help='images like those that an int8 file will see')
    parser.add_argument('--calibration-count', type=int, default=32, help='of them, at most')
    parser.add_argument('--images', type=Path, metavar='FOLDER', help="to compare with torch on "
                        "(default: the config's test set)")
    parser.add_argument('--labels', type=Path, metavar='FOLDER', help='of --images: PNG files of '
                        'the same names, one class a pixel, 255 for none')
    parser.add_argument('--count', type=int, default=50, help='images to compare on, at most')
    parser.add_argument('--tolerance', type=float, default=1e-4,
                        help='largest relative difference of numbers from the network here '
                        '(default: 1e-4)')
    parser.add_argument('--label-tolerance', type=float, default=1e-3,
                        help='largest share of pixels with another label (default: 1e-3)')
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions)
    args = parser.parse_args()
    by_suffix = {suffix: kind for kind, suffix in reversed(SUFFIXES.items())}
    kind = args.to or by_suffix.get(args.target.suffix.lower())
    if kind is None:
        parser.error(f'give --to; {args.target.name} has none of the suffixes {list(by_suffix)}')
    if args.precision != 'fp32' and kind not in ('onnx', 'openvino'):
        parser.error(f'--precision {args.precision} is written as .onnx or .xml, not as {kind}')
    unused = [name for name, given, takes in (
        ('calibration', args.calibration, ('int8', )), ('images', args.images, ('int8', 'fp16')),
        ('labels', args.labels, ('int8', 'fp16'))) if given and args.precision not in takes]
    if unused:
        parser.error(f"--{', --'.join(unused)}: not used with --precision {args.precision}")
    deployed = load_trained(args.config, args.checkpoint, args.cfg_options)
    if args.fixed and not args.size and deployed.windows is None and hasattr(
            deployed.net, 'decode_head'):
        raise ConfigError('--fixed: give --size HEIGHT WIDTH; the config tests whole images, and a '
                          'file of another size would be moved over them in windows')
    size, dynamic = size_of(deployed, args.size and tuple(args.size), False if args.fixed else None)
    if deployed.windows is not None:
        print('the config tests in windows: the file takes images of {}×{}, and python -m '
              'mmvitlin.deploy moves it over larger ones'.format(*size))
    if dynamic and kind not in ('checkpoint', 'safetensors'):
        print('tracing for any size, and comparing at five: one to three minutes', flush=True)
    if args.precision == 'fp32':
        print(export(deployed, args.target, kind, size, dynamic, args.tolerance,
                     args.label_tolerance))
        return
    data = check_samples(args, deployed)
    calibration = [] if args.calibration is None else [
        as_tested(path, deployed) for path in chosen(args.calibration, args.calibration_count)]
    report = export_reduced(deployed, args.target, args.precision, samples(args, deployed),
                            calibration, size, dynamic, args.tolerance,
                            args.label_tolerance, data)
    print(report)
    if warning := report.warning():
        print(f'warning: {warning}', file=sys.stderr)


if __name__ == '__main__':
    main()
