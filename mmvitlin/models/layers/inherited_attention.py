"""Base of modules that replace a timm attention and keep its weights."""
from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn as nn
import torch.nn.functional as F
from timm.layers import apply_rot_embed_cat
from torch import Tensor


class TokenLayout(NamedTuple):
    """Layout of the tokens that an :class:`InheritedAttention` attends over.

    timm's blocks hand their argument ``attn_mask`` on to attention as it is, so this goes there.

    Attributes:
        grid: (h, w) of the patches, which are the last h · w tokens.
        seen: bool (B, Q, L), what each of the first Q tokens sees; None for everything.
    """
    grid: tuple[int, int] | None = None
    seen: Tensor | None = None


class InheritedAttention(nn.Module):
    """Base of the modules that replace a timm attention (``Attention``, ``AttentionRope`` or
    ``EvaAttention``).

    Projections, biases, query and key norms, gate and output norm are taken over with their
    names, so checkpoints of the softmax network load as they are.

    Args:
        softmax: The module to take the weights from.

    Attributes:
        QKV: First names of the parameters that make queries, keys and values.
        ADDED: First names of the parameters that the softmax module does not have.
        MASKS: Whether a :class:`TokenLayout` may say what the first tokens see.
        streams: Whether it has a method ``stream_`` that can run it over tiles of tokens.

    Raises:
        TypeError: a module without queries, keys and values in one of timm's forms.
    """
    QKV = ('qkv', 'q_proj', 'k_proj', 'v_proj', 'q_bias', 'k_bias', 'v_bias')
    ADDED: tuple[str, ...] = ()
    MASKS: bool = False
    streams: bool = False

    def __init__(self, softmax: nn.Module):
        super().__init__()
        if not hasattr(softmax, 'proj') or not (hasattr(softmax, 'qkv') or
                                                hasattr(softmax, 'q_proj')):
            raise TypeError(f'{type(softmax).__name__} is no attention with q, k, v and an output '
                            f'projection; {type(self).__name__} cannot take its place')
        for name, child in softmax.named_children():
            self.add_module(name, child)
        for name, value in softmax.named_parameters(recurse=False):
            self.register_parameter(name, value)
        for name, value in softmax.named_buffers(recurse=False):
            self.register_buffer(name, value, persistent=name not in
                                 softmax._non_persistent_buffers_set)
        self.num_heads = softmax.num_heads
        self.head_dims = getattr(softmax, 'head_dim', None) or \
            softmax.proj.in_features // softmax.num_heads
        self.scale = getattr(softmax, 'scale', self.head_dims**-0.5)
        self.num_prefix = getattr(softmax, 'num_prefix_tokens', 1)
        self.rotate_half = getattr(softmax, 'rotate_half', False)

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.head_dims)).transpose(1, 2)

    def queries_keys_values(self, x: Tensor, rope: Tensor | None, start: int = 0
                            ) -> tuple[Tensor, Tensor, Tensor]:
        """(B, L, C) to three (B, H, L, D), normed and rotated.

        Args:
            x: Tokens, all of them or some in a row.
            rope: Angles of all patches, (…, patches, 2 D).
            start: Which token is the first of ``x``.
        """
        if getattr(self, 'qkv', None) is not None:
            bias = self.qkv.bias
            if getattr(self, 'q_bias', None) is not None:
                bias = torch.cat([self.q_bias, self.k_bias, self.v_bias])
            q, k, v = map(self._heads, F.linear(x, self.qkv.weight, bias).chunk(3, dim=-1))
        else:
            q, k, v = (self._heads(p(x)) for p in (self.q_proj, self.k_proj, self.v_proj))
        q, k = self.q_norm(q), self.k_norm(k)
        if rope is not None:
            prefix = min(max(self.num_prefix - start, 0), x.shape[1])
            first = max(start - self.num_prefix, 0)
            rope = rope[..., first:first + x.shape[1] - prefix, :]
            q, k = (torch.cat([t[:, :, :prefix], apply_rot_embed_cat(
                t[:, :, prefix:], rope, half=self.rotate_half)], dim=2).type_as(v) for t in (q, k))
        if k.shape[1] != q.shape[1]:
            k, v = (t.repeat_interleave(q.shape[1] // t.shape[1], dim=1) for t in (k, v))
        return q, k, v

    def project(self, y: Tensor, x: Tensor) -> Tensor:
        """Mixed values (B, L, H·D) through norm, gate and output projection; ``x`` is the input."""
        y = self.norm(y) if getattr(self, 'norm', None) is not None else y
        if getattr(self, 'gate', None) is not None:
            y = y * self.gate(x).sigmoid()
        return self.proj_drop(self.proj(y))

    def layout(self, attn_mask: TokenLayout | Tensor | None, is_causal: bool) -> TokenLayout:
        """Layout of the tokens, from a layout or from a mask alone.

        Raises:
            ValueError: causality is asked for, or a mask of a module without :attr:`MASKS`.
        """
        given = attn_mask if isinstance(attn_mask, TokenLayout) else TokenLayout(seen=attn_mask)
        if is_causal or given.seen is not None and not self.MASKS:
            raise ValueError(f'{type(self).__name__} over images takes no mask and is not causal')
        return given
