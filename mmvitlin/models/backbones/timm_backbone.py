"""timm's networks as students: their features as tokens on one grid."""
from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib import import_module

import timm
import torch
import torch.nn as nn
import torch.nn.functional as F
from timm.layers import LayerNorm2d
from torch import Tensor

from mmvitlin.models.backbones.base import TokenBackbone, Tokens
from mmvitlin.models.backbones.timm_models import create, nearest, weights_filter
from mmvitlin.models.layers import pad_to_patches
from mmvitlin.models.utils import LoadReport, load_backbone
from mmvitlin.registry import MODELS

_STEMS = ('stem', 'patch_embed')
_HEADS = ('head', 'fc', 'classifier', 'fc_norm', 'head_drop', 'global_pool', 'conv_head', 'bn2',
          'norm_head')


@MODELS.register_module()
class TimmBackbone(TokenBackbone):
    """ConvNeXt, MLP-Mixer, Swin, MambaOut … of timm, for distillation and dense prediction.

    The *layers* are what timm lists as the network's features: the stages of a hierarchical
    network, the blocks of one of equal width. Maps of earlier stages are averaged down to the grid
    of the last, so that all layers have the same tokens, and each keeps its width; ``embed_dims``
    is the last one's. Where that grid is coarser than the teacher's patches are, timm's
    ``output_stride`` makes it finer (``model_kwargs=dict(output_stride=16)`` of a ConvNeXt).
    There is no class token. Vision Transformers go by :class:`TimmViT`.

    The last layer's output is after the network's final norm where it has one on maps (ConvNeXt's,
    which timm keeps in its head, included), and after the neck of SAM's encoder, with its width.

    Masked patches are replaced after the stem, at its stride, by a learned token of its width.

    Args:
        model_name: A name of timm's, or one of its classes as 'mlp_mixer.MlpMixer', which
            ``model_kwargs`` then describe wholly.
        pretrained: Load timm's weights.
        img_size: (height, width) for networks that are made for one size, such as mixers.
        model_kwargs: More for timm.
        **kwargs: See :class:`TokenBackbone`.

    Raises:
        ValueError: timm does not know the name.
        ConfigError: the weights are not available.
        TypeError: timm gives no intermediate features for it.

    Source: Wightman, PyTorch Image Models.
    """
    has_cls = False

    def __init__(self,
                 model_name: str,
                 pretrained: bool = False,
                 img_size: int | Sequence[int] | None = None,
                 model_kwargs: dict | None = None,
                 **kwargs):
        super().__init__(**kwargs)
        size = {} if img_size is None else dict(
            img_size=(img_size, ) * 2 if isinstance(img_size, int) else tuple(img_size))
        self.img_size = size.get('img_size')
        options = dict(num_classes=0, **size, **(model_kwargs or {}))
        if timm.is_model(model_name.split('.')[0]):
            self.net = create(model_name, pretrained, **options)
        else:
            self.net = _class_of_timm(model_name)(**options)
        if not hasattr(self.net, 'forward_intermediates') or not getattr(
                self.net, 'feature_info', None):
            raise TypeError(f"timm's {model_name} gives no intermediate features "
                            '(forward_intermediates); choose another')
        self._drop_head()
        if self.with_cp:
            self.net.set_grad_checkpointing(True)
        info = list(self.net.feature_info)
        self._modules_of_layers = [entry['module'] for entry in info]
        self.num_layers = len(info)
        self.embed_dims = self.layer_dims[-1]
        self.patch_size = self._stride(info[-1])
        names = [f'net.{n}' for n, _ in self.net.named_parameters()]
        first = next(n for n, name in enumerate(names) if self._block_of(name) is not None)
        self._before_layers = frozenset(names[:first])
        self.freeze_stages()

    @property
    def layer_dims(self) -> tuple[int, ...]:
        """Width of each layer's tokens."""
        dims = tuple(entry['num_chs'] for entry in self.net.feature_info)
        has_neck = hasattr(self.net, 'neck')  # SAM's
        return (*dims[:-1], self.net.num_features) if has_neck else dims

    def _drop_head(self) -> None:
        """Remove the classifier, which would get no gradient; a norm in it stays."""
        norm = getattr(getattr(self.net, 'head', None), 'norm', None)
        map_norm = isinstance(norm, LayerNorm2d)  # of ConvNeXt, before the pooling or after it
        self.final_norm = norm if map_norm else nn.Identity()
        for name in _HEADS:
            if hasattr(self.net, name):
                setattr(self.net, name, nn.Identity())

    def load_weights(self, path: str, prefix: str | None = None) -> LoadReport:
        """Load mmvitlin's checkpoints, timm's, or the original authors' as far as timm reads them
        (SAM, EUPE, Facebook's ConvNeXt and Hiera, …)."""
        return load_backbone(self, path, prefix, transform=self._from_any_layout)

    def _from_any_layout(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        if any(k.startswith('net.') for k in state):
            return state
        renamed = {}
        for key, value in weights_filter(self.net)(state, self.net).items():
            if key.startswith('head.norm.') and not isinstance(self.final_norm, nn.Identity):
                renamed[key.replace('head.norm', 'final_norm')] = value
            elif key.split('.')[0] not in _HEADS:
                renamed[f'net.{key}'] = value
        return renamed

    def init_weights(self) -> None:
        """timm has drawn or loaded the weights; only a checkpoint of mmvitlin is loaded over
        them."""
        if self.init_cfg:
            super().init_weights()
        self._is_init = True

    def _stride(self, last: dict) -> int:
        if last.get('reduction'):
            return last['reduction']
        return max(self._stem().patch_size)  # of networks of equal width, by their patches

    def _stem(self) -> nn.Module:
        stems = [getattr(self.net, name) for name in _STEMS if hasattr(self.net, name)]
        if not stems:
            raise TypeError(f'{type(self.net).__name__} has no stem of its own, so patches cannot '
                            'be masked; set mask_ratio=0 and objectives.mask=None')
        return stems[0]

    def blocks(self) -> nn.ModuleList:
        """The layers, in order."""
        return nn.ModuleList(self.net.get_submodule(n) for n in self._modules_of_layers)

    def enable_masking(self) -> None:
        """Add the learned token, as wide as the stem's output.

        Raises:
            TypeError: the network has no stem of its own.
        """
        if hasattr(self, 'mask_token'):
            return
        stem = self._stem()
        height, width = self.img_size or (2 * self.patch_size, 4 * self.patch_size)
        with torch.no_grad():
            shape = stem(torch.zeros(1, 3, height, width,
                                     device=next(stem.parameters()).device)).shape
        # channels are the axis that is not in proportion to the image
        first, last = (len(shape) == 4 and a * width == b * height
                       for a, b in (shape[1:3], shape[-2:]))
        self._channels = -1 if len(shape) == 3 or first and not last else 1
        self.mask_token = nn.Parameter(torch.zeros(1, 1, shape[self._channels]))
        nn.init.trunc_normal_(self.mask_token, std=0.02)

    @contextmanager
    def _masked(self, mask: Tensor) -> Iterator[None]:
        """Put the mask token where the (B, h, w) mask is true, at the stem's output."""
        hook = self._stem().register_forward_hook(lambda _, args, out: self._replaced(out, mask))
        try:
            yield
        finally:
            hook.remove()

    def _replaced(self, out: Tensor, mask: Tensor) -> Tensor:
        token = self.mask_token.to(out.dtype)
        if out.ndim == 3:
            return torch.where(mask.flatten(1)[..., None], token, out)
        spatial = out.shape[2:] if self._channels == 1 else out.shape[1:3]
        mask = F.interpolate(mask[:, None].float(), tuple(spatial), mode='nearest')[:, 0] > 0
        if self._channels == 1:
            return torch.where(mask[:, None], token.view(1, -1, 1, 1), out)
        return torch.where(mask[..., None], token.view(1, 1, 1, -1), out)

    def forward_tokens(self,
                       images: Tensor,
                       layers: int | Sequence[int] = -1,
                       mask: Tensor | None = None) -> list[Tokens]:
        """See :class:`TokenBackbone`.

        Raises:
            ValueError: images of another size than the network was made for, or a mask that does
                not fit.
            RuntimeError: a mask, and :meth:`enable_masking` was not called.
        """
        indices = self.layer_indices(layers)
        images = pad_to_patches(images, (self.patch_size, ) * 2)
        if self.img_size is not None and tuple(images.shape[-2:]) != self.img_size:
            raise ValueError(
                '{} was made for images of {}x{}, and got {}x{}; set img_size, or take a network '
                'that runs at any size'.format(type(self.net).__name__, *self.img_size,
                                               *images.shape[-2:]))
        grid = tuple(side // self.patch_size for side in images.shape[-2:])
        if mask is not None:
            self.check_mask(mask, len(images), math.prod(grid))
        with self._masked(mask.unflatten(1, grid)) if mask is not None else nullcontext():
            maps = self.feature_maps(images, indices)
        return [self._tokens(features, grid) for features in maps]

    def feature_maps(self, images: Tensor, layers: Sequence[int]) -> list[Tensor]:
        """(B, C, h, w) after each layer, at its own stride; the last one's after the final norm.

        Args:
            images: (B, 3, H, W) of a size that the network takes.
            layers: Counted from 0.
        """
        order = sorted(set(layers))
        last, maps = self.net.forward_intermediates(images, indices=order, norm=False,
                                                    output_fmt='NCHW')
        by_layer = dict(zip(order, maps, strict=True))
        if self.num_layers - 1 in by_layer:  # after the final norm, in timm's own layout
            by_layer[self.num_layers - 1] = self.final_norm(
                _as_map(last, by_layer[self.num_layers - 1], self.embed_dims))
        return [by_layer[n] for n in layers]

    @staticmethod
    def _tokens(features: Tensor, grid: tuple[int, int]) -> Tokens:
        if tuple(features.shape[-2:]) != grid:
            features = F.adaptive_avg_pool2d(features, grid)
        return Tokens(features.flatten(2).transpose(1, 2), None, grid)

    def _block_of(self, name: str) -> int | None:
        """Layers are the groups of layer decay."""
        inside = name.removeprefix('net.')
        for n, module in enumerate(self._modules_of_layers):
            if inside.startswith(f'{module}.'):
                return n
        return None

    def _is_stem(self, name: str) -> bool:
        """Parameters before the first layer."""
        return name == 'mask_token' or name in self._before_layers


def _class_of_timm(path: str) -> type:
    module, _, name = path.rpartition('.')
    try:
        return getattr(import_module(f'timm.models.{module}'), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"timm {timm.__version__} knows no model '{path}'{nearest(path)}"
                         ) from error


def _as_map(last: Tensor, like: Tensor, width: int) -> Tensor:
    """The final features, in any layout, as (B, width, h, w) on the grid of ``like``."""
    size = tuple(like.shape[-2:])
    if tuple(last.shape[1:]) == (width, *size):
        return last
    if last.ndim == 4 and tuple(last.shape[1:]) == (*size, width):
        return last.permute(0, 3, 1, 2)
    if last.ndim == 3 and last.shape[2] == width and last.shape[1] >= math.prod(size):
        places = math.prod(size)  # tokens that are no patch come first
        return last[:, -places:].transpose(1, 2).unflatten(2, size)
    return like  # modules after the last layer change the shape
