"""What a GPU run moves and launches, counted on a machine without one.

Two paths are counted by the same counter: ordinary operators (``eager``), which is what ran on
GPUs without mamba-ssm and fla before there were kernels of ours, and our Triton kernels
(``fused``).
"""
from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from importlib.metadata import version

import torch
from mmengine.registry import init_default_scope
from timm.layers import Attention
from timm.layers.helpers import to_2tuple
from torch import Tensor
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from mmvitlin.benchmark.package_kernels import counted_launches, counted_mixer
from mmvitlin.benchmark.resources import SHARED_BYTES, TARGETS, find_ptxas, resources
from mmvitlin.benchmark.traffic import Traffic, traffic
from mmvitlin.engine.runner.config import load_config
from mmvitlin.models.backbones.adventurer import AdventurerBlock
from mmvitlin.models.distillers.step_draws import StepDraws
from mmvitlin.models.layers.mamba2_attention import Mamba2Attention
from mmvitlin.models.losses.target_norm import TargetStandardizer
from mmvitlin.ops import (
    causal_depthwise_conv1d,
    gated_rms_norm,
    linear_attention,
    silu_product,
    ssd,
)
from mmvitlin.ops.launch import Launch, meta_as_gpu
from mmvitlin.ops.linear_attention import FEATURE_MAPS
from mmvitlin.ops.packages import is_installed
from mmvitlin.registry import MODELS
from mmvitlin.utils.paths import folder

HALF = torch.bfloat16


def _meta(*shape: int, dtype: torch.dtype = HALF) -> Tensor:
    return torch.empty(shape, dtype=dtype, device='meta')


def _wide(*shape: int) -> Tensor:
    return _meta(*shape, dtype=torch.float32)


def convolution(backend: str, batch: int, length: int, channels: int = 1664
                ) -> tuple[Callable, tuple]:
    """Convolution, bias and SiLU of Adventurer-B's mixer, and its arguments."""
    def call(x, weight, bias):
        return causal_depthwise_conv1d(x, weight, bias, 'silu', backend)
    return call, (_meta(batch, length, channels), _wide(channels, 1, 4), _wide(channels))


def scan(backend: str, batch: int, length: int, heads: int = 24, width: int = 64, state: int = 64,
         dtype: torch.dtype = HALF) -> tuple[Callable, tuple]:
    """Scan of Adventurer-B's mixer, and its arguments."""
    def call(x, dt, A, B, C, D):
        return ssd(x, dt, A, B, C, D, backend=backend)
    return call, (_meta(batch, length, heads, width, dtype=dtype), _wide(batch, length, heads),
                  _wide(heads), *(_meta(batch, length, 1, state, dtype=dtype) for _ in 'BC'),
                  _wide(heads))


def attention(backend: str, batch: int, length: int, heads: int = 16, width: int = 64,
              dtype: torch.dtype = HALF, feature_map: str = 'elu') -> tuple[Callable, tuple]:
    """Linear attention of ViT-L from its queries, keys and values to the tokens, and these."""
    def mapped(q, k, v):
        q, k = FEATURE_MAPS[feature_map](q), FEATURE_MAPS[feature_map](k)
        return linear_attention(q, k, v, backend='torch')

    def call(qkv):
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind()
        if backend == 'fused':
            y = linear_attention(q, k, v, feature_map=feature_map, backend='fused')
        else:  # as the layer runs it
            y = checkpoint(mapped, q, k, v, use_reentrant=False, preserve_rng_state=False)
        return y.transpose(1, 2).flatten(2)
    return call, (_meta(batch, length, 3, heads, width, dtype=dtype), )


def block(backend: str, batch: int, length: int, width: int = 768) -> tuple[Callable, tuple]:
    """A whole block of Adventurer-B that scans in reverse, all in bfloat16, and its arguments."""
    with torch.device('meta'):
        layer = AdventurerBlock(width, reverse=True).to(HALF)
    return _module(layer, backend, batch, length, width)


def _module(layer: torch.nn.Module, backend: str, batch: int, length: int, width: int
            ) -> tuple[Callable, tuple]:
    names, weights = zip(*layer.named_parameters(), strict=True)

    def call(x, *weights):
        with meta_as_gpu() if backend == 'fused' else nullcontext():
            return functional_call(layer, dict(zip(names, weights, strict=True)), (x, ))
    return call, (_meta(batch, length, width), *weights)


