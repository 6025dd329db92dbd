"""A teacher that computes each image once."""
from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from mmvitlin.models.backbones import Tokens
from mmvitlin.models.teachers.feature_cache import FeatureCache
from mmvitlin.models.teachers.frozen_teacher import FrozenTeacher
from mmvitlin.registry import MODELS


@MODELS.register_module()
class CachedTeacher(FrozenTeacher):
    """A :class:`FrozenTeacher` that keeps its tokens on disk and reads them back.

    Args:
        cache: Folder, or options of :class:`FeatureCache`, such as dict(root=…, limit_gib=50,
            dtype='float16').
        **kwargs: See :class:`FrozenTeacher`.

    Attributes:
        cache: The :class:`FeatureCache`.
    """
    plain = False

    def __init__(self, *args, cache: str | Path | dict, **kwargs):
        super().__init__(*args, **kwargs)
        options = dict(cache) if isinstance(cache, dict) else dict(root=cache)
        if isinstance(options.get('dtype'), str):
            options['dtype'] = getattr(torch, options['dtype'])
        self.cache = FeatureCache(**options)

    def _tokens(self, images: Tensor, layers: tuple[int, ...], grid: tuple[int, int]
                ) -> list[Tokens]:
        compute = partial(super()._tokens, layers=layers, grid=grid)
        variant = f'on {grid}' if self.scale > 1 else ''  # kept averaged, which takes less room
        return self.cache.tokens(self.network, images, layers, compute, variant)
