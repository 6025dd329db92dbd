"""Distil a ViT of timm into a linear-time student, on a folder of images, with no config.

    python examples/distill_timm_vit.py FOLDER
    python examples/distill_timm_vit.py FOLDER --teacher vit_small_patch14_dinov2 --student linear
    python examples/distill_timm_vit.py FOLDER --teacher vit_base_patch16_224 --checkpoint vit.pth

Writes the student, the config that was run and its log into work_dirs/distill, and a picture of the
student's features of one image: the first three principal components as red, green and blue.
"""
import argparse
from pathlib import Path

import torch
from PIL import Image

import mmvitlin
from mmvitlin.utils.paths import IMAGE_ENDINGS

parser = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument('images', help='folder, with its subfolders')
parser.add_argument('--teacher', default='vit_base_patch16_clip_quickgelu_224.openai',
                    help="timm's name of a ViT with published weights, or mmvitlin::NAME of "
                    '`mmvitlin fetch_teacher`')
parser.add_argument('--checkpoint',
                    help="the teacher's weights in a file; without it timm fetches them")
parser.add_argument('--student', default='adventurer-small',
                    help='adventurer-tiny, -small, -base, -large; or linear, focal, mamba2: the '
                    'teacher itself with another attention')
parser.add_argument('--size', type=int, default=224, help='of the crops, in whole patches')
parser.add_argument('--iterations', type=int, default=10_000)
parser.add_argument('--batch-size', type=int, default=32)
parser.add_argument('--workers', type=int, default=4, help='processes that load images')
parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/distill'))
args = parser.parse_args()

teacher = args.teacher
if args.checkpoint:
    teacher = dict(backbone=dict(type='mmvitlin.TimmViT', model_name=args.teacher),
                   checkpoint=args.checkpoint)
done = mmvitlin.distill(args.student, teacher, args.images, size=args.size,
                        iterations=args.iterations, batch_size=args.batch_size,
                        workers=args.workers, work_dir=args.work_dir)
print(f'student: {done.checkpoint}')
print('losses at the end:', {name: round(value, 4) for name, value in done.losses.items()})

# the student on one image, larger than it was trained on: any size works
picture = next(p for p in sorted(Path(args.images).rglob('*'))
               if p.suffix.lower() in IMAGE_ENDINGS)
image = Image.open(picture).convert('RGB').resize((2 * args.size, 2 * args.size))
features = done.features(image)
tokens = features[0].flatten(1).T
tokens = tokens - tokens.mean(0)
components = tokens @ torch.pca_lowrank(tokens, 3)[2]
components = (components - components.amin(0)) / (components.amax(0) - components.amin(0))
shown = components.reshape(*features.shape[2:], 3).mul(255).byte().numpy()
out = args.work_dir / 'components.png'
Image.fromarray(shown).resize(image.size, Image.NEAREST).save(out)
print(f'{picture.name} as the student sees it: {out}')
