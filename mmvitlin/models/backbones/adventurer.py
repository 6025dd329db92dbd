"""Adventurer: a causal, linear-time vision backbone on Mamba-2."""
from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn as nn
from timm.layers import DropPath
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mmvitlin.models.backbones.base import Tokens
from mmvitlin.models.backbones.scanned import ScannedBackbone
from mmvitlin.models.backbones.token_stream import TokenStream
from mmvitlin.models.layers import Mamba2, SwiGLU, resize_positions
from mmvitlin.models.utils import LoadReport, load_backbone
from mmvitlin.models.utils.watching import is_hooked, show
from mmvitlin.ops import BlockWeights, block_weights, streamed_block_, trained_block
from mmvitlin.registry import MODELS
from mmvitlin.utils.errors import CheckpointError


class AdventurerBlock(nn.Module):
    """Mamba-2 and SwiGLU with pre-norm and residuals.

    Args:
        embed_dims: Channels, C.
        reverse: Scan the patches from the last to the first; the class token stays last.
        drop_path: Probability that a sample skips a branch.
        mlp_ratio: Hidden width of the SwiGLU over C.
        mixer_cfg: Options of :class:`Mamba2`.
        columns: Scan the patches column by column rather than row by row.
        mlp_conv: See :class:`SwiGLU`, ``conv_kernel``.

    Source: Adventurer (arXiv 2410.07599), section 3; the options of columns and convolution are
    not in it.
    """

    def __init__(self,
                 embed_dims: int,
                 reverse: bool = False,
                 drop_path: float = 0.,
                 mlp_ratio: float = 2.5,
                 mixer_cfg: dict | None = None,
                 columns: bool = False,
                 mlp_conv: int = 0):
        super().__init__()
        self.reverse, self.columns = reverse, columns
        self.norm = nn.RMSNorm(embed_dims, eps=1e-5)
        self.mixer = Mamba2(embed_dims, **(mixer_cfg or {}))
        self.norm_mlp = nn.RMSNorm(embed_dims, eps=1e-5)
        self.mlp = SwiGLU(embed_dims, int(mlp_ratio * embed_dims), mlp_conv)
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

    def streamed(self, x: Tensor, dtype: torch.dtype, grid: tuple[int, int] | None = None
                 ) -> Tensor:
        """The forward pass for inference, tile by tile; may overwrite ``x``."""
        run = streamed_block_(self._along(x, grid), self.weights(dtype), self.reverse,
                              behind=_behind(x, grid))
        return self._back(run, grid)

    def trained(self, x: Tensor, dtype: torch.dtype, grid: tuple[int, int] | None = None
                ) -> Tensor:
        """The forward pass tile by tile, with little kept for the backward pass."""
        scales = (None, None)
        if self.training and not isinstance(self.drop_path, nn.Identity):
            scales = tuple(self.drop_path(x.new_ones(len(x), 1, 1)) for _ in range(2))
        y = trained_block(self._along(x, grid), self.parameters_in_order(), self.mixer.num_groups,
                          self.norm.eps, self.reverse, dtype, scales, behind=_behind(x, grid))
        return self._back(y, grid)

    def _along(self, x: Tensor, grid: tuple[int, int] | None) -> Tensor:
        """Patches row by row to the order of the axis that is scanned."""
        return _transposed(x, grid) if self.columns else x

    def _back(self, x: Tensor, grid: tuple[int, int] | None) -> Tensor:
        """The reverse of :meth:`_along`."""
        return _transposed(x, grid[::-1]) if self.columns else x

    def _in_order(self, x: Tensor, patches: int) -> tuple[Tensor, ...]:
        """Parts of the tokens that follow each other in the scan, or do so again."""
        return (x[:, :patches].flip(1), x[:, patches:]) if self.reverse else (x, )

    def forward(self, x: Tensor, grid: tuple[int, int] | None = None) -> Tensor:
        """(B, L + n, C), patches first, to the same; what is behind them is scanned last.

        Args:
            x: Patches row by row, and behind them the class token and any queries of a head.
            grid: (h, w) of the patches; without it, all tokens but the last are patches in a row.
        """
        patches = x.shape[1] - 1 if grid is None else grid[0] * grid[1]
        y = self._along(self.norm(x), grid)
        y = torch.cat([y.mean(1, keepdim=True), *self._in_order(y, patches)], dim=1)
        y = self.mixer(y)[:, 1:]  # without the heading average
        y = torch.cat(self._in_order(y, patches), dim=1) if self.reverse else y
        x = x + self.drop_path(self._back(y, grid))
        return x + self.drop_path(self.mlp(self.norm_mlp(x), grid))


