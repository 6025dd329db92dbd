"""Images to patch tokens."""
from __future__ import annotations

import torch.nn as nn
from torch import Tensor

from mmvitlin.ops import conv_patches
from mmvitlin.ops.padding import zeros_around


def pad_to_multiples(images: Tensor, sides: tuple[int, int]) -> Tensor:
    """Pad (B, C, H, W) with zeros at the right and bottom to multiples of ``sides``.

    Sizes that are symbolic while a graph is exported become part of the graph, as products of a
    side, which tells the tracer that the side divides them.
    """
    height, width = images.shape[-2:]
    ph, pw = sides
    bottom = (height + ph - 1) // ph * ph - height
    right = (width + pw - 1) // pw * pw - width
    return zeros_around(images, 0, right, 0, bottom)


def pad_to_patches(images: Tensor, patch_size: tuple[int, int]) -> Tensor:
    """:func:`pad_to_multiples` of the patch, of images of at least one.

    Raises:
        ValueError: the images are smaller than one patch.
    """
    (height, width), (ph, pw) = images.shape[-2:], patch_size
    if isinstance(height, int) and isinstance(width, int) and (height < ph or width < pw):
        raise ValueError(f'an image of {height}x{width} pixels is smaller than one patch of '
                         f'{ph}x{pw}; enlarge the image or take a smaller patch_size')
    return pad_to_multiples(images, patch_size)


class PatchEmbed(nn.Module):
    """Cut images into patches and project each.

    Args:
        embed_dims: Channels of a token, C.
        patch_size: Side of a patch in pixels.
        in_channels: Channels of the image.
    """

    def __init__(self, embed_dims: int, patch_size: int, in_channels: int = 3):
        super().__init__()
        self.patch_size = (patch_size, patch_size)
        self.proj = nn.Conv2d(in_channels, embed_dims, patch_size, stride=patch_size)

    def forward(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """(B, 3, H, W) of any size to tokens (B, L, C) and their grid (h, w)."""
        padded = pad_to_patches(images, self.patch_size)
        x = conv_patches(padded, self.proj.weight, self.proj.bias)
        return x.flatten(2).transpose(1, 2), tuple(x.shape[-2:])
