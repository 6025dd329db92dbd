"""Reading a random crop of an image at the size that a network takes."""
from __future__ import annotations

import io
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

from mmvitlin.compat.mmpretrain import part
from mmvitlin.datasets.samplers.seeding import seed_sample
from mmvitlin.datasets.transforms.decoding import (
    Header,
    any_size,
    check_content,
    decoding,
    oriented,
    plain_jpeg,
    read_file,
    read_header,
)
from mmvitlin.datasets.transforms.loading import LoadImage
from mmvitlin.registry import TRANSFORMS
from mmvitlin.utils.errors import ConfigError

# arguments of LoadCrop that say how a file is read, which LoadImage takes too
WHOLE_IMAGE_OPTIONS = ('type', 'skip_unreadable', 'ignore_empty', 'max_pixels', 'keep_in_memory',
                       'max_value', 'color_type', 'backend_args', 'file_client_args')
_INTERPOLATION = dict(bilinear=cv2.INTER_LINEAR, bicubic=cv2.INTER_CUBIC, area=cv2.INTER_AREA)
_REDUCED = {1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4,
            8: cv2.IMREAD_REDUCED_COLOR_8}
_END_OF_JPEG = b'\xff\xd9'
_AREA_FROM = 1.5  # times that a crop is shrunk, from which interpolation alone would alias


