"""Run a trained segmentor or detector on images, folders and videos, at any size.

    python tools/infer.py CONFIG CHECKPOINT photos/ video.mp4 --out-dir out

A segmentor writes out/labels/*.png (class numbers) and out/overlay/*.png, a detector
out/overlay/*.png and out/detections/*.json, with --save segments panoptic PNGs and their segments
as JSON. Of several pages or animated images only the first is read. Images are turned as their EXIF
orientation says, and what is written fits them as viewers show them. Files that cannot be read, and
truncated videos, are reported at the end and do not stop the others; the exit status is then 1.
"""
import argparse
import errno
import sys

from mmvitlin.utils.environment import short_openmp_spin

short_openmp_spin()

from rich.progress import track

from mmvitlin.apis import DetInferencer, inferencer_for
from mmvitlin.apis.inferencer import PRECISIONS
from mmvitlin.apis.sources import count_inputs
from mmvitlin.engine.runner.cli import Parser, friendly
from mmvitlin.engine.runner.options import ConfigOptions
from mmvitlin.utils.errors import ConfigError
from mmvitlin.utils.outputs import claim


def size(text: str) -> str | float | tuple[int, int]:
    """'original', a factor, or WIDTHxHEIGHT."""
    if text == 'original':
        return text
    if 'x' in text:
        return tuple(int(n) for n in text.split('x'))
    return float(text)


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument('inputs', nargs='+', help='images, folders, videos')
    parser.add_argument('--out-dir', default='work_dirs/infer')
    parser.add_argument('--save', nargs='+', metavar='KIND',
                        help='of a segmentor labels, overlay, probabilities; of a detector '
                        'overlay, detections, segments; the first two if not given')
    parser.add_argument('--score', type=float, default=0.3,
                        help='detections below it are left out')
    parser.add_argument('--device')
    parser.add_argument('--precision', default='fp32', choices=PRECISIONS)
    parser.add_argument('--scale', type=size, help="'original', a factor such as 0.5, or "
                        'WIDTHxHEIGHT; as the config says if not given')
    parser.add_argument('--batch-size', type=int, default=1)
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions, default={},
                        metavar='KEY=VALUE')
    return parser.parse_args()


@friendly
def main() -> None:
    args = parse_args()
    kind = inferencer_for(args.config, args.cfg_options)
    if unknown := sorted(set(args.save or ()) - set(kind.result.KINDS)):
        raise ConfigError(f'--save: {unknown} is not an output of this network; choose from '
                          f'{list(kind.result.KINDS)}')
    more = dict(score=args.score) if kind is DetInferencer else dict(
        probabilities='probabilities' in (args.save or ()))
    infer = kind(args.config, args.checkpoint, args.device, args.precision, args.scale,
                 cfg_options=args.cfg_options, **more)
    claim(args.out_dir, args.save or list(kind.result.KINDS)[:2], args.inputs)
    total = count_inputs(args.inputs)
    failed, done, turned = [], 0, 0
    for result in track(infer.stream(args.inputs, args.batch_size), 'looking', total):
        if result.error is None:
            try:
                result.save(args.out_dir, args.save)
                done += 1
                turned += bool(result.turned)
                continue
            except (ValueError, OSError) as error:
                if isinstance(error, OSError) and error.errno not in (None, errno.ENAMETOOLONG):
                    raise  # a full disk fails for all
                result.error = error
        failed.append(result)
    print(f'{done} of {done + len(failed)} images done, written to {args.out_dir}')
    if turned:
        print(f'{turned} images were turned as their EXIF orientation says; what is written fits '
              'them as viewers show them')
    for result in failed:
        print(f'error: {result.name}: {result.error}', file=sys.stderr)
    sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main()
