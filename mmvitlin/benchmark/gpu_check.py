"""Checks for a GPU: are the kernels correct, are they fast, does a run train.

Each part takes a device, sizes, and a function that it calls with each finished row, so that a part
that is stopped leaves the rows it has.
"""
from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmvitlin.benchmark.gpu_check_recipe import run_stages
from mmvitlin.benchmark.latency import time_interleaved
from mmvitlin.ops import (
    available_backends,
    causal_depthwise_conv1d,
    gated_rms_norm,
    linear_attention,
    linear_attention_reference,
    silu_product,
    ssd,
    ssd_reference,
)
from mmvitlin.ops.linear_attention import FEATURE_MAPS
from mmvitlin.utils.machine import peak_memory

Tell = Callable[[str, object], None]
BOUNDS = {torch.float32: 5e-3, torch.bfloat16: 3e-2}  # relative; float32 products may be in TF32
TARGETS = {'1024x2048': 2.0, '2048x4096': 6.0}  # of ViT-B with fused attention over a student
PRODUCTS = ('aten::mm', 'aten::addmm', 'aten::bmm', 'aten::baddbmm', 'aten::convolution',
            'aten::cudnn_convolution', 'aten::mkldnn_convolution',
            'aten::convolution_backward', 'aten::_scaled_mm')
SHARE = 0.7  # of a training step's time on the device that products of matrices should have


class Sizes(NamedTuple):
    """Sizes of a check."""
    lengths: tuple[int, ...] = (64, 197, 1000)  # of tokens, kernels against references
    long: tuple[int, int] = (16, 4097)  # images and tokens of kernels that go through many blocks
    images: tuple[tuple[int, int], ...] = ((1024, 2048), (2048, 4096))
    batch: int = 128  # of the training step
    network: dict | None = None  # instead of the base networks: width and depth
    rounds: int = 20
    seconds: float = 15.
    stages: tuple[str, ...] = ('elu_attention', 'elu_both', 'elu_both_tuned', 'softmax_tuned')


TINY = Sizes((33, ), (2, 65), ((32, 64), ), 2, dict(width=64, depth=4), 2, 0.1, ())


def tried(call: Callable[[], object]) -> object:
    """The result, or why there is none: a row must not end a part."""
    try:
        result = call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # what fails there is this call's fault
        return result
    except Exception as error:
        with suppress(Exception):  # after some faults nothing runs any more
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        return f'{type(error).__name__}: {str(error)[:300]}'


def _relative(actual: Tensor, expected: Tensor) -> float:
    expected = expected.double()
    return ((actual.double() - expected).norm() / expected.norm().clamp_min(1e-30)).item()


def compare(function: Callable[..., Tensor], reference: Callable[..., Tensor], leaves: list[Tensor],
            names: str) -> dict[str, float]:
    """Relative errors of an output and of every gradient against the reference in float64."""
    inputs = [t.clone().requires_grad_() for t in leaves]
    exact = [t.double().requires_grad_() for t in leaves]
    actual, expected = function(*inputs), reference(*exact)
    weight = torch.randn_like(expected)
    actual_grads = torch.autograd.grad((actual.double() * weight).sum(), inputs)
    expected_grads = torch.autograd.grad((expected * weight).sum(), exact)
    return dict(output=_relative(actual, expected), **{
        name: _relative(a, b)
        for name, a, b in zip(names.split(), actual_grads, expected_grads, strict=True)})


def own_first(backends: Sequence[str]) -> list[str]:
    """Backends but the reference, our kernels before those of other libraries."""
    order = ('fused', 'torch')
    return [b for b in order if b in backends] + [
        b for b in backends if b not in (*order, 'reference')]


def scan_inputs(device: str, length: int, dtype: torch.dtype, heads: int = 24, batch: int = 1,
                width: int = 64, state: int = 64, groups: int = 1) -> list[Tensor]:
    """x, dt, A, B, C, D of a scan."""
    def normal(*shape):
        return torch.randn(*shape, device=device)
    return [normal(batch, length, heads, width).to(dtype),
            F.softplus(normal(batch, length, heads) - 4),
            -torch.empty(heads, device=device).uniform_(1, 16),
            *(normal(batch, length, groups, state).to(dtype) for _ in 'BC'), normal(heads)]


def _linear(q: Tensor, k: Tensor, v: Tensor, normalize: bool = True, feature_map: str = 'elu'
            ) -> Tensor:
    phi = FEATURE_MAPS[feature_map]
    return linear_attention_reference(phi(q), phi(k), v, normalize)


