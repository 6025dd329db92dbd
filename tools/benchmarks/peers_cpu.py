r"""What a user would run instead: whole networks from image to labels, on one CPU in one run.

    python tools/benchmarks/peers_cpu.py --out docs/results/peers_cpu.json

Softmax ViTs, this toolkit's students of the same sizes under one head, and the networks that
Cityscapes is usually done with, each in torch, onnxruntime and OpenVINO, in float32 and, where the
processor has instructions for it, in bfloat16. Weights are random: time does not depend on them,
and no accuracy is measured. PUBLISHED holds that of others, each with its source. On an otherwise
idle machine; what others disturbed is repeated, then marked. It goes on where it was stopped.
"""
import argparse
import json
from pathlib import Path

from mmvitlin.utils.environment import short_openmp_spin

short_openmp_spin()

from mmvitlin.benchmark.grid import Grid
from mmvitlin.benchmark.measuring import measure
from mmvitlin.benchmark.subjects import Subject
from mmvitlin.engine.runner.cli import friendly
from mmvitlin.utils.device import has_bfloat16
from mmvitlin.utils.files import write_whole

OURS = 'configs/seg/{}.py'
ADVENTURERS = dict(tiny='upernet_adventurer-tiny_cityscapes-1024',
                   small='upernet_adventurer-small_cityscapes-1024', base='cityscapes_1024')
VITS = dict(tiny=192, small=384, base=768)
WHOLE = {'model.test_cfg': dict(_delete_=True, mode='whole')}


def vit(size: str, attention: str) -> Subject:
    """A ViT with the neck and head that the Adventurer of its name has."""
    name = f'ViT-{size[0].upper()}'
    return Subject(name if attention == 'softmax' else f'{attention} {name}', 'config',
                   OURS.format(ADVENTURERS[size]), options={
                       **WHOLE, 'model.neck.in_channels': VITS[size],
                       'model.backbone': dict(
                           _delete_=True, type='mmvitlin.TimmViT', img_size=(1024, 1024),
                           model_name=f'vit_{size}_patch16_224', attention=attention,
                           out_indices=(2, 5, 8, 11))})


def pyramid(name: str, model: str, widths: list[int]) -> Subject:
    """A hierarchical network of timm under SegFormer's head."""
    return Subject(name, 'config',
                   'mmseg::segformer/segformer_mit-b0_8xb1-160k_cityscapes-1024x1024.py', options={
                       **WHOLE, 'model.decode_head.in_channels': widths,
                       'model.backbone': dict(
                           _delete_=True, type='mmpretrain.TIMMBackbone', model_name=model,
                           features_only=True, out_indices=(0, 1, 2, 3), pretrained=False)})


def of_mmseg(name: str, config: str) -> Subject:
    """A network of MMSegmentation as its config has it, tested on whole images."""
    return Subject(name, 'config', f'mmseg::{config}.py', options=WHOLE)


SUBJECTS = [
    *(vit(size, attention) for size in ('small', 'base')
      for attention in ('softmax', 'focal', 'linear')),
    *(Subject(f'Adventurer-{size[0].upper()}', 'config', OURS.format(config), options=WHOLE)
      for size, config in ADVENTURERS.items()),
    of_mmseg('SegFormer-B0', 'segformer/segformer_mit-b0_8xb1-160k_cityscapes-1024x1024'),
    of_mmseg('SegFormer-B2', 'segformer/segformer_mit-b2_8xb1-160k_cityscapes-1024x1024'),
    of_mmseg('PIDNet-S', 'pidnet/pidnet-s_2xb6-120k_1024x1024-cityscapes'),
    of_mmseg('DDRNet-23-slim', 'ddrnet/ddrnet_23-slim_in1k-pre_2xb6-120k_cityscapes-1024x1024'),
    of_mmseg('Mask2Former-R50', 'mask2former/mask2former_r50_8xb2-90k_cityscapes-512x1024'),
    pyramid('EfficientViT-B1', 'efficientvit_b1', [32, 64, 128, 256]),
    pyramid('EfficientViT-B2', 'efficientvit_b2', [48, 96, 192, 384]),
    pyramid('ConvNeXt-T', 'convnext_tiny', [96, 192, 384, 768]),
]
ZOO = 'MMSegmentation 1.2.2, metafile of the config'
PUBLISHED = {  # mIoU on the validation images of Cityscapes, one scale, and who says so
    'ViT-B': (81.8, 'ViT-Linearizer, arXiv 2504.00037: its teacher, under a head of its own'),
    'Adventurer-B': (82.0, 'ViT-Linearizer, arXiv 2504.00037: its student, under a head of its '
                     'own'),
    'SegFormer-B0': (76.54, ZOO), 'SegFormer-B2': (81.08, ZOO), 'PIDNet-S': (78.74, ZOO),
    'DDRNet-23-slim': (77.84, ZOO), 'Mask2Former-R50': (80.44, ZOO),
    'EfficientViT-B1': (80.5, 'EfficientViT, arXiv 2205.14756, under a head of its own'),
    'EfficientViT-B2': (82.1, 'EfficientViT, arXiv 2205.14756, under a head of its own'),
}


def in_runtime(subject: Subject, runtime: str) -> Subject:
    """The same network, exported on the way."""
    return Subject(**dict(subject.as_dict(), name=f'{subject.name}@{runtime}', runtime=runtime))


@friendly
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [s.name for s in SUBJECTS]
    parser.add_argument('--nets', nargs='+', choices=names, default=names, metavar='NET')
    parser.add_argument('--runtimes', nargs='+', choices=['torch', 'onnxruntime', 'openvino'],
                        default=['openvino', 'onnxruntime', 'torch'])
    parser.add_argument('--shapes', nargs='+', default=['512x1024', '1024x2048'])
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--mend', action='store_true', help='measure again what is marked as '
                        'disturbed')
    parser.add_argument('--files', type=Path, default=Path('work_dirs/peers_cpu'),
                        help='folder for the exported files, 5 GB')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/peers_cpu.json'))
    args = parser.parse_args()
    nets = [s for s in SUBJECTS if s.name in args.nets]
    shapes = [tuple(map(int, text.split('x'))) for text in args.shapes]
    precisions = ['fp32', 'bf16'] if has_bfloat16() else ['fp32']
    for runtime in args.runtimes:
        subjects = nets if runtime == 'torch' else [in_runtime(s, runtime) for s in nets]
        grid = Grid(subjects, shapes, precisions=precisions, part='labels', rounds=args.rounds,
                    mend=args.mend, files=args.files)
        results = measure(grid, args.out, lambda text: print(text, flush=True))
    results['published'] = {name: dict(miou=miou, source=source)
                            for name, (miou, source) in PUBLISHED.items()}
    write_whole((json.dumps(results, indent=1) + '\n').encode(), args.out)


if __name__ == '__main__':
    main()
