"""Frozen networks, and teachers made of them."""
from __future__ import annotations

import copy
import logging
from collections.abc import Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor

from mmvitlin.models.backbones import TimmViT, TokenBackbone, Tokens
from mmvitlin.models.teachers.mm_tokens import MMBackboneTokens
from mmvitlin.models.teachers.timm_features import TimmFeatures, tokens_on_grid
from mmvitlin.models.utils.checkpoint import CheckpointFile, read_checkpoint, read_meta
from mmvitlin.models.utils.folding import fold_quick_gelu
from mmvitlin.models.utils.initialised import refuse_unused
from mmvitlin.registry import MODELS
from mmvitlin.utils.device import warn_if_slow
from mmvitlin.utils.normalisation import Normalisation

_HALF = {'bf16': torch.bfloat16, 'fp16': torch.float16}


class FrozenNetwork(nn.Module):
    """Holds a frozen network, excluded from state dict, optimiser and DDP.

    It moves with ``.to()``, and is always in eval mode. A copy (``copy.deepcopy``, as for averaged
    weights) has modules of its own over the same memory, since nothing writes to frozen weights.

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
        for value in self.network.parameters():
            memo[id(value)] = nn.Parameter(value.data, requires_grad=False)
        for value in self.network.buffers():
            memo[id(value)] = value.detach()
        return self._copied(memo)

    def _copied(self, memo: dict) -> FrozenNetwork:
        copied = memo[id(self)] = type(self).__new__(type(self))
        copied.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return copied

    def train(self, mode: bool = True) -> FrozenNetwork:
        """Stays in eval mode."""
        return super().train(False)


@MODELS.register_module()
class FrozenTeacher(FrozenNetwork):
    """A frozen backbone that gives its tokens of a student's images, on the student's grid.

    It runs without gradients, converts what the student's data preprocessor normalised, and
    resizes its input so that its token grid equals the student's when their patch sizes differ.

    Args:
        backbone: Config of a ``mmvitlin.TimmViT`` or any :class:`TokenBackbone`, of an
            mmpretrain Vision Transformer, or of :class:`mmvitlin.models.TimmFeatures`, whose
            maps are brought to the student's grid.
        checkpoint: Weights of the backbone: a file this toolkit, timm or mmpretrain wrote, or the
            name of a fetched one (``mmvitlin::NAME``). None keeps what ``backbone`` itself loads
            (``pretrained=True``).
        prefix: Prefix of the backbone's keys in the checkpoint; None finds 'backbone.'.
        mean: Channel means of the teacher's normalisation, 0–255 as in a data
            preprocessor. None: those that a fetched file names; those of the timm model where the
            weights are its makers' (by name or from a file); the student's where an OpenMMLab run
            wrote them (keys ``backbone.*``) or there are none.
        std: Channel deviations, likewise.
        precision: 'bf16' or 'fp16' runs it in that; None in float32, or as autocast says.
        compiled: Run it through ``torch.compile``.
        scale: How much finer than the student's its token grid is, a whole number. It sees the
            image that much larger, and its tokens are averaged down to the student's grid
            (the Gram teacher of DINOv3, arXiv 2508.10104, with a scale of 2).

    Attributes:
        network: The frozen backbone.
        normalisation: Of the images that it is shown; None for the student's.

    Raises:
        ValueError: the normalisation is not in the 0–255 range, or only half given; the precision
            is not known; the scale is no whole number above 0.
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
                 scale: int = 1):
        if scale < 1 or scale != int(scale):
            raise ValueError(f'teacher: scale is a whole number above 0, not {scale}')
        network, file = _load(backbone, checkpoint, prefix)
        if scale > 1 and getattr(network, 'img_size', None) and isinstance(network, TimmFeatures):
            raise ValueError(f'teacher: scale={scale} has no effect on a network that sees every '
                             'image at {}×{}; drop it, or take a network of any size'.format(
                                 *network.img_size))
        if (mean is None) != (std is None):
            raise ValueError('teacher: give mean and std together, or neither')
        if mean is not None:
            normalisation = Normalisation(tuple(mean), tuple(std))
        else:
            normalisation = _own_normalisation(network, backbone, file)
        _check_range(normalisation)
        super().__init__(network)
        self.normalisation, self.scale = normalisation, int(scale)
        self._warned = False
        self.lower(precision)
        self.__dict__['_compiled'] = torch.compile(network.forward_tokens) if compiled else None

    def simplify(self) -> None:
        """Compute the same with fewer operators, see :func:`fold_quick_gelu`; once, after a student
        has inherited the weights and before they are rounded or copied."""
        if self._dtype is None:
            fold_quick_gelu(self.network)

    def lower(self, precision: str | None) -> None:
        """Run in half precision from now on.

        Args:
            precision: See the class.

        Raises:
            ValueError: it is not known.
        """
        if precision not in (None, *_HALF):
            raise ValueError(f"teacher: precision is None or one of {list(_HALF)}, not "
                             f"'{precision}'")
        self._dtype = _HALF.get(precision)
        if not torch.cuda.is_available():
            warn_if_slow(f'model.teacher.precision={precision}', self._dtype, 'cpu')
        self.network.to(dtype=self._dtype)

    def __deepcopy__(self, memo):
        copied = super().__deepcopy__(memo)
        if self._compiled is not None:
            copied.__dict__['_compiled'] = torch.compile(copied.network.forward_tokens)
        return copied

    @property
    def plain(self) -> bool:
        """Whether the network runs on every image, as it was built."""
        return self._compiled is None and self._dtype is None and self.scale == 1

    @property
    def embed_dims(self) -> int:
        """Width of the teacher's tokens."""
        return self.network.embed_dims

    @property
    def num_layers(self) -> int:
        """Depth of the teacher."""
        return self.network.num_layers

    @property
    def layer_dims(self) -> tuple[int, ...]:
        """Width of each layer's tokens."""
        network = self.network
        return getattr(network, 'layer_dims', (network.embed_dims, ) * network.num_layers)

    @property
    def has_cls(self) -> bool:
        """Whether it has a class token."""
        return getattr(self.network, 'has_cls', True)

    @torch.no_grad()
    def forward_tokens(self,
                       images: Tensor,
                       layers: int | Sequence[int],
                       grid: tuple[int, int],
                       normalisation: Normalisation | None = None,
                       patch: int | None = None) -> list[Tokens]:
        """Teacher tokens on the student's grid.

        Args:
            images: As the student gets them, padded to whole student patches.
            layers: Layers asked for.
            grid: The student's (h, w).
            normalisation: How the images were normalised; None for as the teacher's are.
            patch: Side of the student's patches in pixels, where ``images`` may be larger than
                what the student gets.

        Returns:
            One :class:`Tokens` a layer, every one of grid (h, w).
        """
        if self.normalisation is not None and normalisation is not None:
            images = normalisation.convert(images, self.normalisation)
        if isinstance(self.network, TimmFeatures):
            seen = images.shape[-2:] if patch is None else [n * patch for n in grid]
            size = self.network.input_size([self.scale * n for n in seen])
        else:
            size = tuple(side * self.scale * self.network.patch_size for side in grid)
        if self.scale > 1 and min(size) > min(images.shape[-2:]) and not self._warned:
            self._warned = True
            print_log('teacher: scale={} shows the teacher {}×{} pixels, enlarged from {}×{}: it '
                      'sees nothing that the student does not; load larger images and give the '
                      "student's sizes".format(self.scale, *size, *images.shape[-2:]),
                      logger='current', level=logging.WARNING)
        if tuple(images.shape[-2:]) != size:
            images = F.interpolate(images.float(), size, mode='bicubic', antialias=True,
                                   align_corners=False).to(images.dtype)
        layers = (layers, ) if isinstance(layers, int) else tuple(layers)
        return [tokens_on_grid(one, grid) for one in self._tokens(images, layers, tuple(grid))]

    def _tokens(self, images: Tensor, layers: tuple[int, ...], grid: tuple[int, int]
                ) -> list[Tokens]:
        """Tokens of images as the network sees them; for a scale above 1 already on the grid."""
        tokens = self._run(images, layers)
        return [tokens_on_grid(one, grid) for one in tokens] if self.scale > 1 else tokens

    def _run(self, images: Tensor, layers: tuple[int, ...]) -> list[Tokens]:
        forward = self._compiled or self.network.forward_tokens
        if self._dtype is None:
            return forward(images, layers)
        with torch.autocast(images.device.type, enabled=False):
            return forward(images.to(self._dtype), layers)