def _behind(x: Tensor, grid: tuple[int, int] | None) -> int:
    """Number of tokens of (B, N, C) that follow the patches."""
    return 1 if grid is None else x.shape[1] - grid[0] * grid[1]


def _transposed(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, h·w + n, C), row by row over a grid (h, w), to column by column; the n last stay."""
    count = grid[0] * grid[1]
    patches = x[:, :count].unflatten(1, grid).transpose(1, 2).flatten(1, 2)
    return torch.cat([patches, x[:, count:]], dim=1)


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
        scan_axes: 'rows' scans every block row by row, as the paper does; 'alternate' scans two
            blocks along rows and two along columns in turn, so that with alternating reversal
            all four directions follow each other; or a list of the blocks that scan columns.
        mlp_conv: Side of a depthwise convolution over the patch grid in the SwiGLU, see
            :class:`mmvitlin.models.layers.SwiGLU`; 0 for none. It starts as the identity, so
            weights without it load and compute the same. Blocks with one run module by module
            on a CPU, not tile by tile.
        with_cp: See :class:`TokenBackbone`.
        frozen_stages: See :class:`TokenBackbone`.
        init_cfg: See :class:`TokenBackbone`.

    Raises:
        ValueError: an architecture or schedule that is not known.

    Source: Adventurer (arXiv 2410.07599, CVPR 2025).
    """
    STREAMS = True
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
                 scan_axes: str | Sequence[int] = 'rows',
                 mlp_conv: int = 0,
                 with_cp: bool = False,
                 frozen_stages: int = -1,
                 init_cfg: dict | None = None):
        super().__init__(arch, img_size, patch_size, out_type=out_type, out_indices=out_indices,
                         with_cp=with_cp, frozen_stages=frozen_stages, init_cfg=init_cfg)
        dims, (height, width) = self.embed_dims, self.grid
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dims))
        self.pos_embed = nn.Parameter(torch.zeros(1, height * width + 1, dims))
        reversed_blocks = self._blocks_of('flip_schedule', flip_schedule, dict(
            alternate=range(1, self.num_layers, 2), released=self.RELEASED_REVERSED))
        columns = self._blocks_of('scan_axes', scan_axes, dict(
            rows=(), alternate=[i for i in range(self.num_layers) if i % 4 > 1]))
        self.layers = nn.ModuleList(
            AdventurerBlock(dims, i in reversed_blocks, rate, mlp_ratio, mixer_cfg, i in columns,
                            mlp_conv)
            for i, rate in enumerate(self.drop_path_rates(drop_path_rate)))
        self.norm_f = nn.RMSNorm(dims, eps=1e-5)
        self._reset_parameters()
        self.freeze_stages()

    def _blocks_of(self, key: str, schedule: str | Sequence[int],
                   named: dict[str, Sequence[int]]) -> set[int]:
        """Numbers of the blocks of a schedule."""
        if isinstance(schedule, str) and schedule in named:
            return set(named[schedule])
        if isinstance(schedule, str) or any(not 0 <= i < self.num_layers for i in schedule):
            raise ValueError(f'{key} must be {", ".join(map(repr, named))} or block numbers below '
                             f'{self.num_layers}, got {schedule!r}')
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
        """Description of the network for a checkpoint, beside its weights."""
        return dict(super().describe(),
                    reversed_blocks=[i for i, layer in enumerate(self.layers) if layer.reverse],
                    column_blocks=[i for i, layer in enumerate(self.layers) if layer.columns])

    def check_description(self, description: dict, source: str) -> None:
        """Refuse a file by the description of its network.

        Raises:
            CheckpointError: its blocks scan in other directions than this network's.
        """
        if 'reversed_blocks' not in description:
            return
        own = self.describe()
        for key, option, done in (('reversed_blocks', 'flip_schedule', 'reversed'),
                                  ('column_blocks', 'scan_axes', 'along columns')):
            blocks = list(description.get(key, ()))  # files from before columns scan rows
            if blocks != own[key]:
                raise CheckpointError(f'{source} was trained with the blocks {blocks} {done}, this '
                                      f'Adventurer has {own[key]} {done}; set {option}={blocks}')

    def load_weights(self, path: str, prefix: str | None = None) -> LoadReport:
        """See :class:`TokenBackbone`; convolutions that the file does not have keep their start."""
        def with_convolutions(state: dict[str, Tensor]) -> dict[str, Tensor]:
            if not any('.mlp.conv.' in key for key in state):
                state = {k: v for k, v in self.state_dict().items() if '.mlp.conv.' in k} | state
            return state

        return load_backbone(self, path, prefix, transform=with_convolutions)

    def forward_tokens(self,
                       images: Tensor,
                       layers: int | Sequence[int] = -1,
                       mask: Tensor | None = None) -> list[Tokens]:
        """See :meth:`TokenBackbone.forward_tokens`."""
        indices = self.layer_indices(layers)
        streams, grid = self.forward_blocks(images, indices, mask)
        tokens = {}
        for i in set(indices):
            x = self.norm_f(streams[i]) if i == self.num_layers - 1 else streams[i]
            tokens[i] = Tokens(x[:, :-1], x[:, -1], grid)
        return [tokens[i] for i in indices]

    def forward_blocks(self, images: Tensor, layers: Sequence[int], mask: Tensor | None = None
                       ) -> tuple[dict[int, Tensor], tuple[int, int]]:
        """The residual stream after each of the layers, and the grid of the patches.

        Args:
            images: (B, 3, H, W).
            layers: Numbers from 0.
            mask: See :meth:`forward_tokens`.

        Returns:
            Layer → (B, L + 1, C), the class token last, no final norm; (h, w).
        """
        x, grid = self._embed(images, mask)
        deepest, streams = max(layers), {}
        for i in range(deepest + 1):
            x = self.run_layer(i, x, grid)
            if i in layers:
                streams[i] = x.clone() if self._in_place(x) and i < deepest else x
        return streams, grid

    def _embed(self, images: Tensor, mask: Tensor | None = None
               ) -> tuple[Tensor, tuple[int, int]]:
        """All tokens before the first layer, and the grid of the patches."""
        patches, grid = self.patch_embed(images)
        patches = self.apply_mask(patches, mask)
        patches = patches + resize_positions(self.pos_embed[:, :-1], self.grid, grid)
        cls = (self.cls_token + self.pos_embed[:, -1:]).expand(images.shape[0], -1, -1)
        return torch.cat([patches, cls], dim=1), grid

    def run_layer(self, index: int, tokens: Tensor, grid: tuple[int, int],
                  rope: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """See :meth:`TokenBackbone.run_layer`; a scan takes no mask."""
        layer, in_place = self.layers[index], self._in_place(tokens)
        run, tiled = partial(layer, grid=grid), self._can_tile(tokens)
        if tiled:
            tiles = layer.streamed if in_place else layer.trained
            run = partial(tiles, dtype=self._compute_dtype(tokens), grid=grid)
        recompute = self.with_cp and self.training and not in_place
        tokens = checkpoint(run, tokens, use_reentrant=False) if recompute else run(tokens)
        if tiled:
            show(layer, tokens)
        return tokens

    def forward_stream(self, images: Tensor, layer: int) -> TokenStream:
        """See :meth:`TokenBackbone.forward_stream`."""
        x, grid = self._embed(images)
        for i in range(layer):
            x = self.run_layer(i, x, grid)
        return TokenStream(x, grid, layer, self)

    def join_queries(self, stream: TokenStream, queries: Tensor) -> TokenStream:
        """See :meth:`TokenBackbone.join_queries`.

        Queries come last, where the scans of both directions have passed every patch; patches see
        of them only the mean token in front.
        """
        return stream._replace(tokens=torch.cat([stream.tokens, queries], dim=1),
                               num_queries=queries.shape[1])

    def split_queries(self, stream: TokenStream) -> tuple[Tensor, Tensor]:
        """See :meth:`TokenBackbone.split_queries`."""
        x, patches = self.norm_f(stream.tokens), stream.grid[0] * stream.grid[1]
        return x[:, patches + self.EXTRA_POSITIONS:], x[:, :patches]

    def _in_place(self, x: Tensor) -> bool:
        """Whether layers write over the tokens that they are given."""
        return not torch.is_grad_enabled() and self._can_tile(x)

    def _can_tile(self, x: Tensor) -> bool:
        """Whether blocks may run tile by tile rather than module by module.

        On a CPU, without hooks in the blocks and without a convolution that reads across the edges
        of a tile.
        """
        return (x.device.type == 'cpu' and not torch.compiler.is_compiling()
                and not torch.jit.is_tracing() and self.layers[0].mlp.conv is None
                and self.layers[0].mixer.backend in ('auto', 'torch')
                and not is_hooked(self.layers))

    @staticmethod
    def _compute_dtype(x: Tensor) -> torch.dtype:
        return torch.get_autocast_dtype('cpu') if torch.is_autocast_enabled('cpu') else x.dtype
