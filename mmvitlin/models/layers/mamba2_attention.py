"""A Mamba-2 mixer in the place, and with the weights, of a timm attention module."""
from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from mmvitlin.models.layers.inherited_attention import InheritedAttention, TokenLayout
from mmvitlin.models.layers.linear_attention import HedgehogMap
from mmvitlin.ops import causal_depthwise_conv1d, ssd
from mmvitlin.ops.linear_attention import FEATURE_MAPS
from mmvitlin.ops.precision import no_autocast
from mmvitlin.ops.ssd import BACKENDS as SSD_BACKENDS
from mmvitlin.ops.ssd.two_way_scan import CHUNK, TwoWayInputs, reverse_states, two_way_outputs

_EPS = 1e-6
_ONE_BEFORE_SOFTPLUS = math.log(math.expm1(1.))
_ONE_BEFORE_SILU = 1.278464542761074


class Mamba2Attention(InheritedAttention):
    """Mamba-2's mixer over all tokens, as a replacement of a timm attention.

    By state space duality the recurrence ``S_t = exp(Δ_t A) S_{t−1} + Δ_t B_t x_tᵀ``,
    ``y_t = C_tᵀ S_t`` is causal linear attention with decay, of queries C, keys B and values x.
    So C, B, x and the output projection come from W_Q, W_K, W_V and W_O, with B and C for each
    head, and what the softmax module did not have starts without effect: the convolution as the
    identity, the gate at one, the decay over the whole image at ``exp(−decay)``. Queries and keys
    go through a positive feature map where Mamba-2 has a SiLU; rotary positions turn them before
    the convolution and the map.

    Steps are ``Δ_t = softplus(W x_t + b) / L``, in units of the image: decays and the size of
    the sums are those of the training size at any other.

    Args:
        softmax: The module to take the weights from; see :class:`InheritedAttention`.
        num_prefix: Class and register tokens in front of the patches.
        directions: 'both' sums a scan over the tokens and one over their reverse, which leaves
            each token itself out, so that without decay the sum is linear attention over all
            tokens; 'one' scans once, with the class and register tokens both in front of the
            patches, where patches see them, and, only reading, behind them, where they see all
            patches.
        reverse: With 'one', scan the patches from the last to the first.
        heading: With 'one', put the mean of all tokens in front, for patches that come early.
        feature_map: 'elu', 'relu', 'focused', or 'hedgehog' (learned).
        normalize: Divide by the sum of weights, which the same scan gives for a column of ones.
        conv_kernel: Taps of the depthwise convolution over queries, keys and values along the
            tokens, odd; centred with 'both', and causal in the order of the scan with 'one'. 0
            for none.
        output_gate: Multiply the output by ``SiLU(G x + g)``, starting at one.
        decay: Starting decay over the whole image, ``−A``, positive.
        backend: Backend of :func:`mmvitlin.ops.ssd`.
        chunk_size: Tokens in a chunk of the scan; None leaves it to the backend.

    Raises:
        TypeError: a module without queries, keys and values in one of timm's forms.
        ValueError: an option that is not known or does not go with another.

    Source: Mamba-2 (arXiv 2405.21060), section 5; the map of weights as in MambaInLlama (arXiv
    2408.15237) and MOHAWK (arXiv 2408.10189); the column of ones, both directions without counting
    a token twice, and steps in units of the image are mmvitlin's.
    """
    ADDED = ('map_q', 'map_k', 'conv', 'step', 'A_log', 'D', 'out_gate')

    def __init__(self,
                 softmax: nn.Module,
                 num_prefix: int = 1,
                 directions: str = 'both',
                 reverse: bool = False,
                 heading: bool = False,
                 feature_map: str = 'elu',
                 normalize: bool = True,
                 conv_kernel: int = 3,
                 output_gate: bool = True,
                 decay: float = 3.,
                 backend: str = 'auto',
                 chunk_size: int | None = None):
        super().__init__(softmax)
        self.num_prefix = num_prefix
        if directions not in ('both', 'one'):
            raise ValueError(f"directions must be 'both' or 'one', got '{directions}'")
        if directions == 'both' and (reverse or heading):
            raise ValueError("reverse and heading are for directions='one'")
        if feature_map not in (*FEATURE_MAPS, 'hedgehog'):
            raise ValueError(f"feature_map must be one of {[*FEATURE_MAPS, 'hedgehog']}, got "
                             f"'{feature_map}'")
        if backend not in ('auto', *SSD_BACKENDS):
            raise ValueError(f"backend must be 'auto' or one of {sorted(SSD_BACKENDS)}, got "
                             f"'{backend}'")
        if chunk_size is not None and chunk_size < 1:
            raise ValueError(f'chunk_size must be at least 1, got {chunk_size}')
        if (conv_kernel and conv_kernel % 2 == 0) or decay <= 0:
            raise ValueError('conv_kernel must be odd or 0 and decay must be positive, got '
                             f'{conv_kernel} and {decay}')
        self.directions, self.reverse, self.heading = directions, reverse, heading
        self.feature_map, self.normalize, self.decay = feature_map, normalize, decay
        self.conv_kernel, self.output_gate = conv_kernel, output_gate
        self.backend, self.chunk_size = backend, chunk_size
        scans, heads, inner = 1 + (directions == 'both'), self.num_heads, softmax.proj.in_features
        dims = softmax.proj.out_features
        if feature_map == 'hedgehog':
            self.map_q = HedgehogMap(heads, self.head_dims)
            self.map_k = HedgehogMap(heads, self.head_dims)
        else:
            self.map_q = self.map_k = FEATURE_MAPS[feature_map]
        self.conv = None
        if conv_kernel:
            self.conv = nn.Conv1d(3 * inner, 3 * inner, conv_kernel, groups=3 * inner)
        self.step = nn.Linear(dims, scans * heads)
        self.A_log = nn.Parameter(torch.full((scans * heads, ), math.log(decay)))
        self.D = nn.Parameter(torch.zeros(heads))
        self.out_gate = nn.Linear(dims, inner) if output_gate else None
        self._start_as_nothing()

    @torch.no_grad()
    def _start_as_nothing(self) -> None:
        nn.init.zeros_(self.step.weight)
        nn.init.constant_(self.step.bias, _ONE_BEFORE_SOFTPLUS)
        if self.conv is not None:
            nn.init.zeros_(self.conv.weight)
            nn.init.zeros_(self.conv.bias)
            self.conv.weight[..., self.conv_kernel - 1 - self.tokens_ahead] = 1
        if self.out_gate is not None:
            nn.init.zeros_(self.out_gate.weight)
            nn.init.constant_(self.out_gate.bias, _ONE_BEFORE_SILU)

    @property
    def tokens_ahead(self) -> int:
        """How many of the tokens that follow the convolution looks at."""
        return self.conv_kernel // 2 if self.directions == 'both' else 0

    @property
    def streams(self) -> bool:
        """Whether :meth:`stream_` can run it."""
        return self.directions == 'both' and self.backend in ('auto', 'torch')

    def options(self) -> dict:
        """What it computes with its weights."""
        return dict(directions=self.directions, reverse=self.reverse, heading=self.heading,
                    feature_map=self.feature_map, normalize=self.normalize,
                    conv_kernel=self.conv_kernel, output_gate=self.output_gate)

    def forward(self, x: Tensor, rope: Tensor | None = None,
                attn_mask: TokenLayout | Tensor | None = None, is_causal: bool = False) -> Tensor:
        """(B, L, C) to (B, L, C), before the residual.

        Raises:
            ValueError: a mask or causality is asked for.
        """
        grid, _ = self.layout(attn_mask, is_causal)
        q, k, v = (t.transpose(1, 2) for t in self.queries_keys_values(x, rope))  # B L H D
        dt = self._steps(x, x.shape[1])
        if self.directions == 'both':
            y = self._scan_both(q, k, v, dt)
        else:  # in front of the patches: class and register tokens, a head's queries
            prefix = x.shape[1] - grid[0] * grid[1] if grid else self.num_prefix
            y = self._scan_one(q, k, v, dt, prefix)
        return self._gated(y, x)

    def stream_(self, x: Tensor, norm: nn.Module, scale: Callable[[Tensor], Tensor],
                rope: Tensor | None, tile: int) -> None:
        """``x += scale(self(norm(x)))`` over tiles of tokens, in place, on a CPU.

        From the last tile to the first for the states of the reversed scan, then forward. Mapped
        queries, keys and values are held at full length.

        Args:
            x: (B, L, C).
            norm: Of the tokens before attention.
            scale: Of its output.
            rope: See :meth:`forward`.
            tile: Tokens of a tile.

        Raises:
            RuntimeError: it scans in one direction, or by another backend.
        """
        if not self.streams:
            raise RuntimeError("only a scan with directions='both' and backend 'auto' or 'torch' "
                               'streams')
        chunk = self.chunk_size or CHUNK
        length, ahead, tiles = x.shape[1], self.tokens_ahead, []
        starts, state = range(0, length, tile), None
        for a in reversed(starts):
            b, before, behind = min(a + tile, length), max(a - ahead, 0), ahead
            u = norm(x[:, before:b + behind])
            qkv = (t.transpose(1, 2) for t in self.queries_keys_values(u, rope, before))
            inside = slice(a - before, b - before)
            q, k, v = (t[:, inside] for t in self._mapped(*qkv))
            dt = self._steps(u[:, inside], length)
            inputs = TwoWayInputs(q, k, v, dt, self._rates(dt.dtype))
            with no_autocast(x):
                state = inputs.no_state() if state is None else state
                states, state = reverse_states(inputs, state, chunk)
            tiles.append((inputs, states))
        state = torch.zeros_like(state)
        for a in starts:
            inputs, states = tiles.pop()
            with no_autocast(x):
                y, state = two_way_outputs(inputs, state, states, chunk)
            part = x[:, a:a + tile]
            gated = self.out_gate is not None or getattr(self, 'gate', None) is not None
            part += scale(self._gated(self._normalized(y, inputs.v), norm(part) if gated else part))

    def _steps(self, x: Tensor, length: int) -> Tensor:
        """(B, T, C), some of ``length`` tokens, to step sizes in float32 at least."""
        wide = torch.promote_types(x.dtype, torch.float32)
        return F.softplus(self.step(x).to(wide)) / length

    def _rates(self, dtype: torch.dtype) -> Tensor:
        """Negative decay rates A, (scans, H)."""
        return -torch.exp(self.A_log.to(dtype)).unflatten(0, (-1, self.num_heads))

    def _normalized(self, y: Tensor, v: Tensor) -> Tensor:
        """Outputs of the recurrence over their sums of weights, and D times the values."""
        if self.normalize:
            y, v = y[..., :-1] / (y[..., -1:] + _EPS), v[..., :-1]
        return torch.addcmul(y.to(v.dtype), v, self.D.to(v.dtype)[:, None])

    def _gated(self, y: Tensor, x: Tensor) -> Tensor:
        """(B, L, H, P) through the gate and the output projection; ``x`` is the input."""
        y = y.flatten(2)
        if self.out_gate is not None:
            y = y * F.silu(self.out_gate(x))
        return self.project(y, x)

    def _mapped(self, *qkv: Tensor) -> list[Tensor]:
        """Queries and keys (B, L, H, D) and values (B, L, H, P) through convolution and maps.

        With ``normalize`` values get a column of ones.
        """
        if self.conv is not None:
            weights, biases = self.conv.weight.chunk(3), self.conv.bias.chunk(3)
            qkv = [self._convolve(t, *parameters)
                   for t, *parameters in zip(qkv, weights, biases, strict=True)]
        q, k, v = qkv
        q, k = (feature(t.transpose(1, 2)).transpose(1, 2).to(v.dtype)
                for feature, t in ((self.map_q, q), (self.map_k, k)))
        return [q, k, F.pad(v, (0, 1), value=1.) if self.normalize else v]

    def _convolve(self, t: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        y = causal_depthwise_conv1d(t.flatten(2), weight, bias, ahead=self.tokens_ahead)
        return y.unflatten(-1, t.shape[2:])

    def _scan(self, q: Tensor, k: Tensor, v: Tensor, dt: Tensor, index: int) -> Tensor:
        """The recurrence number ``index`` over the tokens in the order given."""
        return ssd(v, dt, self._rates(dt.dtype)[index], k, q, chunk_size=self.chunk_size,
                   backend=self.backend)

    def _scan_both(self, q: Tensor, k: Tensor, v: Tensor, dt: Tensor) -> Tensor:
        """Over the tokens, and over their reverse without the token itself."""
        q, k, v = self._mapped(q, k, v)
        dt, dt_back = dt.chunk(2, dim=-1)
        y = self._scan(q, k, v, dt, 0)
        if y.shape[1] > 1:  # each token reads when the one behind it is in the state
            behind = (t[:, 1:].flip(1) for t in (k, v, dt_back))
            y = y + F.pad(self._scan(q[:, :-1].flip(1), *behind, 1).flip(1), (0, 0, 0, 0, 0, 1))
        return self._normalized(y, v)

    def _scan_one(self, q: Tensor, k: Tensor, v: Tensor, dt: Tensor, prefix: int) -> Tensor:
        """Over the patches, between two copies of the ``prefix`` tokens in front of them."""
        def ordered(t: Tensor, behind: Tensor) -> Tensor:
            patches = t[:, prefix:].flip(1) if self.reverse else t[:, prefix:]
            heading = [t.mean(1, keepdim=True)] if self.heading else []
            return torch.cat([*heading, t[:, :prefix], patches, behind], dim=1)

        # steps of size zero only read
        mapped = self._mapped(*(ordered(t, t[:, :prefix]) for t in (q, k, v)))
        y = self._scan(*mapped, ordered(dt, torch.zeros_like(dt[:, :prefix])), 0)
        y = self._normalized(y, mapped[2])
        y = y[:, prefix + int(self.heading):]
        length = q.shape[1] - prefix
        patches = y[:, :length].flip(1) if self.reverse else y[:, :length]
        return torch.cat([y[:, length:], patches], dim=1)
