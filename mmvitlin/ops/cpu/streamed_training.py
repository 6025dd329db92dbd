"""A whole Adventurer block with its gradients, tile by tile, for training on a CPU.

Forward keeps the block's input, the outputs of its input projection and of the first projection of
the SwiGLU, and one scan state a tile; everything between them is recomputed tile by tile in the
backward pass, where it stays in the cache. That is about 9 C values a token, a quarter of what
recording every operation keeps, and one product of matrices in eight is done twice.

Letters: b batch, T tokens of a tile, C channels, I inner channels, H heads, P head width,
M channels of the SwiGLU.
"""
from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mmvitlin.ops.cpu.streamed_block import (
    CHUNK,
    TILE,
    BlockWeights,
    Mixer,
    ScanOrder,
    inverse_rms,
    mean_token,
    rms_norm,
)
from mmvitlin.ops.precision import no_autocast
from mmvitlin.ops.ssd.segments import even_chunk, scan_segment_backward

_silu_backward = torch.ops.aten.silu_backward


def _channel_sums(values: Tensor, acc: torch.dtype) -> Tensor:
    """Sums over batch and tokens in ``acc``: (b, T, C) to (C,)."""
    return values.flatten(0, 1).sum(0, dtype=acc)  # over two axes at once takes three times as long


def rms_backward(grad: Tensor, x: Tensor, inverse: Tensor, weight: Tensor
                 ) -> tuple[Tensor, Tensor]:
    """Gradients of ``x · inverse · weight`` with ``inverse`` the inverse RMS of ``x``.

    Args:
        grad: Of the result, (b, T, C).
        x: (b, T, C).
        inverse: (b, T, 1).
        weight: (C,).

    Returns:
        Gradients of ``x`` and of ``weight``, in the type of ``inverse``.
    """
    unit = x * inverse
    d_weight = _channel_sums(grad * unit, inverse.dtype)
    d_unit = grad * weight
    along = (d_unit * unit).mean(-1, keepdim=True, dtype=inverse.dtype)
    return torch.addcmul(d_unit, unit, along, value=-1).mul_(inverse), d_weight


class _Sums:
    """Gradients of the weights, summed over tiles in at least float32."""

    def __init__(self, acc: torch.dtype):
        self.acc = acc
        self.values: dict[str, Tensor] = {}

    def add(self, name: str, value: Tensor) -> None:
        """Add a gradient."""
        if name in self.values:
            self.values[name] += value
        else:
            self.values[name] = value.to(self.acc)

    def add_product(self, name: str, left: Tensor, right: Tensor) -> None:
        """Add ``leftᵀ right`` over all tokens: (b, T, m), (b, T, n) to (m, n)."""
        left, right = left.flatten(0, 1).t(), right.flatten(0, 1)
        if name in self.values and left.dtype == self.acc:
            self.values[name].addmm_(left, right)
        else:
            self.add(name, left @ right)


