"""Adventurer: a causal, linear-time vision backbone on Mamba-2."""
from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn as nn
from timm.layers import DropPath
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mmvitlin.errors import CheckpointError
from mmvitlin.models.backbones.base import Tokens
from mmvitlin.models.backbones.scanned import ScannedBackbone
from mmvitlin.models.layers import Mamba2, SwiGLU, resize_positions
from mmvitlin.ops import BlockWeights, block_weights, streamed_block_, trained_block
from mmvitlin.registry import MODELS


class AdventurerBlock(nn.Module):
    """Mamba-2 and SwiGLU with pre-norm and residuals.

    Args:
        embed_dims: Channels, C.
        reverse: Scan the patches from the last to the first; the class token stays last.
        drop_path: Probability that a sample skips a branch.
        mlp_ratio: Hidden width of the SwiGLU over C.
        mixer_cfg: Options of :class:`Mamba2`.

    Source: Adventurer (arXiv 2410.07599), section 3.
    """

    def __init__(self,
                 embed_dims: int,
                 reverse: bool = False,
                 drop_path: float = 0.,
                 mlp_ratio: float = 2.5,
                 mixer_cfg: dict | None = None):
        super().__init__()
        self.reverse = reverse
        self.norm = nn.RMSNorm(embed_dims, eps=1e-5)
        self.mixer = Mamba2(embed_dims, **(mixer_cfg or {}))
        self.norm_mlp = nn.RMSNorm(embed_dims, eps=1e-5)
        self.mlp = SwiGLU(embed_dims, int(mlp_ratio * embed_dims))
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def parameters_in_order(self) -> tuple[Tensor, ...]:
        """As :func:`mmvitlin.ops.block_weights` takes them."""
        mixer, mlp = self.mixer, self.mlp
        return (self.norm.weight, mixer.in_proj.weight, mixer.conv1d.weight, mixer.conv1d.bias,
                mixer.dt_bias, mixer.A_log, mixer.D, mixer.norm.weight, mixer.out_proj.weight,
                self.norm_mlp.weight, mlp.w1.weight, mlp.w1.bias, mlp.w2.weight, mlp.w2.bias,
                mlp.w3.weight, mlp.w3.bias)

    def weights(self, dtype: torch.dtype) -> BlockWeights:
        """Weights for :func:`mmvitlin.ops.streamed_block_`, matrices as ``dtype``."""
        return block_weights(self.parameters_in_order(), self.mixer.num_groups, self.norm.eps,
                             dtype)

    def trained(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """The forward pass tile by tile, with little kept for the backward pass."""
        scales = (None, None)
        if self.training and not isinstance(self.drop_path, nn.Identity):
            scales = tuple(self.drop_path(x.new_ones(len(x), 1, 1)) for _ in range(2))
        return trained_block(x, self.parameters_in_order(), self.mixer.num_groups, self.norm.eps,
                             self.reverse, dtype, scales)

    def _flip(self, x: Tensor) -> Tensor:
        return torch.cat([x[:, :-1].flip(1), x[:, -1:]], dim=1) if self.reverse else x

    def forward(self, x: Tensor) -> Tensor:
        """(B, L + 1, C), class token last, to the same."""
        y = self._flip(self.norm(x))
        y = torch.cat([y.mean(1, keepdim=True), y], dim=1)  # heading average
        y = self._flip(self.mixer(y)[:, 1:])
        x = x + self.drop_path(y)
        return x + self.drop_path(self.mlp(self.norm_mlp(x)))


@MODELS.register_module()
class Adventurer(ScannedBackbone):
    """Adventurer backbone.

    Each block scans the patches in raster order, some blocks in reverse, with the mean of
    all tokens put in front so that the first patches see the whole image; the class token
    comes last. Time and memory are linear in the number of patches. Parameter names are
    those of the released checkpoints.

    Args:
        arch: 'tiny', 'small', 'base', 'large', or dict(embed_dims=…, num_layers=…).
        img_size: Size (or (height, width)) the positions are learned at; any other size
            runs, with positions interpolated.
        patch_size: Side of a patch in pixels.
        out_type: See :class:`TokenBackbone`.
        out_indices: See :class:`TokenBackbone`.
        flip_schedule: 'alternate' reverses every other block (the paper), 'released'
            blocks 2 and 3 only (the released code and weights); or a list of block
            numbers.
        drop_path_rate: Stochastic depth at the last block, growing linearly from 0.
        mlp_ratio: Hidden width of the SwiGLU over C.
        mixer_cfg: Options of :class:`mmvitlin.models.layers.Mamba2`.
        with_cp: See :class:`TokenBackbone`.
        frozen_stages: See :class:`TokenBackbone`.
        init_cfg: See :class:`TokenBackbone`.

    Raises:
        ValueError: an architecture or schedule that is not known.

    Source: Adventurer (arXiv 2410.07599, CVPR 2025).
    """
    EXTRA_POSITIONS = 1  # the class token's
    RELEASED_REVERSED = (2, 3)  # blocks that the released weights scan from the end
    ARCHS = {
        'tiny': dict(embed_dims=256, num_layers=12),
        'small': dict(embed_dims=512, num_layers=12),
        'base': dict(embed_dims=768, num_layers=12),
        'large': dict(embed_dims=1024, num_layers=24),
    }

    def __init__(self,
                 arch: str | dict = 'base',
                 img_size: int | tuple[int, int] = 224,
                 patch_size: int = 16,
                 out_type: str = 'featmap',
                 out_indices: int | Sequence[int] = -1,
                 flip_schedule: str | Sequence[int] = 'alternate',
                 drop_path_rate: float = 0.,
                 mlp_ratio: float = 2.5,
                 mixer_cfg: dict | None = None,
                 with_cp: bool = False,
                 frozen_stages: int = -1,
                 init_cfg: dict | None = None):
        super().__init__(arch, img_size, patch_size, out_type=out_type, out_indices=out_indices,
                         with_cp=with_cp, frozen_stages=frozen_stages, init_cfg=init_cfg)
        dims, (height, width) = self.embed_dims, self.grid
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dims))
        self.pos_embed = nn.Parameter(torch.zeros(1, height * width + 1, dims))
        reversed_blocks = self._reversed_blocks(flip_schedule)
        self.layers = nn.ModuleList(
            AdventurerBlock(dims, i in reversed_blocks, rate, mlp_ratio, mixer_cfg)
            for i, rate in enumerate(self.drop_path_rates(drop_path_rate)))
        self.norm_f = nn.RMSNorm(dims, eps=1e-5)
        self._reset_parameters()
        self.freeze_stages()

    def _reversed_blocks(self, schedule: str | Sequence[int]) -> set[int]:
        if schedule == 'alternate':
            return set(range(1, self.num_layers, 2))
        if schedule == 'released':
            return set(self.RELEASED_REVERSED)
        if isinstance(schedule, str) or any(not 0 <= i < self.num_layers for i in schedule):
            raise ValueError(f"flip_schedule must be 'alternate', 'released' or block numbers "
                             f'below {self.num_layers}, got {schedule!r}')
        return set(schedule)

    def _reset_parameters(self) -> None:
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        for module in self.layers.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def describe(self) -> dict:
        """What a checkpoint must say of the network beside its weights."""
        return dict(super().describe(),
                    reversed_blocks=[i for i, layer in enumerate(self.layers) if layer.reverse])

    def heed(self, description: dict, source: str) -> None:
        """Take note of what a file says of its network before its weights are loaded.

        Raises:
            CheckpointError: its blocks scan in other directions than this network's.
        """
        super().heed(description, source)
        theirs, ours = description.get('reversed_blocks'), self.describe()['reversed_blocks']
        if theirs is not None and list(theirs) != ours:
            raise CheckpointError(f'{source} was trained with the blocks {list(theirs)} reversed, '
                                  f'this Adventurer reverses {ours}; set flip_schedule='
                                  f'{list(theirs)}')

    def forward_tokens(self,
                       images: Tensor,
                       layers: int | Sequence[int] = -1,
                       mask: Tensor | None = None) -> list[Tokens]:
        """See :meth:`TokenBackbone.forward_tokens`."""
        wanted = self.layer_indices(layers)
        streams, grid = self.forward_blocks(images, wanted, mask)
        found = {}
        for i in set(wanted):
            x = self.norm_f(streams[i]) if i == self.num_layers - 1 else streams[i]
            found[i] = Tokens(x[:, :-1], x[:, -1], grid)
        return [found[i] for i in wanted]

    def forward_blocks(self, images: Tensor, layers: Sequence[int], mask: Tensor | None = None
                       ) -> tuple[dict[int, Tensor], tuple[int, int]]:
        """The residual stream after each asked layer, and the grid of the patches.

        Args:
            images: (B, 3, H, W).
            layers: Numbers from 0.
            mask: See :meth:`forward_tokens`.

        Returns:
            Layer → (B, L + 1, C), the class token last, no final norm; (h, w).
        """
        patches, grid = self.patch_embed(images)
        patches = self.apply_mask(patches, mask)
        patches = patches + resize_positions(self.pos_embed[:, :-1], self.grid, grid)
        cls = (self.cls_token + self.pos_embed[:, -1:]).expand(images.shape[0], -1, -1)
        x = torch.cat([patches, cls], dim=1)
        tiled = self._can_tile(x)
        in_place = tiled and not torch.is_grad_enabled()
        deepest, found = max(layers), {}
        for i, layer in enumerate(self.layers[:deepest + 1]):
            if in_place:
                x = streamed_block_(x, layer.weights(self._compute_dtype(x)), layer.reverse)
            else:
                run = partial(layer.trained, dtype=self._compute_dtype(x)) if tiled else layer
                again = self.with_cp and self.training
                x = checkpoint(run, x, use_reentrant=False) if again else run(x)
            if i in layers:
                found[i] = x.clone() if in_place and i < deepest else x
        return found, grid

    def _can_tile(self, x: Tensor) -> bool:
        """Whether blocks may run tile by tile rather than module by module.

        On a CPU, with nobody looking into the blocks through hooks.
        """
        return (x.device.type == 'cpu' and not torch.compiler.is_compiling()
                and self.layers[0].mixer.backend in ('auto', 'torch')
                and not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks
                            for m in self.layers.modules()))

    @staticmethod
    def _compute_dtype(x: Tensor) -> torch.dtype:
        return torch.get_autocast_dtype('cpu') if torch.is_autocast_enabled('cpu') else x.dtype