@TRANSFORMS.register_module()
class LoadCrop(LoadImage):
    """:class:`LoadImage`, mmpretrain's ``RandomResizedCrop`` and a flip in one, for images only.

    What is cropped is drawn as ``RandomResizedCrop`` draws it, the same crops from the same seed,
    before anything is decoded. A whole JPEG of 8 bits is then decoded by OpenCV, to the values
    that Pillow gives; all other files as :class:`LoadImage` decodes them. Files that
    :class:`LoadImage` refuses are refused here too.

    The pixels are not those of ``RandomResizedCrop(backend='pillow')``: OpenCV's interpolation
    enlarges with another kernel, and a crop that is shrunk by more than 1.5 is averaged by area.

    Args:
        scale: (height, width) of the result, or the side of a square.
        crop_ratio_range: Area of the crop as a share of the image's.
        aspect_ratio_range: Width over height of the crop.
        interpolation: 'bilinear', 'bicubic' or 'area'.
        flip_prob: How often the result is mirrored, left to right.
        draft: Decode a JPEG at 1/2, 1/4 or 1/8 of its size, which libjpeg does faster, where the
            crop is still as large as the result. This changes the pixels a little.
        **kwargs: As :class:`LoadImage`'s.

    Raises:
        ConfigError: an unknown interpolation, or an option of LoadImage that does not fit.
        FileNotFoundError, UnreadableFileError: as :class:`LoadImage`.
    """

    def __init__(self,
                 scale: int | Sequence[int],
                 crop_ratio_range: tuple[float, float] = (0.08, 1.0),
                 aspect_ratio_range: tuple[float, float] = (3 / 4, 4 / 3),
                 interpolation: str = 'bicubic',
                 flip_prob: float = 0.,
                 draft: bool = False,
                 **kwargs):
        super().__init__(**kwargs)
        if interpolation not in _INTERPOLATION:
            raise ConfigError(f"LoadCrop: interpolation='{interpolation}', take one of "
                              f'{list(_INTERPOLATION)}')
        if self.to_float32 or self.imdecode_backend != 'pillow' \
                or self.color_type not in ('color', 'color_ignore_orientation'):
            raise ConfigError("LoadCrop gives colours of 8 bits: color_type is 'color' or "
                              "'color_ignore_orientation', and to_float32 and imdecode_backend "
                              'stay unset')
        self.crop = part('datasets.transforms').RandomResizedCrop(
            scale, crop_ratio_range, aspect_ratio_range)
        self.interpolation, self.draft = _INTERPOLATION[interpolation], draft
        self.flip_prob = flip_prob

    def _read(self, results: dict) -> dict:
        path = results['img_path']
        seed_sample(results.get('sample_idx'))
        if results.get('instances'):
            raise ConfigError('LoadCrop crops images and not their boxes; take '
                              'mmvitlin.LoadImage and a random crop of mmdet')
        if self.kept.enabled:
            image, header = self._whole(path)
            size = image.shape[:2]
            image = self._resized(image, self._draw(size))
        else:
            content = read_file(path, 'image', self.backend_args)
            with decoding(f'image {path}'):
                image, header, size = self._decode_crop(content)
        flip = bool(np.random.rand() < self.flip_prob) if self.flip_prob else False
        if flip:
            image = cv2.flip(image, 1)
        results.update(flip=flip, flip_direction='horizontal' if flip else None)
        results.update(image_header=header, ignores_orientation=self.ignores_orientation,
                       img=image, img_shape=image.shape[:2], ori_shape=size)
        return results

    def _draw(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Top, left, height and width of a crop of an image of a size."""
        return self.crop.rand_crop_params(np.empty(size, np.uint8))  # only its shape is read

    def _decode_crop(self, content: bytes) -> tuple[np.ndarray, Header, tuple[int, int]]:
        check_content(content)
        if content.startswith(b'\xff\xd8') and content.endswith(_END_OF_JPEG):
            if plain := plain_jpeg(content):
                self._check_size(plain[1])
                return self._decode_jpeg(content, *plain)
            with any_size(), Image.open(io.BytesIO(content)) as opened:
                self._check_size(opened.size[::-1])
                if opened.format == 'JPEG' and opened.mode in ('RGB', 'L'):
                    return self._decode_jpeg(content, read_header(content, opened, False),
                                             opened.size[::-1])
        image, header = self._decode(content)
        size = image.shape[:2]
        return self._resized(image, self._draw(size)), header, size

    def _decode_jpeg(self, content: bytes, header: Header, stored: tuple[int, int]
                     ) -> tuple[np.ndarray, Header, tuple[int, int]]:
        turn = 1 if self.ignores_orientation else header.orientation
        size = stored[::-1] if turn >= 5 else stored
        crop = self._draw(size)
        factor = self._factor(crop)
        image = cv2.imdecode(np.frombuffer(content, np.uint8),
                             _REDUCED[factor] | cv2.IMREAD_IGNORE_ORIENTATION)
        if image is None:
            raise ValueError('OpenCV finds no image in it')
        image = oriented(image, turn)
        return self._resized(image, _scaled(crop, size, image.shape[:2])), header, size

    def _factor(self, crop: tuple[int, int, int, int]) -> int:
        """Of 1, 2, 4 and 8 the largest by which the crop may be shrunk in decoding."""
        if not self.draft:
            return 1
        spare = min(side / target for side, target in zip(crop[2:], self.crop.scale, strict=True))
        return max(factor for factor in _REDUCED if factor == 1 or factor <= spare)

    def _resized(self, image: np.ndarray, crop: tuple[int, int, int, int]) -> np.ndarray:
        top, left, height, width = crop
        image = image[top:top + height, left:left + width]
        shrinks = height > _AREA_FROM * self.crop.scale[0] and \
            width > _AREA_FROM * self.crop.scale[1]
        return cv2.resize(image, tuple(self.crop.scale[::-1]),
                          interpolation=cv2.INTER_AREA if shrinks else self.interpolation)


def _scaled(crop: tuple[int, int, int, int], size: tuple[int, int], decoded: tuple[int, int]
            ) -> tuple[int, int, int, int]:
    """A crop of an image of a size, in the pixels of what was decoded of it."""
    if size == decoded:
        return crop
    edges = []
    for first, length, whole, now in zip(crop[:2], crop[2:], size, decoded, strict=True):
        start = min(round(first * now / whole), now - 1)
        edges.append((start, max(min(round((first + length) * now / whole), now) - start, 1)))
    return edges[0][0], edges[1][0], edges[0][1], edges[1][1]
