"""Memory and time of turning scores into labels: mmseg's segmentor and mmvitlin's.

    python tools/benchmarks/highres_cpu.py --out docs/results/highres_memory.json

Takes a quarter of an hour, with --rounds 1 five minutes.

A stand-in backbone gives maps at a quarter of the image's size, as UPerNet's do. What is measured
is the way from scores to labels: the head's coarse scores are computed before and held, and memory
(peak_mib) and time are of resizing and deciding them. total_mib is the peak of the whole call, the
network's own work in it. Each cell runs in a process of its own, mmseg and mmvitlin in turn. Last,
a whole 4096×8192 image through Adventurer-T and a linear head.
"""
import argparse
import json
import time
from datetime import datetime, timezone
from pathlib import Path

from mmvitlin.utils.environment import short_openmp_spin

short_openmp_spin()

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from mmvitlin.engine.hooks.result import command_line, versions
from mmvitlin.utils.disturbance import Watch
from mmvitlin.utils.machine import machine, peak_memory
from mmvitlin.utils.subprocess import in_fresh_process

CLASSES = 150
SHAPE = (2048, 4096)
KINDS = {'mmseg': 'EncoderDecoder', 'ours': 'mmvitlin.HighResSegmentor'}


class Quarter(torch.nn.Module):
    """Eight channels at a quarter of the size, from the image's own pixels."""

    def forward(self, x):
        small = torch.nn.functional.avg_pool2d(x, 4)
        return (torch.cat([small, small.roll(7, 2), small.flip(3)], 1)[:, :8], )


def build(kind: str, mode: str) -> torch.nn.Module:
    init_default_scope('mmseg')
    torch.manual_seed(0)
    net = MODELS.build(ConfigDict(
        type=kind, backbone=dict(type='mmvitlin.Adventurer',
                                 arch=dict(embed_dims=32, num_layers=1)),
        decode_head=dict(type='FCNHead', in_channels=8, channels=8, num_convs=0,
                         concat_input=False, num_classes=CLASSES, norm_cfg=None),
        test_cfg=dict(mode=mode, crop_size=(1024, 1024), stride=(768, 768)))).eval()
    net.backbone = Quarter()
    torch.nn.init.normal_(net.decode_head.conv_seg.weight)
    return net


def post(kind: str, mode: str, labels: str) -> dict:
    """Peak MiB and seconds from held scores to labels, which are kept to be compared."""
    net, sample = build(KINDS[kind], mode), SegDataSample(metainfo=dict(
        img_shape=SHAPE, ori_shape=SHAPE, pad_shape=SHAPE))
    images = torch.randn(1, 3, *SHAPE, generator=torch.Generator().manual_seed(1))
    images = torch.nn.functional.avg_pool2d(images, 31, 1, 15) * 30
    score, held = net.decode_head.forward, []

    def predict() -> torch.Tensor:
        return net.predict(images, [sample.clone()])[0].pred_sem_seg.data[0]

    def hold(features: tuple) -> torch.Tensor:
        held.append(score(features))
        return held[-1]

    seconds = 0.

    watch = Watch(torch.get_num_threads())

    def decide() -> None:
        nonlocal seconds
        start = time.perf_counter()
        with watch:
            predict()
        seconds = time.perf_counter() - start

    with torch.inference_mode():
        total = peak_memory(predict)
        net.decode_head.forward = hold
        np.save(labels, predict().numpy().astype(np.uint8))
        scores = iter(held)  # of each window, in the order in which both ask for them
        net.extract_feat, net.decode_head.forward = (lambda _: None), (lambda _: next(scores))
        peak = peak_memory(decide)
    return dict(peak_mib=round(peak, 1), total_mib=round(total, 1), seconds=round(seconds, 2),
                disturbed=watch.load.disturbed)


def large() -> dict:
    """A whole 4096×8192 image, 131,072 tokens."""
    init_default_scope('mmseg')
    net = MODELS.build(ConfigDict(
        type='mmvitlin.HighResSegmentor',
        backbone=dict(type='mmvitlin.Adventurer', arch='tiny', out_indices=-1),
        decode_head=dict(type='mmvitlin.LinearHead', in_channels=256, num_classes=CLASSES),
        test_cfg=dict(mode='whole'))).eval()
    seconds = time.perf_counter()
    with torch.inference_mode():
        images = torch.randn(1, 3, 4096, 8192)
        peak = peak_memory(lambda: net.predict(images))
    return dict(peak_mib=round(peak, 1), seconds=round(time.perf_counter() - seconds, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, default=Path('work_dirs/highres_memory.json'))
    parser.add_argument('--rounds', type=int, default=3)
    args = parser.parse_args()
    rows: dict[str, dict] = {}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    for mode in ('whole', 'slide'):
        cells: dict[str, list[dict]] = {kind: [] for kind in KINDS}
        files = {kind: str(args.out.with_suffix(f'.{mode}.{kind}.npy')) for kind in KINDS}
        for _ in range(args.rounds):
            for kind in KINDS:
                cells[kind].append(in_fresh_process(
                    post, kind, mode, files[kind], preload=['mmvitlin.models.segmentors']))
        maps = [np.load(f) for f in files.values()]
        row = {kind: {k: float(np.median([c[k] for c in cells[kind]])) for k in cells[kind][0]}
               for kind in KINDS}
        row['differing_pixels'] = float(np.mean(maps[0] != maps[1]))
        row['memory_ratio'] = round(row['mmseg']['peak_mib'] / row['ours']['peak_mib'], 2)
        quiet = [[c['seconds'] for c in cells[kind] if not c['disturbed']] for kind in KINDS]
        row['time_ratio'] = round(float(np.median(quiet[0]) / np.median(quiet[1])), 2) \
            if all(quiet) else None  # all were disturbed
        for file in files.values():
            Path(file).unlink()
        rows[f'{mode} {SHAPE[0]}x{SHAPE[1]}, {CLASSES} classes'] = row
        print(mode, row, flush=True)
    rows['Adventurer-T and a linear head, whole 4096x8192'] = in_fresh_process(large)
    print(rows['Adventurer-T and a linear head, whole 4096x8192'])
    args.out.write_text(json.dumps(dict(
        rows=rows, machine=machine(), versions=versions(), command=command_line(),
        date=datetime.now(timezone.utc).isoformat(timespec='seconds')), indent=2) + '\n')


if __name__ == '__main__':
    main()
