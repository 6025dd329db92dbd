"""Checks for a GPU: are the kernels correct, are they fast, does a run train.

Each part takes a device, sizes, and a function that it calls with each finished row, so that a part
that is stopped leaves the rows it has.
"""
from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from mmvitlin.benchmark.gpu_check_kernels import (
    OWN,
    TINY,
    Sizes,
    Tell,
    kernels,
    libraries,
    others,
    scan_inputs,
    tried,
)
from mmvitlin.benchmark.gpu_check_recipe import run_stages
from mmvitlin.benchmark.latency import time_interleaved
from mmvitlin.ops import linear_attention, ssd
from mmvitlin.utils.machine import peak_memory

__all__ = ['PARTS', 'TINY', 'Sizes']
TARGETS = {'1024x2048': 2.0, '2048x4096': 6.0}  # of ViT-B with fused attention over a student
PRODUCTS = ('aten::mm', 'aten::addmm', 'aten::bmm', 'aten::baddbmm', 'aten::convolution',
            'aten::cudnn_convolution', 'aten::mkldnn_convolution',
            'aten::convolution_backward', 'aten::_scaled_mm')
SHARE = 0.7  # of a training step's time on the device that products of matrices should have


def side_by_side(calls: dict[str, Callable[[], object]], device: str, sizes: Sizes) -> dict:
    """Medians in milliseconds of the calls that run, in turn, and the reasons of the others."""
    reasons = {n: r for n, c in calls.items() if isinstance(r := tried(c), str)}
    runnable = {n: c for n, c in calls.items() if n not in reasons}
    times = time_interleaved(runnable, device, 2, sizes.rounds, sizes.seconds)
    return {**{n: row['median'] for n, row in times.items()}, **reasons}


def _no_grad(call: Callable[[], object]) -> Callable[[], None]:
    def run() -> None:
        with torch.inference_mode():
            call()
    return run


def operators(device: str, sizes: Sizes, tell: Tell) -> None:
    """Fused attention beside linear attention and the scan of each backend, bfloat16, forward."""
    for height, width in sizes.images:
        length = height * width // 256
        heads = 12 if sizes.network is None else 2
        q, k, v = (torch.randn(1, heads, length, 64, device=device, dtype=torch.bfloat16)
                   for _ in 'qkv')
        scan = scan_inputs(device, length, torch.bfloat16, 2 * heads)
        calls = {'fused attention': partial(F.scaled_dot_product_attention, q, k, v)}
        calls |= {f'linear attention {b} {phi}': partial(
            linear_attention, q, k, v, feature_map=phi, backend=b)
            for phi in ('elu', 'paired_softmax') for b in ('fused', 'torch')}
        calls |= {f'scan {b}': partial(ssd, *scan, backend=b)
                  for b in (*OWN, *others(scan[0]))}
        tell(f'{height}x{width}', side_by_side({n: _no_grad(c) for n, c in calls.items()}, device,
                                               sizes))


def networks(sizes: Sizes, shape: tuple[int, int]) -> dict[str, nn.Module]:
    """ViT-B with fused attention, the same with linear attention, and Adventurer-B."""
    from mmvitlin.models import Adventurer, TimmViT
    small = sizes.network
    more = dict(model_kwargs=dict(embed_dim=small['width'], depth=small['depth'], num_heads=2)
                ) if small else {}
    arch = dict(embed_dims=small['width'], num_layers=small['depth']) if small else 'base'
    name = 'vit_base_patch16_clip_quickgelu_224.openai'
    return {'ViT': TimmViT(name, img_size=shape, **more),
            'linear ViT': TimmViT(name, attention='linear', img_size=shape, **more),
            'Adventurer': Adventurer(arch, img_size=shape)}


def backbones(device: str, sizes: Sizes, tell: Tell) -> None:
    """Whole backbones, batch 1, bfloat16: times, peak memory, and whether targets are met."""
    for shape in sizes.images:
        nets = {n: net.to(device).eval() for n, net in networks(sizes, shape).items()}
        images = torch.randn(1, 3, *shape, device=device)

        def run(net, images=images):
            with torch.autocast(images.device.type, torch.bfloat16):
                net(images)

        calls = {n: _no_grad(partial(run, net)) for n, net in nets.items()}
        row: dict[str, object] = dict(ms=side_by_side(calls, device, sizes))
        if device == 'cuda':
            row['peak_mib'] = {n: tried(partial(peak_memory, c, device)) for n, c in calls.items()}
        name, ms = f'{shape[0]}x{shape[1]}', row['ms']
        row['times_the_ViT'] = {
            n: round(ms['ViT'] / ms[n], 2) for n in list(calls)[1:]
            if all(isinstance(ms[m], float) for m in ('ViT', n))}
        if name in TARGETS:
            row['target'] = TARGETS[name]
            row['met'] = {n: times >= TARGETS[name] for n, times in row['times_the_ViT'].items()}
        tell(name, row)