def mamba2_vit(backend: str, batch: int, length: int, width: int = 384) -> tuple[Callable, tuple]:
    """The Mamba-2 mixer that takes the place of ViT-S's attention, with Hedgehog maps and both
    directions, from tokens to tokens, all in bfloat16, and its arguments."""
    with torch.device('meta'):
        layer = Mamba2Attention(Attention(width, width // 64, qkv_bias=True),
                                feature_map='hedgehog').to(HALF)
    return _module(layer, backend, batch, length, width)


def product_bytes(counter: Traffic) -> int:
    """What the matrix products of a count read and write."""
    return sum(moved for name, moved in counter.by_operator.items()
               if name.split('.')[0] in ('aten::mm', 'aten::addmm', 'aten::bmm'))


def floor_bytes(call: Callable, args: tuple, backward: bool) -> int:
    """Every argument read and the output written once; backward also every gradient."""
    inputs = sum(t.numel() * t.element_size() for t in args)
    out = call(*args)
    output = out.numel() * out.element_size()
    return inputs + output + (2 * inputs + output if backward else 0)


MODULES = {  # compared with what their matrix products alone move
    'block, Adventurer-B at 224², 128 images': (block, 128, 197),
    'Mamba-2 mixer with Hedgehog maps, ViT-S at 512², 16 images': (mamba2_vit, 16, 1025)}
STEPS = {  # config → images in a batch
    'linearizer_adventurer-base_in1k-224': 128, 'phi-s_adventurer-base_in1k-224': 128,
    'adala-attention_dinov2-large_coco-448': 8, 'adala-feature_dinov2-large_in1k-448': 8}
PARTS = {
    'convolution, Adventurer-B at 224², 128 images': (convolution, 128, 197, True),
    'scan, Adventurer-B at 224², 128 images': (scan, 128, 197, True),
    'scan, Adventurer-B at 1024x2048, 1 image, inference': (scan, 1, 8193, False),
    'linear attention, ViT-L at 1024², 1 image, inference': (attention, 1, 4097, False),
    'linear attention, ViT-L at 512², 16 images': (attention, 16, 1025, True),
    'linear attention with Hedgehog maps, ViT-L at 512², 16 images': (
        partial(attention, feature_map='paired_softmax'), 16, 1025, True),
}


def _row(counter: Traffic, floor: int, times: str = 'times_floor') -> dict:
    return {'gigabytes': round(counter.bytes / 1e9, 4), 'kernels': counter.kernels,
            times: round(counter.bytes / floor, 2)}


def layers() -> dict:
    """Bytes and kernels of each part, of one layer, eager and fused.

    The least of a whole module is what its matrix products alone move.
    """
    table = {}
    for name, (part, batch, length, backward) in PARTS.items():
        floor = floor_bytes(*part('torch', batch, length), backward)
        row = dict(floor_gigabytes=round(floor / 1e9, 4))
        for label, backend in (('eager', 'torch'), ('fused', 'fused')):
            row[label] = _row(traffic(*part(backend, batch, length), backward), floor)
        table[name] = row
    for name, (part, batch, length) in MODULES.items():
        counts = {label: traffic(*part(backend, batch, length)) for label, backend in (
            ('eager', 'torch'), ('fused', 'fused'))}
        least = product_bytes(counts['fused'])
        table[name] = dict(floor_gigabytes=round(least / 1e9, 4),
                           **{label: _row(counter, least) for label, counter in counts.items()})
    return table


def of_packages() -> dict:
    """Bytes and kernels of the same parts by other packages, of those that are installed, in times
    of what ours move.

    The block has mamba-ssm's scan among our kernels, and its mixer as one node.
    """
    scans = [name for name in PARTS if name.startswith('scan')]
    table = {}
    for package, backend, names, counting in (
            ('fla-core', 'fla', list(PARTS)[:1] + scans, counted_launches),
            ('mamba-ssm', 'mamba_ssm', scans + list(MODULES)[:1], counted_launches),
            ('mamba-ssm with causal-conv1d', 'mamba_ssm', list(MODULES)[:1], counted_mixer)):
        distribution = package.split()[0]
        if not is_installed(distribution):
            continue
        for name in names:
            part, batch, length, *backward = {**PARTS, **MODULES}[name]
            ours = traffic(*part('fused', batch, length), *backward)
            theirs = traffic(*part(backend, batch, length), *backward, counting=counting)
            table[f'{name}: {package}'] = dict(_row(theirs, ours.bytes, 'times_ours'),
                                               version=version(distribution))
    return table


def step(config: str, images: int, backend: str) -> Traffic:
    """Forward and backward pass of a distillation, teacher and objectives included, all in
    bfloat16; without the optimiser, and without what ``--amp`` casts.

    Args:
        config: Of a distillation.
        images: In the batch, of the student's size.
        backend: 'torch' or 'fused'.
    """
    model = load_config(config).model
    model.teacher.backbone.pretrained = False
    size = to_2tuple(model.backbone.img_size)
    init_default_scope('mmvitlin')
    with torch.device('meta'):
        network = MODELS.build(model).to(HALF).train()
    for module in network.modules():
        if isinstance(module, TargetStandardizer):
            module.eval()  # statistics of the targets are complete, as they are in most steps
    learned = {name: p for name, p in network.named_parameters() if p.requires_grad}

    def call(*weights):
        batch, draws = _meta(images, 3, *size), StepDraws()
        network.forward = network.distill  # what functional_call calls
        with meta_as_gpu() if backend == 'fused' else nullcontext():
            losses = functional_call(network, dict(zip(learned, weights, strict=True)),
                                     (batch, draws))
        return sum(losses.values())
    return traffic(call, learned.values())


def steps() -> dict:
    """Bytes and kernels of whole steps of the full-size distillations, eager and fused."""
    table = {}
    for name, images in STEPS.items():
        counts = {label: step(str(folder('configs') / 'distill' / f'{name}.py'), images, backend)
                  for label, backend in (('eager', 'torch'), ('fused', 'fused'))}
        least = product_bytes(counts['fused'])
        table[name] = dict(images=images, products_gigabytes=round(least / 1e9, 2), **{
            label: _row(counter, least) for label, counter in counts.items()})
    return table


def named_launches(dtype: torch.dtype, width: int, state: int) -> dict[str, Launch]:
    """All launches of our kernels that the models make for heads of a width and state size, one of
    each form: in training and inference, with each feature map, and of the widest networks."""
    launches: dict[str, Launch] = {}
    whole = scan('fused', 2, 8193, 24, width, state, dtype)
    hedgehog = scan('fused', 2, 8193, 24, width + 1, 2 * state, dtype)  # and a column of ones
    parts = [(f', P={width} N={state}', *whole, True),
             (f', P={width} N={state}, inference', *whole, False),
             (f', P={width + 1} N={2 * state}', *hedgehog, True),
             *((f', {feature_map}, {width} wide',
                *attention('fused', 1, 4097, 16, width, dtype, feature_map), True)
               for feature_map in ('elu', 'relu', 'paired_softmax'))]
    for name, taps, ahead, activation in ((', SiLU', 4, 0, 'silu'), (', both ways', 3, 1, None)):
        call = partial(causal_depthwise_conv1d, activation=activation, backend='fused', ahead=ahead)
        weights = _wide(1664, 1, taps), _wide(1664)
        parts.append((name, call, (_meta(2, 8193, 1664, dtype=dtype), *weights), True))
    for channels in (1920, 4096):
        pair = (_meta(2, 8193, channels, dtype=dtype), ) * 2
        parts.append((f', {channels} wide', partial(silu_product, backend='fused'), pair, True))
    for channels in (1536, 2048):
        pair = (_meta(2, 8193, channels, dtype=dtype), ) * 2
        parts.append((f', {channels} wide', partial(gated_rms_norm, eps=1e-5, backend='fused'),
                      (*pair, _wide(channels)), True))
    for what, call, args, backward in parts:
        for launch in traffic(call, args, backward).launches:
            name = f"{launch.kernel.fn.__name__} {str(dtype).removeprefix('torch.')}{what}"
            name += ' scaled' * bool(launch.options.get('SCALED'))
            name += ' in reverse' * bool(launch.options.get('REVERSE'))
            launches[name] = launch
    return launches


def spills(shapes=((torch.bfloat16, 64, 64), (torch.float32, 64, 64)), targets=TARGETS) -> dict:
    """Registers, spilled bytes and shared memory of each kernel, the worst of its targets."""
    if find_ptxas() is None:
        return {}
    table = {}
    for dtype, width, state in shapes:
        for name, launch in named_launches(dtype, width, state).items():
            by_target = {c: resources(launch, c) for c in targets}
            table[name] = dict(
                registers=max(r.registers for r in by_target.values()),
                spilled=max(r.spilled for r in by_target.values()),
                fits=all(r.shared <= SHARED_BYTES[c] for c, r in by_target.items()))
    return table
