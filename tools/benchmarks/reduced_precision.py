r"""What int8 files gain and lose on CamVid: mIoU beside the time from image to labels.

    python tools/run_recipe.py configs/recipes/pretrained_camvid.py --seeds 0 --amp --jobs 2 \
        --stages softmax_tuned focal_inherited_tuned linear_inherited_tuned \
        adventurer_l2_500 adventurer_l2_500_tuned
    python tools/benchmarks/reduced_precision.py --out docs/results/reduced_precision.json

The fine-tuned networks of the recipe are exported for two sizes, in float32 and int8, which is
calibrated on training frames. Scores are of the smaller size, at which they were trained, on
held-out frames, in torch and in the file; times of both sizes are taken in turn, in onnxruntime and
OpenVINO. Times need an otherwise idle machine; with --no-times the files and scores can be made
before. What is interrupted goes on with the next network.
"""
import argparse
import json
from pathlib import Path

from mmvitlin.utils.environment import short_openmp_spin

short_openmp_spin()

from mmvitlin.apis.export import export, load_trained
from mmvitlin.apis.quantize import export_reduced
from mmvitlin.benchmark.grid import Grid
from mmvitlin.benchmark.measuring import measure
from mmvitlin.benchmark.subjects import Subject
from mmvitlin.datasets.subset import evenly
from mmvitlin.deploy.model import read
from mmvitlin.engine.checkpoints import last_checkpoint
from mmvitlin.engine.runner.cli import friendly
from mmvitlin.evaluation.resolution import labelled_images
from mmvitlin.utils.files import write_whole

HEDGEHOG = {'model.backbone.linear_cfg.feature_map': 'hedgehog'}
NETS = dict(  # name → (stage of the recipe, config, options)
    softmax=('softmax_tuned', 'configs/seg/conv1x1_vit-small_camvid.py', {}),
    focal=('focal_inherited_tuned', 'configs/seg/conv1x1_focal-vit-small_camvid.py', {}),
    linear=('linear_inherited_tuned', 'configs/seg/conv1x1_linear-vit-small_camvid.py', HEDGEHOG),
    adventurer=('adventurer_l2_500_tuned', 'configs/seg/conv1x1_adventurer-tiny_camvid.py', {}))
SIZES = ((168, 224), (672, 896))


def written(args: argparse.Namespace, name: str) -> dict:
    """Write a network's files where they are not yet; its scores in torch and as int8."""
    stage, config, options = NETS[name]
    deployed = load_trained(config, str(last_checkpoint(args.work_dir / 'seed0' / stage)),
                            dict(options, data_root=args.data))
    frames = sorted((Path(args.data) / 'images' / 'train').glob('*'))
    calibration = [read(frames[n]) for n in evenly(len(frames), args.calibration)]
    scores = {}
    for size in SIZES:
        plain, reduced = (file_of(args, name, precision, size) for precision in ('fp32', 'int8'))
        if not plain.is_file():
            export(deployed, plain, 'onnx', size, dynamic=False)
        # only the size of the training has a score: at the other one frame makes the file
        held_out = labelled_images(deployed.config, None if size == SIZES[0] else 1)
        report = export_reduced(deployed, reduced, 'int8',
                                ((read(path), labels) for path, labels in held_out), calibration,
                                size, dynamic=False)
        if size == SIZES[0]:
            scores = dict(images=report.images, equal_labels=report.equal,
                          miou=dict(zip(('torch', 'int8'), report.miou, strict=True)))
    print(f"{name}: mIoU {scores['miou']['torch']:.2f}, int8 {scores['miou']['int8']:.2f}",
          flush=True)
    return scores


def file_of(args: argparse.Namespace, name: str, precision: str, size: tuple[int, int]) -> Path:
    """The file of a network in a precision for one image size."""
    return args.files / '{}_{}_{}x{}.onnx'.format(name, precision, *size)


@friendly
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/pretrained_camvid'))
    parser.add_argument('--data', default='data/camvid')
    parser.add_argument('--nets', nargs='+', choices=list(NETS), default=list(NETS))
    parser.add_argument('--calibration', type=int, default=32, help='frames')
    parser.add_argument('--rounds', type=int, default=15)
    parser.add_argument('--files', type=Path, default=Path('work_dirs/reduced_precision'),
                        help='folder for the exported files')
    parser.add_argument('--no-times', action='store_true',
                        help='only write the files and take their scores')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/reduced_precision.json'))
    args = parser.parse_args()
    kept = args.files / 'scores.json'  # beside the files that they are of
    scores = json.loads(kept.read_text()) if kept.is_file() else {}
    for name in args.nets:
        if name not in scores:
            scores[name] = written(args, name)
            write_whole((json.dumps(scores, indent=1) + '\n').encode(), kept)
    if args.no_times:
        return
    for size in SIZES:
        files = [file_of(args, net, precision, size) for net in args.nets
                 for precision in ('fp32', 'int8')]
        subjects = [Subject(f'{path.stem}@{runtime}', 'exported', runtime=runtime, file=str(path))
                    for path in files for runtime in ('onnxruntime', 'openvino')]
        results = measure(Grid(subjects, [size], part='labels', rounds=args.rounds), args.out,
                          lambda text: print(text, flush=True))
        results['scores'] = {name: scores[name] for name in args.nets}
        write_whole((json.dumps(results, indent=1) + '\n').encode(), args.out)


if __name__ == '__main__':
    main()