def distiller(sizes: Sizes, backend: str = 'auto') -> nn.Module:
    """The model of configs/distill/linearizer_adventurer-base_in1k-224.py, random weights."""
    from mmengine.registry import MODELS

    from mmvitlin.engine.runner.config import load_config
    model = load_config('mmvitlin::distill/linearizer_adventurer-base_in1k-224.py').model
    model.teacher.backbone.pretrained = False
    model.backbone.mixer_cfg = dict(model.backbone.get('mixer_cfg') or {}, backend=backend)
    if (small := sizes.network) is not None:
        model.backbone.arch = dict(embed_dims=small['width'], num_layers=small['depth'])
        model.teacher.backbone.model_kwargs = dict(embed_dim=small['width'], depth=small['depth'],
                                                   num_heads=2)
    return MODELS.build(model)


def training_step(device: str, sizes: Sizes, tell: Tell) -> None:
    """Time of a step of distillation at 224x224, and what share of it is products of matrices:
    with our scan, then with the one that is taken by itself where that is another's."""
    backends = ['fused' if device == 'cuda' else 'torch']
    if others(torch.empty(1, device=device)):
        backends.append('auto')
    for backend in backends:
        _training_step(device, sizes, backend, partial(_with_backend, tell, backend))


def _with_backend(tell: Tell, backend: str, name: str, row: object) -> None:
    tell(f'{name}, scan {backend}', row)


def _training_step(device: str, sizes: Sizes, backend: str, tell: Tell) -> None:
    from torch.profiler import ProfilerActivity, profile
    net = distiller(sizes, backend).to(device).train()
    if device == 'cuda':  # as TF32Hook does in training
        torch.backends.cuda.matmul.allow_tf32 = True
    trained = [p for p in net.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, 1e-3, fused=True)
    images = torch.randn(sizes.batch, 3, 224, 224, device=device)

    def step() -> None:
        with torch.autocast(device, torch.bfloat16):
            losses = net(images, mode='loss')
        sum(v for n, v in losses.items() if n.startswith('loss')).backward()
        optimizer.step()
        optimizer.zero_grad()

    ms = side_by_side({'step': step}, device, sizes)['step']
    tell('time', dict(ms=ms, images_per_second=round(1e3 * sizes.batch / ms, 1)
                      if isinstance(ms, float) else None))
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device == 'cuda' else [])]
    with profile(activities=activities) as profiler:
        step()
        if device == 'cuda':
            torch.cuda.synchronize()
    attribute = 'self_device_time_total' if device == 'cuda' else 'self_cpu_time_total'
    kernel_times = {e.key: getattr(e, attribute) for e in profiler.key_averages()
                    if device != 'cuda' or e.key.startswith(('aten::', 'mmvitlin::', 'Optimizer'))}
    whole = sum(kernel_times.values())
    if device == 'cuda':  # all kernels
        whole = sum(e.self_device_time_total for e in profiler.key_averages()
                    if str(e.device_type).endswith('CUDA')
                    and not getattr(e, 'is_user_annotation', False))
    if not whole:
        raise RuntimeError('the profiler traced no kernel; the share of products is not known')
    products = sum(kernel_times.get(name, 0) for name in PRODUCTS)
    share = products / whole
    largest = dict(sorted(kernel_times.items(), key=lambda item: -item[1])[:15])
    tell('share of products', dict(
        share=round(share, 3), target=SHARE, met=share >= SHARE,
        # less than that where the device waits for the host
        of_the_clock=round(products / 1e3 / ms, 3) if isinstance(ms, float) else None,
        microseconds={name: round(value) for name, value in largest.items()}))


def teacher(device: str, sizes: Sizes, tell: Tell) -> None:
    """The pretrained teacher's recipe on CamVid, some stages; drawn scenes where sizes are tiny."""
    run_stages(device, sizes.stages, tell)


# name → function, seconds
PARTS: dict[str, tuple[Callable[[str, Sizes, Tell], None], int]] = {
    'kernels': (kernels, 150),
    'training_step': (training_step, 160),
    'backbones': (backbones, 150),
    'operators': (operators, 90),
    'teacher': (teacher, 200),
    'libraries': (libraries, 90),
}