def _check_range(given: Normalisation | None) -> None:
    if given is None:
        return
    mean, std = given.mean, given.std
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise ValueError(f'teacher: mean and std need three values each and std > 0, got '
                         f'mean={mean}, std={std}')
    if max(std) <= 1.5:
        raise ValueError(f'teacher: std={std} looks like the 0–1 scale; give mean and std in 0–255 '
                         'as the data preprocessor does (times 255)')


def _load(backbone: dict, checkpoint: str | None, prefix: str | None
          ) -> tuple[nn.Module, CheckpointFile | None]:
    """The network, and the file that its weights came from, read once."""
    backbone = dict(backbone)
    if checkpoint is None and str(backbone.get('type')).endswith(('TimmViT', 'TimmFeatures')):
        checkpoint, prefix = backbone.pop('checkpoint', None), None
        backbone['pretrained'] = backbone.get('pretrained', False) and checkpoint is None
    network = MODELS.build(backbone)
    if not isinstance(network, (TokenBackbone, TimmFeatures)):
        network = MMBackboneTokens(network)
    if checkpoint is not None:
        file = read_checkpoint(checkpoint)
        network.load_weights(file, prefix)
        return network, file
    if getattr(network, 'init_cfg', None):
        network.init_weights()
        refuse_unused(getattr(network, 'network', network), 'model.teacher.backbone')
    return network, None


def _own_normalisation(network: nn.Module, backbone: dict, file: CheckpointFile | None
                       ) -> Normalisation | None:
    """Normalisation that the weights were trained with, or None for the student's."""
    meta = {} if file is None else file.meta
    start = backbone.get('init_cfg')
    if file is None and isinstance(start, dict) and start.get('type') == 'Pretrained' \
            and str(start.get('checkpoint')).startswith('mmvitlin::'):
        meta = read_meta(start['checkpoint'])
    if 'teacher' in meta:  # fetched by name
        return Normalisation.of_meta(meta)
    if not isinstance(network, (TimmViT, TimmFeatures)):
        return None
    if file is None:
        by_makers = bool(backbone.get('pretrained'))
    else:  # those of a run of mmvitlin have a prefix
        by_makers = file.path.endswith('.onnx') or not any(
            key.startswith('backbone.') for key in file.state)
    if not by_makers or network.mean is None:
        return None
    return Normalisation(network.mean, network.std)
