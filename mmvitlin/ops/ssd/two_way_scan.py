"""The state space dual scan in both directions at once, chunk by chunk, for inference on a CPU.

Equal to :func:`mmvitlin.ops.ssd` over the tokens, plus the same over their reverse in which every
token comes one step late, so that none reads itself twice. Both share the products of queries and
keys, and chunks may come in tiles: from the last to the first for the states of the reverse, then
from the first to the last for the outputs.

Letters: b batch, T tokens of a tile, K chunks, Q tokens of a chunk, H heads, N state, P width.
"""
from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

CHUNK = 64


class TwoWayInputs(NamedTuple):
    """Inputs of a scan in both directions.

    Attributes:
        q: Queries C, (b, T, H, N).
        k: Keys B, (b, T, H, N).
        v: Values x, (b, T, H, P).
        dt: Step sizes of the scan and of its reverse, (b, T, 2 H).
        A: Negative decay rates, (2, H).
    """
    q: Tensor
    k: Tensor
    v: Tensor
    dt: Tensor
    A: Tensor

    def no_state(self) -> Tensor:
        """The state of no tokens, (b, H, N, P)."""
        return self.dt.new_zeros(self.v.shape[0], self.v.shape[2], self.k.shape[3],
                                 self.v.shape[3])


class _Chunks:
    """Inputs of a tile, cut into chunks of equal length."""

    def __init__(self, tile: TwoWayInputs, chunk: int):
        self.length = tile.v.shape[1]
        self.chunk = min(chunk, self.length)
        pad = -self.length % self.chunk
        heads = tile.v.shape[2]
        self.q, self.k, self.v = (self._cut(t, pad) for t in tile[:3])  # b K H Q ·
        steps = self._cut(tile.dt.unflatten(-1, (2, heads)).transpose(2, 3), pad)  # b K H Q 2
        self.ahead, self.back = steps.unbind(-1)  # b K H Q
        self.log_ahead, self.log_back = (torch.cumsum(dt * A[:, None], -1) for dt, A in zip(
            (self.ahead, self.back), tile.A, strict=True))
        self.log_before = self.log_back - self.back * tile.A[1][:, None]  # without the token itself

    def _cut(self, t: Tensor, pad: int) -> Tensor:
        if pad:  # steps of size zero change nothing
            t = torch.cat([t, t.new_zeros(t.shape[0], pad, *t.shape[2:])], dim=1)
        return t.unflatten(1, (-1, self.chunk)).transpose(2, 3).contiguous()

    def weights(self) -> Tensor:
        """Weights between the tokens of a chunk, without q · k, (b, K, H, Q, Q)."""
        places = torch.arange(self.chunk, device=self.v.device)
        earlier = places <= places[:, None]
        later = self.log_before[..., None, :] - self.log_back[..., None]
        decay = torch.where(earlier, self.log_ahead[..., None] - self.log_ahead[..., None, :],
                            later).exp_()
        return decay.mul_(torch.where(earlier, self.ahead[..., None, :], self.back[..., None, :]))

    def added(self, scale: Tensor) -> Tensor:
        """What each chunk adds to a state, (b, K, H, N, P), with keys times ``scale``."""
        keys = self.k * scale[..., None].to(self.k.dtype)
        return (keys.transpose(-1, -2) @ self.v).to(scale.dtype)


def reverse_states(tile: TwoWayInputs, state: Tensor, chunk: int = CHUNK) -> tuple[Tensor, Tensor]:
    """States of the reversed scan at the end of each chunk, from the last to the first.

    Args:
        tile: Consecutive tokens.
        state: From all tokens behind the tile, (b, H, N, P).
        chunk: Tokens in a chunk.

    Returns:
        (b, K, H, N, P), and the state at the tile's first token.
    """
    cut = _Chunks(tile, chunk)
    added = cut.added(cut.back * torch.exp(cut.log_before))
    decay, states = torch.exp(cut.log_back[..., -1])[..., None, None], torch.empty_like(added)
    for n in reversed(range(added.shape[1])):
        states[:, n] = state
        state = torch.addcmul(added[:, n], state, decay[:, n])
    return states, state


def two_way_outputs(tile: TwoWayInputs, state: Tensor, reverse: Tensor, chunk: int = CHUNK
                    ) -> tuple[Tensor, Tensor]:
    """Outputs of a tile from the states before and behind its chunks.

    Args:
        tile: Consecutive tokens.
        state: From all tokens before the tile, (b, H, N, P).
        reverse: From :func:`reverse_states`.
        chunk: The same.

    Returns:
        (b, T, H, P), and the state behind the tile's last token.
    """
    cut = _Chunks(tile, chunk)
    end = cut.log_ahead[..., -1:]
    added = cut.added(cut.ahead * torch.exp(end - cut.log_ahead))
    decay, states = torch.exp(end)[..., None], torch.empty_like(added)
    for n in range(added.shape[1]):
        states[:, n] = state
        state = torch.addcmul(added[:, n], state, decay[:, n])
    dtype = cut.v.dtype
    kernel = (cut.q @ cut.k.transpose(-1, -2)).mul_(cut.weights().to(dtype))
    y = kernel @ cut.v
    before = torch.exp(cut.log_ahead)[..., None].to(dtype)
    behind = torch.exp(cut.log_back[..., -1:] - cut.log_back)[..., None].to(dtype)
    y += torch.cat([cut.q * before, cut.q * behind], -1) @ torch.cat([states, reverse], 3).to(dtype)
    return y.transpose(2, 3).flatten(1, 2)[:, :cut.length], state
