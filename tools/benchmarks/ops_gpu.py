"""Correctness and speed of scans, blocks and backbones on a CUDA device.

    python tools/benchmarks/ops_gpu.py --out docs/results/ops_gpu.json      a few minutes

Checks every scan backend that is installed against the token-by-token reference, then times,
batch 1 and bfloat16, the scan alone, the mixer beside mamba-ssm's own module, and Adventurer-B
and linear ViT-B beside ViT-B with fused and with materialised attention, inference and training.
What cannot run is recorded with its reason.
"""
import argparse
import json
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import torch

from mmvitlin.benchmark.latency import time_interleaved
from mmvitlin.engine.hooks.result import command_line, versions
from mmvitlin.models import Adventurer, TimmViT
from mmvitlin.models.layers import Mamba2
from mmvitlin.ops import available_backends, cosine_map_distance, ssd, ssd_reference
from mmvitlin.utils.machine import machine, peak_memory

VIT = 'vit_base_patch16_224'
SHAPES = ((1024, 1024), (1024, 2048), (2048, 4096))


def scan_inputs(length: int, dtype: torch.dtype, heads: int = 24, width: int = 64, state: int = 64,
                batch: int = 1) -> list[torch.Tensor]:
    def normal(*shape):
        return torch.randn(*shape, device='cuda')
    return [normal(batch, length, heads, width).to(dtype),
            torch.nn.functional.softplus(normal(batch, length, heads) - 4),
            -torch.empty(heads, device='cuda').uniform_(1, 16),
            *(normal(batch, length, 1, state).to(dtype) for _ in range(2)), normal(heads)]


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a.double() - b.double()).norm() / b.double().norm()).item()


def check_scan(backend: str, length: int, dtype: torch.dtype) -> dict:
    """Relative error of the output and of each gradient against float64."""
    leaves = [t.requires_grad_() for t in scan_inputs(length, dtype, heads=2, batch=2)]
    exact = [t.detach().double().requires_grad_() for t in leaves]
    actual, expected = ssd(*leaves, backend=backend), ssd_reference(*exact)
    weight = torch.randn_like(expected)
    grads = torch.autograd.grad((actual.double() * weight).sum(), leaves)
    expected_grads = torch.autograd.grad((expected * weight).sum(), exact)
    names = ('x', 'dt', 'A', 'B', 'C', 'D')
    return dict(output=relative(actual, expected),
                **{n: relative(a, b) for n, a, b in zip(names, grads, expected_grads, strict=True)})


def tried(call: Callable[[], object]) -> object:
    """The result, or why there is none."""
    try:
        return call()
    except torch.cuda.OutOfMemoryError:
        torch.cuda.empty_cache()
        return 'out of memory'
    except Exception as error:  # a row must not end the run
        return f'{type(error).__name__}: {str(error)[:300]}'


def side_by_side(calls: dict[str, Callable[[], object]], rounds: int = 30) -> dict:
    """Medians of the calls that run, taken in turn, and the reasons of the others."""
    reasons = {n: r for n, c in calls.items() if isinstance(r := tried(c), str)}
    runnable = {n: c for n, c in calls.items() if n not in reasons}
    return {**time_interleaved(runnable, 'cuda', warmup=5, rounds=rounds, seconds=20), **reasons}


def no_grad(call: Callable[[], object]) -> Callable[[], object]:
    def run():
        with torch.inference_mode():
            call()
    return run


def scans() -> dict:
    """Forward, and forward with backward, of each backend at three lengths."""
    table = {}
    for length in (2048, 8192, 32768):
        args = scan_inputs(length, torch.bfloat16)
        backends = [b for b in available_backends(args[0]) if b != 'reference']
        table[f'forward {length}'] = side_by_side(
            {b: no_grad(partial(ssd, *args, backend=b)) for b in backends} |
            {f'fused, chunk {q}': no_grad(partial(ssd, *args, backend='fused', chunk_size=q))
             for q in (32, 128) if 'fused' in backends})
        leaves = [t.requires_grad_() for t in args]

        def step(b, leaves=leaves):
            torch.autograd.grad(ssd(*leaves, backend=b).float().sum(), leaves)

        table[f'both {length}'] = side_by_side({b: partial(step, b) for b in backends})
    return table


