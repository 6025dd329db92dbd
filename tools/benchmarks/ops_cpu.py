"""Speed of the scan, the block and the losses on a CPU, compared with the machine's limits.

    python tools/benchmarks/ops_cpu.py --out docs/results/ops_cpu.json      about 65 minutes

Networks run in one process in turn, each in its best mode (eager or compiled, whichever was
faster); the ViT attends through fused scaled_dot_product_attention. Memory is measured in fresh
processes. Every row is written as soon as it is done; --resume continues after an interruption.
"""
import argparse
import gc
import json
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

from mmvitlin.utils.environment import short_openmp_spin

short_openmp_spin()

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table

from mmvitlin.benchmark.latency import time_watched
from mmvitlin.engine.hooks.result import versions
from mmvitlin.models import Adventurer, TimmViT
from mmvitlin.ops import cosine_map_distance, gram_distance
from mmvitlin.utils.machine import machine, peak_memory, undisturbed
from mmvitlin.utils.subprocess import in_fresh_process

VIT = 'vit_base_patch16_224'
DISTANCES = {'activation': cosine_map_distance, 'gram': gram_distance}


def backbone(name: str, shape: tuple[int, int], small: bool) -> torch.nn.Module:
    """Adventurer-B, ViT-B or linear ViT-B, or two blocks of it for a trial run."""
    if name == 'adventurer':
        return Adventurer(dict(embed_dims=768, num_layers=2) if small else 'base', img_size=shape)
    return TimmViT(VIT, attention='linear' if name == 'linear_vit' else 'softmax', img_size=shape,
                   model_kwargs=dict(depth=2) if small else {})


def infer(net: torch.nn.Module, images: torch.Tensor, dtype: torch.dtype) -> None:
    with torch.inference_mode(), torch.autocast('cpu', dtype, enabled=dtype != torch.float32):
        net(images)


def train_step(net: torch.nn.Module, images: torch.Tensor) -> None:
    net(images)[0].square().mean().backward()
    net.zero_grad(set_to_none=True)


