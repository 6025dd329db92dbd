r"""What is left of a pretrained ViT when its attention is replaced and nothing is trained?

    mmvitlin fetch_teacher
    python tools/benchmarks/replaced_attention.py --out docs/results/replaced_attention.json

The pretrained ViT-S/14 as it is, and with the same weights under each linear-time attention, at
three sizes of CamVid's images. Its features stay frozen; a linear classifier on them is fitted by
ridge regression to the share of each class in each patch, in closed form, so that no rate and no
length is chosen. Scores are of its maps, resized to the labels, on held-out frames. It goes on
where it was stopped: rows that --out has are not measured again.
"""
import argparse
import json
import statistics
import time
from datetime import datetime, timezone
from pathlib import Path

from mmvitlin.utils.environment import short_openmp_spin

short_openmp_spin()

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from mmvitlin.datasets.camvid import CamVidDataset
from mmvitlin.engine.hooks.result import command_line, versions
from mmvitlin.engine.runner.cli import friendly
from mmvitlin.models import TimmViT
from mmvitlin.utils.disturbance import Watch, in_words
from mmvitlin.utils.files import write_whole
from mmvitlin.utils.machine import machine

TEACHER = dict(model_name='vit_small_patch14_dinov2', checkpoint='mmvitlin::vit-small-14_saliency')
WAYS = {
    'softmax': {},
    'focal': dict(attention='focal'),
    'focal, blocks of 8': dict(attention='focal', focal_cfg=dict(block=8)),
    'window': dict(attention='window', window=14),
    'linear, hedgehog': dict(attention='linear', linear_cfg=dict(feature_map='hedgehog')),
    'linear, elu': dict(attention='linear'),
}
CLASSES = len(CamVidDataset.METAINFO['classes'])


def frames(data: Path, split: str, step: int) -> list[tuple[Path, Tensor]]:
    """Every so many frames: the image's file and its label map."""
    images = sorted((data / 'images' / split).glob('*.jpg'))[::step]
    labels = [data / 'labels' / split / f'{path.stem}.png' for path in images]
    return [(image, torch.tensor(np.asarray(Image.open(label)).astype(np.int64)))
            for image, label in zip(images, labels, strict=True)]


def features(net: TimmViT, images: list[Path], size: tuple[int, int]
             ) -> tuple[Tensor, float, dict]:
    """(N, h·w, C) of images resized to ``size``, the median seconds of one, and the load."""
    mean, std = (torch.tensor(v)[:, None, None] for v in (net.mean, net.std))
    kept, seconds = [], []
    with Watch(torch.get_num_threads()) as watch:
        for path in images:
            image = Image.open(path).convert('RGB').resize(size[::-1], Image.Resampling.BILINEAR)
            pixels = (torch.tensor(np.asarray(image, np.float32)).permute(2, 0, 1) - mean) / std
            start = time.perf_counter()
            with torch.no_grad():
                kept.append(net(pixels[None])[-1][0].flatten(1).T)
            seconds.append(time.perf_counter() - start)
    return torch.stack(kept), statistics.median(seconds), watch.load.as_dict()


def shares(labels: Tensor, grid: tuple[int, int]) -> Tensor:
    """Share of each class in each patch, (h·w, classes); what is void counts for none."""
    of_class = F.one_hot(labels.clamp(max=CLASSES), CLASSES + 1)[..., :CLASSES]
    return F.adaptive_avg_pool2d(of_class.permute(2, 0, 1).double(), grid).flatten(1).T


def fit(x: Tensor, y: Tensor, penalty: float = 1e-3) -> Tensor:
    """Weights (C, classes) of ridge regression; rare classes count by the root of their share."""
    y = y / y.sum(0).clamp(min=1).sqrt()
    eye = torch.eye(x.shape[1], dtype=x.dtype)
    return torch.linalg.solve(x.T @ x + penalty * len(x) * eye, x.T @ y)


def miou(predicted: list[Tensor], labels: list[Tensor]) -> float:
    """Mean over classes of intersection over union, in percent."""
    inside, union = torch.zeros(CLASSES), torch.zeros(CLASSES)
    for guess, label in zip(predicted, labels, strict=True):
        known = label < CLASSES
        for c in range(CLASSES):
            a, b = (guess == c) & known, label == c
            inside[c] += (a & b).sum()
            union[c] += (a | b).sum()
    return 100 * (inside / union.clamp(min=1)).mean().item()


def probe(options: dict, size: tuple[int, int], train: list, val: list) -> dict:
    """Score and time of one way at one size."""
    net = TimmViT(**TEACHER, img_size=size, **options).eval()
    grid = tuple(side // net.patch_size for side in size)
    x, *_ = features(net, [path for path, _ in train], size)
    held_out, seconds, load = features(net, [path for path, _ in val], size)
    x, held_out = x.double(), held_out.double()
    mean, std = x.mean((0, 1)), x.std((0, 1))

    def standard(tokens: Tensor) -> Tensor:
        return F.pad((tokens - mean) / std, (0, 1), value=1.)

    weights = fit(standard(x).flatten(0, 1), torch.cat([shares(y, grid) for _, y in train]))
    maps = (standard(held_out) @ weights).transpose(1, 2).unflatten(2, grid)
    predicted = [F.interpolate(m[None], y.shape, mode='bilinear')[0].argmax(0)
                 for m, (_, y) in zip(maps, val, strict=True)]
    return dict(miou=round(miou(predicted, [y for _, y in val]), 2), tokens=grid[0] * grid[1],
                seconds=round(seconds, 4), load=load)


@friendly
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, default=Path('data/camvid'))
    parser.add_argument('--sizes', nargs='+', default=['168x224', '336x448', '672x896'])
    parser.add_argument('--ways', nargs='+', choices=list(WAYS), default=list(WAYS))
    parser.add_argument('--step', type=int, default=4, help='takes one frame in so many')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/replaced_attention.json'))
    args = parser.parse_args()
    train, val = (frames(args.data, split, args.step) for split in ('train', 'val'))
    before = json.loads(args.out.read_text()) if args.out.is_file() else dict(rows={}, commands={})
    rows, part = before['rows'], f"{' '.join(args.sizes)}: {', '.join(args.ways)}"
    commands = {**before['commands'], part: command_line()}
    for text in args.sizes:
        for name in args.ways:
            if f'{name}|{text}' in rows:
                continue  # measured by a call before
            height, width = map(int, text.split('x'))
            rows[f'{name}|{text}'] = row = probe(WAYS[name], (height, width), train, val)
            print(f"{text} {name}: mIoU {row['miou']:.2f}, {row['seconds']:.3f} s"
                  + (f" ({in_words(row['load'])})" if row['load']['disturbed'] else ''), flush=True)
            write_whole((json.dumps(dict(
                rows=rows, frames=dict(train=len(train), val=len(val)), commands=commands,
                machine=machine(), versions=versions(),
                date=datetime.now(timezone.utc).isoformat(timespec='seconds')), indent=2)
                + '\n').encode(), args.out)


if __name__ == '__main__':
    main()
