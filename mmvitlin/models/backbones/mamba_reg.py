"""Mamba-Reg: Mamba-1 in both directions, with registers among the patches."""
from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn as nn
from timm.layers import DropPath
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mmvitlin.models.backbones.base import Tokens
from mmvitlin.models.backbones.scanned import ScannedBackbone
from mmvitlin.models.layers import BiMamba, resize_positions
from mmvitlin.registry import MODELS


class MambaRegBlock(nn.Module):
    """A mixer with pre-norm and residual; there is no MLP.

    Args:
        embed_dims: Channels, C.
        drop_path: Probability that a sample skips the block.
        mixer_cfg: Options of :class:`BiMamba`.
    """

    def __init__(self, embed_dims: int, drop_path: float = 0., mixer_cfg: dict | None = None):
        super().__init__()
        self.norm = nn.RMSNorm(embed_dims, eps=1e-5)
        self.mixer = BiMamba(embed_dims, **(mixer_cfg or {}))
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, C) to the same."""
        return x + self.drop_path(self.mixer(self.norm(x)))


@MODELS.register_module()
class MambaReg(ScannedBackbone):
    """Mamba-Reg backbone.

    Registers stand between the patches at equal distances and collect global information. Time and
    memory are linear in the number of patches. Parameter names are those of the released
    checkpoints, which :meth:`load_weights` and ``tools/convert_checkpoint.py`` read.

    The class token of :class:`Tokens` is the mean of the registers; with ``out_type='cls_token'``
    :meth:`forward` returns what the released classifiers take, all of them, made narrower and
    side by side: (B, :attr:`pooled_dims`).

    Args:
        arch: 'tiny', 'small', 'base', 'large', or dict(embed_dims=…, num_layers=…,
            num_registers=…, reduce=…), the last being the factor by which registers are made
            narrower for the classifier.
        img_size: Size (or (height, width)) the positions are learned at; any other size
            runs, with positions interpolated.
        patch_size: Side of a patch in pixels.
        out_type: See :class:`TokenBackbone`.
        out_indices: See :class:`TokenBackbone`.
        drop_path_rate: Stochastic depth at the last block, growing linearly from 0.
        mixer_cfg: Options of :class:`mmvitlin.models.layers.BiMamba`.
        with_cp: See :class:`TokenBackbone`.
        frozen_stages: See :class:`TokenBackbone`.
        init_cfg: See :class:`TokenBackbone`.

    Raises:
        ValueError: an architecture that is not known; 'cls_token' of another layer than the last.

    Source: Mamba-Reg (arXiv 2405.14858, CVPR 2025).
    """
    ARCHS = {
        'tiny': dict(embed_dims=192, num_layers=24, num_registers=12, reduce=1),
        'small': dict(embed_dims=384, num_layers=24, num_registers=12, reduce=2),
        'base': dict(embed_dims=768, num_layers=24, num_registers=12, reduce=4),
        'large': dict(embed_dims=1024, num_layers=48, num_registers=16, reduce=8),
    }

    def __init__(self,
                 arch: str | dict = 'base',
                 img_size: int | tuple[int, int] = 224,
                 patch_size: int = 16,
                 out_type: str = 'featmap',
                 out_indices: int | Sequence[int] = -1,
                 drop_path_rate: float = 0.,
                 mixer_cfg: dict | None = None,
                 with_cp: bool = False,
                 frozen_stages: int = -1,
                 init_cfg: dict | None = None):
        super().__init__(arch, img_size, patch_size, out_type=out_type, out_indices=out_indices,
                         with_cp=with_cp, frozen_stages=frozen_stages, init_cfg=init_cfg)
        if out_type == 'cls_token' and set(self.out_indices) != {self.num_layers - 1}:
            raise ValueError("out_type='cls_token' is of the last layer; the classifier's norm "
                             'knows no other')
        dims, count, reduce = self.embed_dims, self.arch['num_registers'], self.arch['reduce']
        self.num_registers = count
        self.pos_embed = nn.Parameter(torch.zeros(1, self.grid[0] * self.grid[1], dims))
        self.cls_token = nn.Parameter(torch.zeros(1, count, dims))
        self.pos_embed_cls = nn.Parameter(torch.zeros(1, count, dims))
        self.layers = nn.ModuleList(MambaRegBlock(dims, rate, mixer_cfg)
                                    for rate in self.drop_path_rates(drop_path_rate))
        self.norm_f = nn.RMSNorm(dims, eps=1e-5)
        self.pooled_dims = count * (dims // reduce)
        if reduce > 1 and out_type == 'cls_token':
            self.neck = nn.Linear(dims, dims // reduce, bias=False)
            self.norm_neck = nn.RMSNorm(self.pooled_dims, eps=1e-5)
        self._reset_parameters()
        self.freeze_stages()

    def _reset_parameters(self) -> None:
        for parameter in (self.pos_embed, self.cls_token, self.pos_embed_cls):
            nn.init.trunc_normal_(parameter, std=0.02)
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear) and 'dt_proj' not in name:
                nn.init.trunc_normal_(module.weight, std=0.02)
        with torch.no_grad():
            for layer in self.layers:  # the sum over blocks keeps its size
                layer.mixer.out_proj.weight.div_(self.num_layers**0.5)

    def forward_tokens(self,
                       images: Tensor,
                       layers: int | Sequence[int] = -1,
                       mask: Tensor | None = None) -> list[Tokens]:
        """See :meth:`TokenBackbone.forward_tokens`; ``cls`` is the mean of the registers."""
        indices = self.layer_indices(layers)
        outputs, grid = self._run(images, indices, mask)
        return [Tokens(outputs[i][0], outputs[i][1].mean(1), grid) for i in indices]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) to a tuple over ``out_indices``, as ``out_type`` says."""
        if self.out_type != 'cls_token':
            return super().forward(images)
        outputs, _ = self._run(images, self.out_indices, None)
        return tuple(self.pool(outputs[i][1]) for i in self.out_indices)

    def pool(self, registers: Tensor) -> Tensor:
        """Registers (B, R, C) of the last layer to what a classifier takes, (B, pooled_dims)."""
        if not hasattr(self, 'neck'):
            return registers.flatten(1)
        return self.norm_neck(self.neck(registers).flatten(1))

    def _run(self, images: Tensor, layers: Sequence[int], mask: Tensor | None
             ) -> tuple[dict[int, tuple[Tensor, Tensor]], tuple[int, int]]:
        """Patches (B, L, C) and registers (B, R, C) after each of the layers; the grid."""
        patches, grid = self.patch_embed(images)
        patches = self.apply_mask(patches, mask)
        patches = patches + resize_positions(self.pos_embed, self.grid, grid)
        registers = (self.cls_token + self.pos_embed_cls).expand(images.shape[0], -1, -1)
        count, stride = self.num_registers, patches.shape[1] // (self.num_registers + 1)
        pieces = []
        for n in range(count):
            pieces += [patches[:, n * stride:(n + 1) * stride], registers[:, n:n + 1]]
        x = torch.cat([*pieces, patches[:, count * stride:]], dim=1)
        order = torch.arange(patches.shape[1], device=x.device)
        kept = order + (order // stride).clamp(max=count) if stride else order + count
        places = torch.arange(count, device=x.device) * (stride + 1) + stride
        outputs = {}
        for i, layer in enumerate(self.layers[:max(layers) + 1]):
            recompute = self.with_cp and self.training
            x = checkpoint(layer, x, use_reentrant=False) if recompute else layer(x)
            if i in layers:
                y = self.norm_f(x) if i == self.num_layers - 1 else x
                outputs[i] = y.index_select(1, kept), y.index_select(1, places)
        return outputs, grid