class Bench:
    """Runs rows, prints them, and stores what is done."""

    def __init__(self, out: Path, small: bool, go_on: bool):
        self.out, self.small = out, small
        self.results = json.loads(out.read_text()) if go_on and out.is_file() else {'rows': {}}
        self.modes: dict[str, str] = self.results.get('modes', {})

    def side(self, full: tuple[int, int]) -> tuple[int, int]:
        return tuple(n // 8 for n in full) if self.small else full

    def keep(self, name: str, row: dict) -> None:
        """Store a row."""
        self.results.update(machine=machine(), versions=versions(), modes=self.modes,
                            date=datetime.now(timezone.utc).isoformat(timespec='seconds'),
                            command=f'python tools/benchmarks/ops_cpu.py --out {self.out}')
        self.results['rows'][name] = row
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self.out.write_text(json.dumps(self.results, indent=2) + '\n')
        print(f'{name}: {json.dumps(row)}', flush=True)

    def versus(self, full: tuple[int, int], step: str, dtype=torch.float32, rounds: int = 5,
               against: tuple[str, ...] = ('adventurer', )) -> dict:
        """Times of ViT-B and of others, each in its best mode; the ratio to the first of them."""
        shape = self.side(full)
        images = torch.randn(1, 3, *shape)
        nets = {n: backbone(n, shape, self.small) for n in ('vit', *against)}
        act = train_step if step == 'train' else partial(infer, dtype=dtype)
        for net in nets.values():
            net.train(step == 'train')
        key = f"{step}_{str(dtype).removeprefix('torch.')}"
        for name, net in nets.items():
            if f'{name}_{key}' not in self.modes:
                fast = {'eager': net, 'compiled': torch.compile(net, dynamic=False)}
                times = time_watched({m: partial(act, n, images) for m, n in fast.items()},
                                         warmup=1, rounds=3, seconds=1)
                self.modes[f'{name}_{key}'] = min(times, key=lambda m, t=times: t[m]['median'])
                self.keep(f'mode of {name}, {key}, {shape[0]}x{shape[1]}', times)
                torch._dynamo.reset()
                gc.collect()
            if self.modes[f'{name}_{key}'] == 'compiled':
                nets[name] = torch.compile(net, dynamic=False)
        times = time_watched({n: partial(act, net, images) for n, net in nets.items()},
                                 warmup=1, rounds=rounds, seconds=1200)
        torch._dynamo.reset()
        return dict(ratio=round(times['vit']['median'] / times[against[0]]['median'], 3), ms=times,
                    shape=list(shape))

    def memory(self, kind: str, name: str, size: str) -> float:
        """Peak MiB of a probe in a fresh process."""
        return in_fresh_process(probe, kind, name, size, self.small, self.modes,
                                preload=['mmvitlin.models'])


def probe(kind: str, name: str, size: str, small: bool, modes: dict[str, str]) -> float:
    """What a fresh process measures."""
    shape = tuple(int(n) // (8 if small else 1) for n in size.split('x'))
    if kind in DISTANCES:
        s, t = (torch.randn(1, shape[0], shape[1], requires_grad=g) for g in (True, False))
        return peak_memory(lambda: DISTANCES[kind](s, t, form=name).mean().backward())
    net = backbone(name, shape, small)
    images = torch.randn(1, 3, *shape)
    if kind == 'train':
        if modes[f'{name}_train_float32'] == 'compiled':
            net = torch.compile(net.train(), dynamic=False)
        train_step(net.train(), images[..., :64, :64] if not hasattr(net, '_orig_mod') else images)
        return peak_memory(partial(train_step, net, images))
    infer(net.eval(), images[..., :64, :64], torch.float32)
    return peak_memory(partial(infer, net, images, torch.float32))


def block_share(bench: Bench, tokens: int) -> dict:
    """Time of a block's five projections over the time of the whole block."""
    block = backbone('adventurer', (64, 64), True).eval().layers[0]
    tokens = tokens // 8 if bench.small else tokens
    matrices = [block.mixer.in_proj, block.mixer.out_proj, block.mlp.w1, block.mlp.w2,
                block.mlp.w3]
    inputs = {m.in_features: torch.randn(tokens, m.in_features) for m in matrices}

    def products(tile: int) -> None:
        for m in matrices:
            for a in range(0, tokens, tile):
                F.linear(inputs[m.in_features][a:a + tile], m.weight, m.bias)

    from mmvitlin.ops import streamed_block_
    x = torch.randn(1, tokens + 1, 768)
    weights = block.weights(torch.float32)
    calls: dict[str, Callable] = {'block': partial(streamed_block_, x, weights, False),
                                  'products': partial(products, tokens),
                                  'products in tiles': partial(products, 1024)}
    with torch.inference_mode():
        times = time_watched(calls, warmup=2, rounds=15, seconds=60)
    quickest = min(times['products']['median'], times['products in tiles']['median'])
    return dict(ratio=round(quickest / times['block']['median'], 3), ms=times)


def growth(bench: Bench, name: str) -> dict:
    """Time and peak memory of 16,384 tokens over those of 4,096."""
    sizes = [bench.side((1024, 1024)), bench.side((2048, 2048))]
    net = backbone(name, sizes[0], bench.small).eval()
    times = time_watched({f'{h}x{w}': partial(infer, net, torch.randn(1, 3, h, w),
                                                  torch.float32) for h, w in sizes},
                             warmup=1, rounds=5, seconds=600)
    peaks = {size: bench.memory('infer', name, size) for size in ('1024x1024', '2048x2048')}
    small, large = (times[f'{h}x{w}']['median'] for h, w in sizes)
    return dict(ratio=round(large / small, 3), ms=times, peak_mib=peaks,
                memory_ratio=round(peaks['2048x2048'] / peaks['1024x1024'], 3))


def token_maps(bench: Bench, kind: str) -> dict:
    """Pairwise over linear form of a distance of token maps, forward and backward."""
    tokens = 8192 // (8 if bench.small else 1)
    s, t = (torch.randn(1, tokens, 768, requires_grad=g) for g in (True, False))
    times = time_watched(
        {form: partial(lambda f: DISTANCES[kind](s, t, form=f).mean().backward(), form)
         for form in ('pairwise', 'linear')}, warmup=1, rounds=9, seconds=60)
    peaks = {form: bench.memory(kind, form, '8192x768') for form in times}
    return dict(ratio=round(times['pairwise']['median'] / times['linear']['median'], 3), ms=times,
                peak_mib=peaks, memory_ratio=round(peaks['pairwise'] / peaks['linear'], 2))


def linear_vit(bench: Bench, of: str) -> dict:
    """The linear ViT's ratio of the run in which all three were timed in turn."""
    row = bench.results['rows'][of]
    times = {name: row['ms'][name] for name in ('vit', 'linear_vit')}
    return dict(row, ratio=round(times['vit']['median'] / times['linear_vit']['median'], 3),
                ms=times)


def training(bench: Bench) -> dict:
    row = bench.versus((1024, 1024), 'train')
    peaks = {name: bench.memory('train', name, '1024x1024') for name in ('vit', 'adventurer')}
    return dict(row, peak_mib=peaks, memory_ratio=round(peaks['adventurer'] / peaks['vit'], 3))


ROWS: dict[str, tuple[str, Callable[[Bench], dict]]] = {
    'fp32 1024x2048': ('>= 2.4', lambda b: b.versus((1024, 2048), 'infer',
                                                    against=('adventurer', 'linear_vit'))),
    'bf16 1024x2048': ('>= 1.8', lambda b: b.versus((1024, 2048), 'infer', torch.bfloat16)),
    'linear ViT fp32 1024x2048': ('>= 2.8', partial(linear_vit, of='fp32 1024x2048')),
    'fp32 2048x4096': ('>= 6.5', lambda b: b.versus((2048, 4096), 'infer', rounds=2,
                                                    against=('adventurer', 'linear_vit'))),
    'linear ViT fp32 2048x4096': ('>= 8', partial(linear_vit, of='fp32 2048x4096')),
    **{f'block at {n} tokens': ('>= 0.75', partial(lambda b, n: block_share(b, n), n=n))
       for n in (4096, 8192, 16384, 32768)},
    'growth 4096 to 16384': ('<= 4.2, memory <= 4.1', lambda b: growth(b, 'adventurer')),
    'training step 1024x1024': ('>= 1.3, memory <= 1', training),
    'activation matching 8192': ('>= 5, memory >= 8', partial(token_maps, kind='activation')),
    'gram distance 8192': ('>= 4, memory >= 8', partial(token_maps, kind='gram')),
    'linear ViT growth': ('<= 4.2', lambda b: growth(b, 'linear_vit')),
}


def show(results: dict) -> None:
    table = Table(title='speed on ' + results['machine']['processor'])
    for column in ('row', 'ratio', 'target', 'memory ratio', 'median ms'):
        table.add_column(column)
    for name, (target, _) in ROWS.items():
        if row := results['rows'].get(name):
            times = ', '.join(f"{k} {v['median']:.0f}" for k, v in row['ms'].items())
            quiet = len(undisturbed(row['ms'].values())) == len(row['ms'])
            table.add_row(name, f"{row['ratio']:.2f}" if quiet else 'disturbed', target,
                          str(row.get('memory_ratio', '')), times)
    Console(width=140).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, default=Path('work_dirs/ops_cpu.json'))
    parser.add_argument('--rows', nargs='+', choices=ROWS, help='measure only these, anew; the '
                        'others stay as the file has them')
    parser.add_argument('--resume', action='store_true', help='measure only missing rows')
    parser.add_argument('--small', action='store_true', help='a trial at an eighth of each side')
    args = parser.parse_args()
    torch.manual_seed(0)
    bench = Bench(args.out, args.small, args.resume or bool(args.rows))
    for name in args.rows or [n for n in ROWS if n not in bench.results['rows']]:
        bench.keep(name, ROWS[name][1](bench))
    show(bench.results)


if __name__ == '__main__':
    main()
