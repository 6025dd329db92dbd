"""Reducing teacher cost: a distillation step with the teacher computed in other ways, or cached.

    python tools/benchmarks/cheaper_teacher.py --out docs/results/cheaper_teacher.json

ViT-L/16 teaches Adventurer-S at 224×224 by ViT-Linearizer's two objectives, in float32 as the
config says. All variants take their steps in turn in one process; memory is the peak of a step
above what was there before it, in a process of its own, with the weights of the teacher beside it.
Cached features were written just before and come from the page cache.
"""
import argparse
import json
import tempfile
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

from mmvitlin.utils.environment import short_openmp_spin

short_openmp_spin()

import torch
from rich.console import Console
from rich.table import Table

from mmvitlin.benchmark.latency import time_watched
from mmvitlin.engine.hooks.result import command_line, versions
from mmvitlin.models import ViTLinearizer
from mmvitlin.utils.device import has_bfloat16, usable_device
from mmvitlin.utils.disturbance import in_words
from mmvitlin.utils.machine import machine, peak_memory
from mmvitlin.utils.subprocess import in_fresh_process

VARIANTS = {'as it is': {}, 'bfloat16': dict(precision='bf16'), 'compiled': dict(compiled=True),
            'read back': dict(cache='cache'), 'read back from float16': dict(
                cache=dict(root='cache16', dtype='float16'))}
WITHOUT = 'student alone'  # the lower bound


def build(teacher: str, student: str, **options) -> ViTLinearizer:
    torch.manual_seed(0)
    return ViTLinearizer(
        backbone=dict(type='mmvitlin.Adventurer', arch=student),
        teacher=dict(backbone=dict(type='mmvitlin.TimmViT', model_name=teacher), **options),
        objectives=dict(activation=dict(type='mmvitlin.ActivationMatchingLoss'),
                        mask=dict(type='mmvitlin.MaskedPredictionLoss')))


def step(model: ViTLinearizer, images: torch.Tensor) -> None:
    sum(model(images, mode='loss', step_seed=0).values()).backward()
    model.zero_grad(set_to_none=True)


def without_teacher(model: ViTLinearizer, images: torch.Tensor):
    """The same step with the teacher's tokens given."""
    grid = model.student_grid(images)
    layers = sorted({i for indices in model.teacher_layers().values() for i in indices})
    kept = model.teacher_tokens(images, layers, grid)
    model.teacher_tokens = lambda *_: kept
    return partial(step, model, images)


def memory(name: str, args: dict, folder: str) -> dict:
    """Peak MiB of a step, and MiB of the teacher's weights."""
    model, images = made(name, args, folder)
    run = without_teacher(model, images) if name == WITHOUT else partial(step, model, images)
    run()
    size = sum(p.numel() * p.element_size() for p in model.teacher.network.parameters()) / 2**20
    return dict(peak_mib=round(peak_memory(run, args['device']), 1), teacher_mib=round(size, 1))


def made(name: str, args: dict, folder: str) -> tuple[ViTLinearizer, torch.Tensor]:
    options = dict(VARIANTS.get(name, {}))
    if isinstance(options.get('cache'), str):
        options['cache'] = f"{folder}/{options['cache']}"
    elif 'cache' in options:
        options['cache'] = dict(options['cache'], root=f"{folder}/{options['cache']['root']}")
    images = torch.randn(args['batch'], 3, 224, 224, generator=torch.Generator().manual_seed(1))
    device = args['device']
    return build(args['teacher'], args['student'], **options).to(device), images.to(device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--teacher', default='vit_large_patch16_224')
    parser.add_argument('--student', default='small')
    parser.add_argument('--batch', type=int, default=8)
    parser.add_argument('--out', type=Path, default=Path('work_dirs/cheaper_teacher.json'))
    parser.add_argument('--device')
    args = parser.parse_args()
    device = str(usable_device(args.device))
    settings = dict(teacher=args.teacher, student=args.student, batch=args.batch, device=device)
    with tempfile.TemporaryDirectory() as folder:
        names = [*VARIANTS, WITHOUT]
        rows = {n: in_fresh_process(memory, n, settings, folder, seconds=1200,
                                    preload=['mmvitlin.models']) for n in names}
        calls = {}
        for name in names:
            model, images = made(name, settings, folder)
            calls[name] = (without_teacher(model, images) if name == WITHOUT
                           else partial(step, model, images))
        times = time_watched(calls, device, warmup=2, rounds=10, seconds=120.)
        stored = {n: sum(p.stat().st_size for p in Path(folder, n).rglob('*.safetensors'))
                  for n in ('cache', 'cache16')}
    for name, row in rows.items():
        row['ms'] = times[name]
    imitated = '' if torch.device(device).type == 'cuda' or has_bfloat16() else (
        ' This processor has no bfloat16 instructions: that row is an imitation.')
    results = dict(settings, rows=rows, kib_an_image={k: round(v / 1024 / args.batch, 1)
                                                      for k, v in stored.items()},
                   machine=machine(), versions=versions(),
                   command=command_line(), note='Features that are read back come from the page '
                   'cache, as they were just written; from a disk they take longer.' + imitated,
                   date=datetime.now(timezone.utc).isoformat(timespec='seconds'))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(results, indent=1) + '\n')
    table = Table('teacher', 'ms a step', 'peak MiB', "MiB of the teacher's weights")
    for name, row in rows.items():
        table.add_row(name, f"{row['ms']['median']:.0f}", f"{row['peak_mib']:.0f}",
                      f"{row['teacher_mib']:.0f}")
    Console().print(table)
    if (load := rows[WITHOUT]['ms']['load'])['disturbed']:
        print(f'{in_words(load)}: these times are not to be compared')


if __name__ == '__main__':
    main()