def _conv(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Written out: a padded depthwise convolution, bias and SiLU."""
    padded = F.pad(x.transpose(1, 2), (weight.shape[-1] - 1, 0))
    return F.silu(F.conv1d(padded, weight, bias, groups=weight.shape[0])).transpose(1, 2)


def _gated_norm(value: Tensor, gate: Tensor, weight: Tensor) -> Tensor:
    gated = value * F.silu(gate)
    return gated / (gated.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight


def kernels(device: str, sizes: Sizes, tell: Tell) -> None:
    """Every form of every operator that can run here against its reference; what training uses
    comes first."""
    for dtype in (torch.bfloat16, torch.float32):
        for length in sizes.lengths:
            scan = scan_inputs(device, length, dtype, heads=2, batch=2)
            qkv = [torch.randn(2, 2, length, 64, device=device).to(dtype) for _ in 'qkv']
            conv = [torch.randn(2, length, 128, device=device).to(dtype),
                    torch.randn(128, 1, 4, device=device), torch.randn(128, device=device)]
            calls = {f'scan {b}': partial(compare, partial(ssd, backend=b), ssd_reference, scan,
                                          'x dt A B C D')
                     for b in own_first(available_backends(scan[0]))}
            for (phi, normalize), b in itertools.product(
                    (('elu', True), ('elu', False), ('relu', True), ('paired_softmax', True)),
                    ('fused', 'torch')):
                how = dict(feature_map=phi, normalize=normalize)
                name = f"linear attention {b} {phi}{'' if normalize else ' not normalised'}"
                calls[name] = partial(compare, partial(linear_attention, backend=b, **how),
                                      partial(_linear, **how), qkv, 'q k v')
            for b in ('fused', 'causal_conv1d', 'fla', 'torch'):
                calls[f'convolution {b}'] = partial(
                    compare, partial(causal_depthwise_conv1d, activation='silu', backend=b), _conv,
                    conv, 'x weight bias')
            gates = [torch.randn(2, length, 96, device=device).to(dtype) for _ in 'yz']
            scale = torch.randn(96, device=device)
            for b in ('fused', 'torch'):
                calls[f'gate of SwiGLU {b}'] = partial(
                    compare, partial(silu_product, backend=b), lambda a, b: F.silu(a) * b, gates,
                    'gate value')
                calls[f'gated norm {b}'] = partial(
                    compare, partial(gated_rms_norm, eps=1e-5, backend=b), _gated_norm,
                    [*gates, scale], 'value gate weight')
            _judge(calls, dtype, length, tell)
        images, length = sizes.long
        heads = 24 if images > 2 else 2  # several a program, and several chunks a segment
        scan = scan_inputs(device, length, dtype, heads, max(images // 4, 1))
        wide = scan_inputs(device, length, dtype, 6, 1, width=65, state=128, groups=6)
        whole = partial(ssd, backend='torch')
        _judge({f'scan {b}{what}': partial(compare, partial(ssd, backend=b), whole, leaves,
                                           'x dt A B C D')
                for what, leaves in (('', scan), (' of a Mamba-2 ViT', wide))
                for b in own_first(available_backends(scan[0])) if b != 'torch'},
               dtype, length, tell)
        qkv = [torch.randn(images, 4, length, 64, device=device).to(dtype) for _ in 'qkv']
        calls = {f'linear attention fused {phi}': partial(
            compare, partial(linear_attention, feature_map=phi, backend='fused'),
            partial(linear_attention, feature_map=phi, backend='torch'), qkv, 'q k v')
            for phi in ('elu', 'paired_softmax')}
        conv = [torch.randn(images, length, 128, device=device).to(dtype),
                torch.randn(128, 1, 4, device=device), torch.randn(128, device=device)]
        calls['convolution fused'] = partial(
            compare, partial(causal_depthwise_conv1d, activation='silu', backend='fused'), _conv,
            conv, 'x weight bias')
        _judge(calls, dtype, length, tell)


def _judge(calls: dict[str, Callable[[], object]], dtype: torch.dtype, length: int, tell: Tell
           ) -> None:
    """Tell each call's errors, and whether they are small enough."""
    for name, call in calls.items():
        row = tried(call)
        if isinstance(row, dict):
            row = dict(row, right=all(error < BOUNDS[dtype] for error in row.values()))
        tell(f"{name} {length} {str(dtype).removeprefix('torch.')}", row)


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
                  for b in own_first(available_backends(scan[0]))}
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


def distiller(sizes: Sizes) -> nn.Module:
    """The model of configs/distill/linearizer_adventurer-base_in1k-224.py, random weights."""
    from mmengine.registry import MODELS

    from mmvitlin.engine.runner.config import load_config
    model = load_config('mmvitlin::distill/linearizer_adventurer-base_in1k-224.py').model
    model.teacher.backbone.pretrained = False
    if (small := sizes.network) is not None:
        model.backbone.arch = dict(embed_dims=small['width'], num_layers=small['depth'])
        model.teacher.backbone.model_kwargs = dict(embed_dim=small['width'], depth=small['depth'],
                                                   num_heads=2)
    return MODELS.build(model)


def training_step(device: str, sizes: Sizes, tell: Tell) -> None:
    """Time of a step of distillation at 224x224, and what share of it is products of matrices."""
    from torch.profiler import ProfilerActivity, profile
    net = distiller(sizes).to(device).train()
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
    share = sum(kernel_times.get(name, 0) for name in PRODUCTS) / whole
    largest = dict(sorted(kernel_times.items(), key=lambda item: -item[1])[:15])
    tell('share of products', dict(
        share=round(share, 3), target=SHARE, met=share >= SHARE,
        microseconds={name: round(value) for name, value in largest.items()}))


def teacher(device: str, sizes: Sizes, tell: Tell) -> None:
    """The pretrained teacher's recipe on CamVid, some stages; drawn scenes where sizes are tiny."""
    run_stages(device, sizes.stages, tell)


# name → function, seconds
PARTS: dict[str, tuple[Callable[[str, Sizes, Tell], None], int]] = {
    'kernels': (kernels, 200),
    'operators': (operators, 100),
    'backbones': (backbones, 180),
    'training_step': (training_step, 120),
    'teacher': (teacher, 240),
}