class _MixerBackward:
    """Gradients of :class:`Mixer`, tile by tile."""

    def __init__(self, mixer: Mixer, sums: _Sums):
        self.mixer, self.w, self.sums = mixer, mixer.weights, sums

    def gate(self, grad: Tensor, t: dict[str, Tensor], gated: Tensor, inverse: Tensor
             ) -> tuple[Tensor, Tensor]:
        """Gradients of y and of z."""
        grad, d_weight = rms_backward(grad, gated, inverse, self.w.gate_norm)
        self.sums.add('gate_norm', d_weight)
        grad = grad.to(gated.dtype)
        return grad * F.silu(t['z']), _silu_backward(grad * t['y'], t['z'])

    def scan(self, dy: Tensor, t: dict[str, Tensor], after: Tensor, ahead: Tensor
             ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """From y to the input projection.

        Args:
            dy: Of y, (b, T, I).
            t: From :meth:`Mixer.scan`.
            after: Of the state after the tile.
            ahead: Of the convolution's outputs at the next tokens, (b, taps − 1, channels).

        Returns:
            Gradients of the two last parts of the input projection, of the state before the
            tile, and ``ahead`` for the tile before.
        """
        w, x, sums = self.w, t['x'], self.sums
        length, taps = x.shape[1], len(w.conv)
        dy = dy.unflatten(-1, (self.mixer.heads, -1))
        d_x, d_dt, d_A, d_B, d_C, before = scan_segment_backward(
            dy, x, t['dt'], w.A, t['B'], t['C'], t['starts'], after,
            even_chunk(length, CHUNK))
        sums.add('A', d_A)
        sums.add('D', (dy * x).sum((0, 1, 3), dtype=sums.acc))
        d_conv = torch.cat([(d_x + dy * w.D[:, None]).flatten(2).to(x.dtype),
                            d_B.flatten(2).to(x.dtype), d_C.flatten(2).to(x.dtype)], dim=-1)
        d_conv = _silu_backward(d_conv, t['conv'])
        sums.add('conv_bias', _channel_sums(d_conv, sums.acc))
        sums.add('conv', torch.stack([
            _channel_sums(d_conv * t['longer'][:, k:k + length], sums.acc)
            for k in range(taps)]))
        longer = torch.cat([d_conv, ahead], dim=1)
        d_x_bc = longer[:, taps - 1:taps - 1 + length] * w.conv[0]
        for k in range(1, taps):
            d_x_bc.addcmul_(longer[:, taps - 1 - k:taps - 1 - k + length], w.conv[k])
        d_raw = d_dt * torch.sigmoid(t['raw'])
        sums.add('dt_bias', _channel_sums(d_raw, sums.acc))
        return d_x_bc, d_raw.to(x.dtype), before, longer[:, :taps - 1].clone()


def _scaled(x: Tensor, scale: Tensor | None, dtype: torch.dtype) -> Tensor:
    return (x if scale is None else x * scale).to(dtype)


class _TrainedBlock(torch.autograd.Function):

    @staticmethod
    def forward(ctx, x: Tensor, scales: Sequence[Tensor | None], reverse: bool, tile: int,
                behind: int, w: BlockWeights, *raw: Tensor) -> Tensor:
        dtype, mixer = w.in_proj.dtype, Mixer(w)
        order = ScanOrder(x.shape[1] - behind, tile, reverse, behind)
        out, kept = torch.empty_like(x), []
        with no_autocast(x):
            state, tail = mixer.zeros(len(x), x.device)
            heading = mean_token(x, w.norm, w.eps).to(dtype)
            for n in range(len(order)):
                part = order.take(x, n)
                u = rms_norm(part, w.norm, w.eps, dtype)
                if n == 0:
                    u = torch.cat([heading, u], dim=1)
                p = F.linear(u, w.in_proj)
                t = mixer.scan(p, state, tail)
                y = F.linear(mixer.gate(t)[2], w.out_proj)
                middle = part + _scaled(y[:, 1:] if n == 0 else y, scales[0], x.dtype)
                u = rms_norm(middle, w.norm_mlp, w.eps, dtype)
                h1, h2 = F.linear(u, *w.w1), F.linear(u, *w.w2)
                y = F.linear(F.silu(h1).mul_(h2), *w.w3)
                order.put(out, n, middle + _scaled(y, scales[1], x.dtype))
                kept += [p, state, tail, middle, h1]
                state, tail = t['after'], t['longer'][:, p.shape[1]:].clone()
        ctx.save_for_backward(x, *kept, *raw)
        ctx.order, ctx.scales, ctx.kept = order, scales, len(kept)
        ctx.compute = (w.groups, w.eps, dtype)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, d_out: Tensor):
        x, *rest = ctx.saved_tensors
        kept, raw = rest[:ctx.kept], rest[ctx.kept:]
        w, dtype, order = block_weights(raw, *ctx.compute), ctx.compute[-1], ctx.order
        mixer, sums = Mixer(w), _Sums(w.A.dtype)
        back = _MixerBackward(mixer, sums)
        d_in = torch.empty_like(x)
        after, ahead = mixer.zeros(len(x), x.device)
        with no_autocast(x):
            for n in reversed(range(len(order))):
                p, state, tail, middle, h1 = kept[5 * n:5 * n + 5]
                grad = _mlp_backward(order.take(d_out, n), middle, h1, w, ctx.scales[1], sums)
                dy = _scaled(grad, ctx.scales[0], dtype)
                if n == 0:
                    dy = F.pad(dy, (0, 0, 1, 0))  # the mean token's output was not used
                t = mixer.scan(p, state, tail)
                gated, inverse, normed = mixer.gate(t)
                sums.add_product('out_proj', dy, normed)
                dy, d_z = back.gate(dy @ w.out_proj, t, gated, inverse)
                d_x_bc, d_dt, after, ahead = back.scan(dy, t, after, ahead)
                d_p = torch.cat([d_z, d_x_bc, d_dt], dim=-1)
                part = order.take(x, n)
                inverse = inverse_rms(part, w.eps)
                u = (part * inverse).mul_(w.norm).to(dtype)
                if n == 0:
                    u = torch.cat([mean_token(x, w.norm, w.eps).to(dtype), u], dim=1)
                sums.add_product('in_proj', d_p, u)
                d_u = d_p @ w.in_proj
                if n == 0:
                    heading, d_u = d_u[:, :1], d_u[:, 1:]
                d_part, d_norm = rms_backward(d_u, part, inverse, w.norm)
                sums.add('norm', d_norm)
                order.put(d_in, n, grad.add_(d_part))
            _share(heading, x, w, sums, d_in)
        return (d_in, None, None, None, None, None, *_to_raw(sums.values, raw))