def mixers() -> dict:
    """mmvitlin's mixer with each backend beside mamba-ssm's Mamba2, 8,192 tokens of 768
    channels."""
    u = torch.randn(1, 8192, 768, device='cuda', dtype=torch.bfloat16)
    calls = {b: no_grad(partial(Mamba2(768, backend=b).cuda().bfloat16().eval(), u))
             for b in available_backends(u[..., None]) if b != 'reference'}

    def mamba_ssm():
        from mamba_ssm.modules.mamba2 import Mamba2 as Library
        return Library(768, d_state=64, headdim=64, expand=2).cuda().bfloat16().eval()

    module = tried(mamba_ssm)
    calls['mamba_ssm.Mamba2'] = no_grad(partial(module, u)) if callable(module) else \
        partial(_fail, module)
    return side_by_side(calls)


def _fail(reason: str) -> None:
    raise RuntimeError(reason)


def backbone(name: str, shape: tuple[int, int]) -> torch.nn.Module:
    if name.startswith('adventurer'):
        backend = name.partition(' ')[2] or 'auto'
        return Adventurer('base', img_size=shape, mixer_cfg=dict(backend=backend)).cuda()
    net = TimmViT(VIT, attention='linear' if 'linear' in name else 'softmax', img_size=shape)
    if 'materialised' in name:
        for block in net.vit.blocks:
            block.attn.fused_attn = False
    return net.cuda()


def backbones(training: bool) -> dict:
    """Latency and peak memory by image size; each network also compiled."""
    table = {}
    for shape in SHAPES[:1] if training else SHAPES:
        images = torch.randn(1, 3, *shape, device='cuda')
        names = ['vit fused', 'vit materialised', 'linear vit', 'adventurer',
                 'adventurer fused', 'adventurer torch']
        nets = {n: backbone(n, shape).train(training) for n in names}
        nets |= {f'{n}, compiled': torch.compile(nets[n], dynamic=False)
                 for n in ('vit fused', 'linear vit', 'adventurer')}

        def run(net, images=images):
            with torch.autocast('cuda', torch.bfloat16):
                y = net(images)[0]
            if training:
                y.float().square().mean().backward()
                net.zero_grad(set_to_none=True)

        calls = {n: partial(run, net) if training else no_grad(partial(run, net))
                 for n, net in nets.items()}
        row = side_by_side(calls, rounds=20)
        peaks = {n: tried(lambda c=c: round(peak_memory(c, 'cuda'), 1)) for n, c in calls.items()}
        table['x'.join(map(str, shape))] = dict(ms=row, peak_mib=peaks)
        torch._dynamo.reset()
    return table


def activation() -> dict:
    """Both forms of activation matching at 8,192 tokens of 768 channels."""
    s, t = (torch.randn(1, 8192, 768, device='cuda', requires_grad=g) for g in (True, False))
    calls = {form: partial(lambda f: cosine_map_distance(s, t, form=f).mean().backward(), form)
             for form in ('pairwise', 'linear')}
    return dict(ms=side_by_side(calls),
                peak_mib={n: tried(lambda c=c: round(peak_memory(c, 'cuda'), 1))
                          for n, c in calls.items()})


PARTS = {
    'correctness': lambda: {
        f"{backend} {length} {str(dtype).removeprefix('torch.')}":
            tried(partial(check_scan, backend, length, dtype))
        for backend in available_backends(torch.empty(1, device='cuda')) if backend != 'reference'
        for length in (64, 197, 1000) for dtype in (torch.float32, torch.bfloat16)},
    'scans': scans,
    'mixers': mixers,
    'inference': partial(backbones, False),
    'training': partial(backbones, True),
    'activation matching': activation,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, default=Path('work_dirs/ops_gpu.json'))
    parser.add_argument('--parts', nargs='+', choices=PARTS, default=list(PARTS))
    args = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error('no CUDA device here; tools/benchmarks/ops_cpu.py measures a CPU')
    torch.manual_seed(0)
    partial_run = args.parts != list(PARTS)  # the others stay as the file has them
    results = json.loads(args.out.read_text()) if partial_run and args.out.is_file() else {}
    for name in args.parts:
        results[name] = PARTS[name]()
        results.update(machine=machine(), versions=versions(), command=command_line(),
                       date=datetime.now(timezone.utc).isoformat(timespec='seconds'))
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(results, indent=2) + '\n')
        print(name, json.dumps(results[name], indent=1), flush=True)


if __name__ == '__main__':
    main()
