"""A network that teaches and leaves no trace."""
from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmengine.dist import get_world_size
from torch import Tensor

from mmvitlin.device import warn_of_imitation
from mmvitlin.models.backbones import TimmViT, TokenBackbone, Tokens
from mmvitlin.models.distillers.feature_cache import FeatureCache
from mmvitlin.models.distillers.mm_tokens import MMBackboneTokens
from mmvitlin.models.utils import read_state_dict
from mmvitlin.registry import MODELS

_HALF = {'bf16': torch.bfloat16, 'fp16': torch.float16}


class FrozenNetwork(nn.Module):
    """Holds a network outside of everything that is trained or saved.

    It is in no state dict, no optimiser, no EMA copy and no DDP bucket, but it moves with
    ``.to()``, and is always in eval mode.

    Args:
        network: To be frozen.

    Attributes:
        network: The same.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.__dict__['network'] = network.eval().requires_grad_(False)

    def _apply(self, fn, recurse=True):
        self.network._apply(fn)
        return super()._apply(fn, recurse)

    def __deepcopy__(self, memo):
        return self

    def train(self, mode: bool = True) -> FrozenNetwork:
        """Stays in eval mode."""
        return super().train(False)


@MODELS.register_module()
class FrozenTeacher(FrozenNetwork):
    """A frozen backbone whose tokens are asked for.

    It runs without gradients, re-normalises
    what the student's data preprocessor normalised, and resizes its input so that its
    token grid equals the student's when their patch sizes differ.

    Args:
        backbone: Config of a ``mmvitlin.TimmViT`` or any :class:`TokenBackbone`, or of an
            mmpretrain Vision Transformer.
        checkpoint: Weights of the backbone: a file this toolkit, timm or mmpretrain wrote.
            None keeps what ``backbone`` itself loads (``pretrained=True``).
        prefix: Prefix of the backbone's keys in the checkpoint; None finds 'backbone.'.
        mean: Channel means of the teacher's normalisation, 0–255 as in a data
            preprocessor. None: those of the timm model where the weights are its makers' (by
            name or from a file), the student's where an OpenMMLab run wrote them
            (keys ``backbone.*``) or there are none.
        std: Channel deviations, likewise.

    Attributes:
        network: The frozen backbone.
        norm: (mean, std) of its normalisation as tensors (3,), or None for the student's.

    Raises:
        ValueError: the normalisation is not in the 0–255 range, or only half given; the precision
            is not known; sharded and compiled or cached, or sharded and no softmax ViT.
        TypeError: the backbone yields no tokens on one grid.
        RuntimeError: the checkpoint does not fit.
    """

    def __init__(self,
                 backbone: dict,
                 checkpoint: str | None = None,
                 prefix: str | None = None,
                 mean: Sequence[float] | None = None,
                 std: Sequence[float] | None = None,
                 precision: str | None = None,
                 compiled: bool = False,
                 shard: bool = False,
                 cache: str | dict | None = None):
        if precision not in (None, *_HALF):
            raise ValueError(f"teacher: precision is None or one of {list(_HALF)}, not "
                             f"'{precision}'")
        network = MODELS.build(backbone)
        if not isinstance(network, TokenBackbone):
            network = MMBackboneTokens(network)
        if checkpoint is not None:
            network.load_weights(checkpoint, prefix)
        elif getattr(network, 'init_cfg', None):
            network.init_weights()
        if (mean is None) != (std is None):
            raise ValueError('teacher: give mean and std together, or neither')
        if mean is None and isinstance(network, TimmViT) and _by_its_makers(backbone, checkpoint):
            mean, std = network.mean, network.std
        self._check_scale(mean, std)
        if shard and (compiled or cache or not isinstance(network, TimmViT)
                      or set(network.attention) != {'softmax'}):
            raise ValueError('teacher: shard=True is for a mmvitlin.TimmViT with softmax attention '
                             'that is neither compiled nor cached')
        dtype = _HALF.get(precision)
        if not torch.cuda.is_available():
            warn_of_imitation(f'model.teacher.precision={precision}', dtype, 'cpu')
        super().__init__(network.to(dtype=dtype))
        self._dtype, self._shard = dtype, shard
        self.__dict__['cache'] = _make_cache(cache)
        forward = torch.compile(network.forward_tokens) if compiled else None
        self.__dict__['_compiled'] = forward
        self.__dict__['norm'] = None if mean is None else tuple(
            torch.tensor(values, device='cpu') for values in (mean, std))

    @staticmethod
    def _check_scale(mean, std) -> None:
        if std is None:
            return
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise ValueError(f'teacher: mean and std need three values each and std > 0, got '
                             f'mean={mean}, std={std}')
        if max(std) <= 1.5:
            raise ValueError(f'teacher: std={tuple(std)} looks like the 0–1 scale; give mean and '
                             'std in 0–255 as the data preprocessor does (times 255)')

    @property
    def plain(self) -> bool:
        """Whether the network runs on every image, as it was built."""
        return self.cache is None and self._compiled is None and self._dtype is None

    @property
    def embed_dims(self) -> int:
        """Width of the teacher's tokens."""
        return self.network.embed_dims

    @property
    def num_layers(self) -> int:
        """Depth of the teacher."""
        return self.network.num_layers

    def _renormalise(self, images: Tensor, mean: Tensor | None, std: Tensor | None) -> Tensor:
        if self.norm is None or mean is None:
            return images
        if self.norm[0].device != images.device:  # once: a copy from the CPU waits for the GPU
            self.__dict__['norm'] = tuple(v.to(images.device) for v in self.norm)
        own_mean, own_std = (v.to(images.dtype).view(-1, 1, 1) for v in self.norm)
        mean, std = mean.to(images).view(-1, 1, 1), std.to(images).view(-1, 1, 1)
        return (images * std + (mean - own_mean)) / own_std

    @torch.no_grad()
    def forward_tokens(self,
                       images: Tensor,
                       layers: int | Sequence[int],
                       grid: tuple[int, int],
                       mean: Tensor | None = None,
                       std: Tensor | None = None) -> list[Tokens]:
        """Teacher tokens on the student's grid.

        Args:
            images: As the student gets them, padded to whole student patches.
            layers: Layers asked for.
            grid: The student's (h, w).
            mean: Means that the images were normalised with (0–255), or None.
            std: Deviations, likewise.

        Returns:
            One :class:`Tokens` a layer, every one of grid (h, w).
        """
        images = self._renormalise(images, mean, std)
        size = tuple(side * self.network.patch_size for side in grid)
        if tuple(images.shape[-2:]) != size:
            images = F.interpolate(images.float(), size, mode='bicubic', antialias=True,
                                   align_corners=False).to(images.dtype)
        if self._shard and get_world_size() > 1:
            self._deal_out(images.device)
        if self.cache is None:
            return self._compute(images, layers)
        layers = (layers, ) if isinstance(layers, int) else tuple(layers)
        return self.cache.tokens(self.network, images, layers,
                                 lambda some: self._compute(some, layers))

    def _compute(self, images: Tensor, layers: int | Sequence[int]) -> list[Tokens]:
        forward = self._compiled or self.network.forward_tokens
        if self._dtype is None:
            return forward(images, layers)
        with torch.autocast(images.device.type, enabled=False):
            return forward(images.to(self._dtype), layers)

    def _deal_out(self, device: torch.device) -> None:
        """Shard the blocks, once, where the network has come to."""
        from torch.distributed.device_mesh import init_device_mesh  # not in every build of torch
        from torch.distributed.fsdp import fully_shard
        self._shard = False
        mesh = init_device_mesh(device.type, (get_world_size(), ))
        for block in self.network.blocks():
            fully_shard(block, mesh=mesh, reshard_after_forward=True)


def _make_cache(cache: str | dict | None) -> FeatureCache | None:
    if not cache:
        return None
    told = dict(root=cache) if isinstance(cache, str) else dict(cache)
    if isinstance(told.get('dtype'), str):
        told['dtype'] = getattr(torch, told['dtype'])
    return FeatureCache(**told)


def _by_its_makers(backbone: dict, checkpoint: str | None) -> bool:
    """Whether the weights come from whoever trained the timm model, not from a run of ours."""
    file = checkpoint or backbone.get('checkpoint')
    if file is None:
        return bool(backbone.get('pretrained'))
    return not any(key.startswith('backbone.') for key in read_state_dict(file, prefix=''))