def _mlp_backward(d_out: Tensor, mid: Tensor, h1: Tensor, w: BlockWeights,
                  scale: Tensor | None, sums: _Sums) -> Tensor:
    """Gradient of the SwiGLU's input and residual, ``mid``."""
    dtype = h1.dtype
    inverse = inverse_rms(mid, w.eps)
    u = (mid * inverse).mul_(w.norm_mlp).to(dtype)
    h2 = F.linear(u, *w.w2)
    active = F.silu(h1)
    dy = _scaled(d_out, scale, dtype)
    sums.add('w3.bias', _channel_sums(dy, sums.acc))
    sums.add_product('w3', dy, active * h2)
    d_product = dy @ w.w3[0]
    d_h1, d_h2 = _silu_backward(d_product * h2, h1), d_product.mul_(active)
    for name, grad in (('w1', d_h1), ('w2', d_h2)):
        sums.add(name + '.bias', _channel_sums(grad, sums.acc))
        sums.add_product(name, grad, u)
    d_u = torch.addmm((d_h1.flatten(0, 1) @ w.w1[0]), d_h2.flatten(0, 1), w.w2[0])
    d_mid, d_norm = rms_backward(d_u.view(u.shape), mid, inverse, w.norm_mlp)
    sums.add('norm_mlp', d_norm)
    return d_mid.to(d_out.dtype) + d_out


def _share(heading: Tensor, x: Tensor, w: BlockWeights, sums: _Sums, d_in: Tensor) -> None:
    """Give every token its share of the mean token's gradient, (b, 1, C)."""
    share = heading.to(w.A.dtype) / x.shape[1]
    for a in range(0, x.shape[1], TILE):
        part = x[:, a:a + TILE]
        d_part, d_norm = rms_backward(share.expand(part.shape), part, inverse_rms(part, w.eps),
                                      w.norm)
        sums.add('norm', d_norm)
        d_in[:, a:a + TILE] += d_part


def block_weights(raw: Sequence[Tensor], groups: int, eps: float, dtype: torch.dtype
                  ) -> BlockWeights:
    """:class:`BlockWeights` from a block's parameters, matrices as ``dtype``.

    Args:
        raw: norm, in_proj, conv1d weight (channels, 1, taps) and bias, dt_bias, A_log, D, the
            gate's norm, out_proj, norm_mlp, then weight and bias of w1, w2 and w3.
        groups: Groups that share B and C.
        eps: Of the norms.
        dtype: To compute in.
    """
    norm, in_proj, conv, conv_bias, dt_bias, A_log, D, gate_norm, out_proj, norm_mlp, *mlp = raw
    acc = torch.float64 if dtype == torch.float64 else torch.float32
    return BlockWeights(
        norm, in_proj.to(dtype), conv[:, 0].t().to(dtype).contiguous(), conv_bias.to(dtype),
        dt_bias.to(acc), -torch.exp(A_log.to(acc)), D.to(dtype), gate_norm.to(dtype),
        out_proj.to(dtype), norm_mlp, *((weight.to(dtype), bias.to(dtype))
                                        for weight, bias in zip(mlp[::2], mlp[1::2], strict=True)),
        groups, eps)


def _to_raw(values: dict[str, Tensor], raw: Sequence[Tensor]) -> list[Tensor]:
    """Gradients of the parameters as :func:`block_weights` takes them."""
    acc = values['A'].dtype
    by_name = dict(values, conv=values['conv'].t()[:, None],
                   A_log=-values['A'] * torch.exp(raw[5].to(acc)))
    order = ('norm', 'in_proj', 'conv', 'conv_bias', 'dt_bias', 'A_log', 'D', 'gate_norm',
             'out_proj', 'norm_mlp', 'w1', 'w1.bias', 'w2', 'w2.bias', 'w3', 'w3.bias')
    return [by_name[name].to(p.dtype).reshape(p.shape)
            for name, p in zip(order, raw, strict=True)]


def trained_block(x: Tensor, raw: Sequence[Tensor], groups: int, eps: float, reverse: bool,
                  dtype: torch.dtype, scales: Sequence[Tensor | None] = (None, None),
                  tile: int = TILE, behind: int = 1) -> Tensor:
    """Run an Adventurer block for training.

    Args:
        x: Residual stream (b, L + n, C), patches first.
        raw: Parameters, see :func:`block_weights`.
        groups: Groups that share B and C.
        eps: Of the norms.
        reverse: Scan the patches from the last to the first.
        dtype: To compute in; sums and states are float32 at least.
        scales: What multiplies the mixer's and the SwiGLU's output, (b, 1, 1), as stochastic
            depth does; None for one.
        tile: Patches worked on at a time.
        behind: n, tokens behind the patches: the class token, a head's queries.

    Returns:
        (b, L + n, C). Differentiable once, for ``x`` and the parameters.
    """
    return _TrainedBlock.apply(x, scales, reverse, tile, behind,
                               block_weights(raw, groups, eps, dtype), *raw)
