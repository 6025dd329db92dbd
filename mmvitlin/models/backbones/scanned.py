"""Base of the scanning backbones: a table of sizes, positions learned on one grid."""
from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch.nn as nn

from mmvitlin.models.backbones.base import TokenBackbone
from mmvitlin.models.layers import PatchEmbed, fit_loaded_positions


class ScannedBackbone(TokenBackbone):
    """Base of backbones of equal ``layers`` over patches with learned ``pos_embed``.

    Subclasses name their sizes in :attr:`ARCHS`, build ``pos_embed``, ``layers`` and ``norm_f``,
    and call :meth:`freeze_stages` in the end. Positions of a checkpoint that were learned on
    another grid are interpolated while it is loaded.

    Args:
        arch: A name in :attr:`ARCHS`, or a dict of the keys that its entries have.
        img_size: Size (or (height, width)) the positions are learned at.
        patch_size: Side of a patch in pixels.
        common: Arguments of :class:`TokenBackbone`.

    Attributes:
        arch: The dict.
        grid: (h, w) that the positions are learned on.

    Raises:
        ValueError: an architecture that is not known.
    """
    ARCHS: ClassVar[dict[str, dict[str, int]]]
    EXTRA_POSITIONS: ClassVar[int] = 0  # rows of pos_embed behind those of the patches
    layers: nn.ModuleList
    pos_embed: nn.Parameter

    def __init__(self, arch: str | dict, img_size: int | tuple[int, int], patch_size: int,
                 **common):
        super().__init__(**common)
        self.arch = self._arch_of(arch)
        self.embed_dims, self.num_layers = self.arch['embed_dims'], self.arch['num_layers']
        self.patch_size = patch_size
        _ = self.first_query_layer  # raises where there is none
        height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
        self.grid = (max(height // patch_size, 1), max(width // patch_size, 1))
        self.patch_embed = PatchEmbed(self.embed_dims, patch_size)
        self.register_load_state_dict_pre_hook(self._resize_loaded_positions)

    @classmethod
    def _arch_of(cls, arch: str | dict) -> dict[str, int]:
        keys = list(cls.ARCHS['base'])
        if isinstance(arch, str):
            if arch not in cls.ARCHS:
                raise ValueError(f"unknown {cls.__name__} arch '{arch}'; choose one of "
                                 f"{sorted(cls.ARCHS)} or give dict({', '.join(keys)})")
            arch = cls.ARCHS[arch]
        if set(arch) != set(keys):
            raise ValueError(f'arch as a dict needs the keys {keys}, got {sorted(arch)}')
        if min(arch.values()) < 1:
            raise ValueError(f'every number of arch must be positive, got {arch}')
        return dict(arch)

    def blocks(self) -> nn.ModuleList:
        """The layers, in order."""
        return self.layers

    def drop_path_rates(self, last: float) -> Sequence[float]:
        """Stochastic depth of each layer, growing linearly from 0."""
        return [last * i / max(self.num_layers - 1, 1) for i in range(self.num_layers)]

    def describe(self) -> dict:
        """Description of the network for a checkpoint, beside its weights."""
        return dict(grid=list(self.grid))

    @staticmethod
    def _resize_loaded_positions(self, state_dict, prefix, local_metadata, *_) -> None:
        """Fit positions learned at another size, square unless the file said otherwise; see
        :func:`mmvitlin.models.utils.checkpoint.with_description`."""
        old = local_metadata.get('description', {}).get('grid')
        fit_loaded_positions(state_dict, prefix + 'pos_embed', self.pos_embed, self.grid, old,
                             last=self.EXTRA_POSITIONS)
