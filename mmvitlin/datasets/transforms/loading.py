"""Reading images, with errors that name the file, and padding them."""
from __future__ import annotations

import io
import logging
from collections.abc import Sequence

import mmcv
import numpy as np
from mmcv.transforms import BaseTransform, LoadImageFromFile
from mmengine.logging import print_log
from PIL import Image

from mmvitlin.compat.mmcv import keep_a_pixel
from mmvitlin.datasets.samplers.seeding import seed_sample
from mmvitlin.datasets.transforms.decoding import (
    Header,
    any_size,
    check_content,
    decoding,
    deep_pixels,
    eight_bit_pixels,
    in_grey,
    oriented,
    read_file,
    read_header,
)
from mmvitlin.registry import TRANSFORMS
from mmvitlin.utils.errors import ConfigError, UnreadableFileError

LENIENCIES = ('skip_unreadable', 'ignore_empty')  # arguments of steps that may leave files out


@TRANSFORMS.register_module()
class LoadImage(LoadImageFromFile):
    """mmcv's ``LoadImageFromFile`` that refuses truncated and unreadable files.

    OpenCV returns a truncated JPEG as an image with a grey rest, and None for a file it
    does not know. This decodes with Pillow, which notices, and names the file. Images of 16 bits
    are scaled to 8 by their range; Pillow alone would clip or cut them; those of 32 are refused.
    Transparency is dropped, and of several frames or pages the first is read. Where the
    sampler gave the sample a seed (:mod:`mmvitlin.datasets.samplers.seeding`), it is set here, for
    the augmentations that follow.

    Images are turned as their EXIF orientation says, as viewers show them, and label images by
    theirs. Labels that were drawn on the stored pixels need ``color_type=
    'color_ignore_orientation'``, which
    :class:`mmvitlin.datasets.transforms.seg_loading.LoadSegLabels` follows.

    Args:
        skip_unreadable: Files that may be left out, in each process that reads; each is named in
            the log, and another sample takes its place. One more stops the run.
        max_pixels: Images of more are refused before they are decoded: a small file can hold an
            extremely large one. None for no limit.
        keep_in_memory: Decode each file once in each process that reads, and keep its pixels: for
            data sets small enough, whose files are large beside what is trained on.
        max_value: Largest value in files of 16 bits: 1023 of cameras of 10 bits, 4095 of 12, 16383
            of 14. None for 65535; then files that hold nothing above 16383 are refused.
        **kwargs: As mmcv's, ``imdecode_backend`` being 'pillow' unless said otherwise.

    Raises:
        FileNotFoundError: no such file.
        UnreadableFileError: the file cannot be decoded whole, has another range of values, or
            another size than its annotations are for.
    """

    def __init__(self, skip_unreadable: int = 0, max_pixels: int | None = 178_956_970,
                 keep_in_memory: bool = False, max_value: int | None = None, **kwargs):
        keep_a_pixel()  # steps that resize come after this one
        kwargs.setdefault('imdecode_backend', 'pillow')
        super().__init__(**kwargs)
        if max_value is not None and not 0 < max_value < 2**16:
            raise ConfigError(f'LoadImage: max_value must be 1 to 65535, got {max_value}')
        self.max_pixels, self.max_value = max_pixels, max_value
        self.kept = Kept(keep_in_memory)
        self.allowance = Allowance(skip_unreadable)
        self.orientation_warning = OrientationWarning()

    @property
    def ignores_orientation(self) -> bool:
        """Whether images stay as they are stored."""
        return self.color_type.endswith('ignore_orientation') or self.color_type == 'unchanged'

    def transform(self, results: dict) -> dict | None:
        """Add 'img' (H, W, 3), uint8, BGR, of 'grayscale' (H, W), and 'image_header'.

        Returns:
            None for a file that is left out.
        """
        try:
            return self._read(results)
        except UnreadableFileError as error:
            if self.ignore_empty or self.allowance.covers(error):
                return None
            raise

    def _read(self, results: dict) -> dict:
        path = results['img_path']
        seed_sample(results.get('sample_idx'))
        image, header = self._whole(path)
        results['image_header'] = header
        results['ignores_orientation'] = self.ignores_orientation
        size = results.get('height'), results.get('width')  # of mmdet's annotations
        if None not in size and image.shape[:2] != size:
            raise UnreadableFileError(
                f"image {path} (id {results.get('img_id')}) is {image.shape[0]}x{image.shape[1]} "
                f'pixels, and its annotations are for {size[0]}x{size[1]}: boxes and masks would '
                "lie elsewhere. Correct the annotations' height and width, or the image"
                f'{orientation_hint(results, size)}')
        if None not in size:
            self.orientation_warning(dict(results, ori_shape=size), 'its annotation file does')
        results['img'] = image.astype(np.float32) if self.to_float32 else image
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        return results

    def _whole(self, path: str) -> tuple[np.ndarray, Header]:
        kept = self.kept.take(path)
        if kept is None:
            content = read_file(path, 'image', self.backend_args)
            with decoding(f'image {path}'):
                kept = self._decode(content)
            self.kept.put(path, *kept)
        return kept

    def _check_size(self, size: tuple[int, int]) -> None:
        height, width = size
        if self.max_pixels is not None and width * height > self.max_pixels:
            raise UnreadableFileError(
                f'is {height}x{width} pixels, more than {self.max_pixels:,}; if that is '
                f"right: dict(type='mmvitlin.{type(self).__name__}', max_pixels=None)")

    def _decode(self, content: bytes) -> tuple[np.ndarray, Header]:
        check_content(content)
        with any_size(), Image.open(io.BytesIO(content)) as opened:
            self._check_size(opened.size[::-1])
            header = read_header(content, opened, self.imdecode_backend == 'pillow')
            if header.bits > 16 or opened.mode == 'F' or \
                    opened.mode == 'I' and opened.format not in ('PNG', 'PPM'):
                raise UnreadableFileError('holds 32-bit integers or floats, whose range nobody '
                                          'knows; convert it to 8 or 16 unsigned bits')
            if header.bits == 16:
                image = deep_pixels(content, opened, header, self.max_value)
                if (image.ndim == 2) != self.color_type.startswith('grayscale'):
                    image = in_grey(image) if image.ndim == 3 else np.repeat(
                        image[..., None], 3, axis=2)
            elif self.imdecode_backend == 'pillow':
                image = eight_bit_pixels(opened, self.color_type)
            else:
                image = mmcv.imfrombytes(content, flag=self.color_type,
                                         backend=self.imdecode_backend)
                if image is None:
                    raise ValueError(f'{self.imdecode_backend} does not know the format')
                if header.format != 'TIFF':  # which OpenCV always turns, as Pillow does
                    return image, header
        if header.turned == self.ignores_orientation:
            image = oriented(image, header.orientation, back=header.turned)
        return image, header


def orientation_hint(results: dict, size: Sequence[int]) -> str:
    """Hint for a size error that is due to an image's EXIF orientation, '' for others.

    Args:
        results: Of :class:`LoadImage`.
        size: (height, width) that the image should have.
    """
    header, shape = results.get('image_header'), results.get('ori_shape') or (0, 0)
    if header is None or not header.turn:
        return ''
    words = f'. The image has EXIF orientation {header.orientation} ({header.turn})'
    if results.get('ignores_orientation'):
        return f"{words}, which color_type='color_ignore_orientation' of LoadImage leaves out"
    if header.orientation >= 5 and (not any(shape) or tuple(size) == tuple(shape[::-1])):
        words += (": if its labels are for the pixels as they are stored, dict(type='mmvitlin."
                  "LoadImage', color_type='color_ignore_orientation')")
    return words


def turned_unseen(results: dict) -> bool:
    """Whether an image was turned in a way that its size does not show."""
    header, shape = results.get('image_header'), results.get('ori_shape') or (0, 0)
    return header is not None and bool(header.turn) and not results.get('ignores_orientation') \
        and (header.orientation < 5 or shape[0] == shape[1])


class OrientationWarning:
    """Warns once that labels may be for the stored pixels of an image that was turned."""

    def __init__(self):
        self.given = False

    def __call__(self, results: dict, labels: str) -> None:
        """Check a sample; ``labels`` names them, with a verb."""
        if self.given or not turned_unseen(results):
            return
        self.given, header = True, results['image_header']
        print_log(f"image {results['img_path']} has EXIF orientation {header.orientation} "
                  f'({header.turn}), and {labels} not say whether it is for the image as viewers '
                  'show it, as is assumed, or as it is stored (then '
                  "color_type='color_ignore_orientation' of mmvitlin.LoadImage); `check_data` "
                  'compares both', logger='current', level=logging.WARNING)


class Kept:
    """Cache of decoded files, for data that is read many times.

    Args:
        enabled: Otherwise nothing is kept.
    """

    def __init__(self, enabled: bool):
        self.enabled = enabled
        self.contents: dict[str, tuple] = {}

    def take(self, path: str) -> tuple | None:
        """A copy of the file's array, which later steps may write to, and what was kept with it;
        None if it is not here."""
        if path not in self.contents:
            return None
        array, *rest = self.contents[path]
        return array.copy(), *rest

    def put(self, path: str, array: np.ndarray, *rest) -> None:
        """Keep a copy."""
        if self.enabled:
            self.contents[path] = array.copy(), *rest


@TRANSFORMS.register_module()
class PadCanvas(BaseTransform):
    """Pad below and to the right to at least a size, and let the image keep its own.

    mmdet's ``Pad`` calls the padding a part of the image, so that boxes may lie in it and masks
    are stretched over it; here ``img_shape`` stays, as where a batch is padded.

    Args:
        size: (height, width); a larger image is left as it is.
        value: Of the padding, B, G, R. What the mean of the normalisation is becomes 0, which
            ``BatchFixedSizePad`` pads with in training.
    """

    def __init__(self, size: tuple[int, int], value: Sequence[float] = (0, 0, 0)):
        self.size, self.value = tuple(size), tuple(value)

    def transform(self, results: dict) -> dict:
        """Pad 'img' (H, W, 3)."""
        height, width = results['img'].shape[:2]
        shape = max(height, self.size[0]), max(width, self.size[1])
        results['img'] = mmcv.impad(results['img'], shape=shape, pad_val=self.value)
        results['pad_shape'] = shape
        return results


class Allowance:
    """Unreadable files that a run may leave out.

    Args:
        limit: How many, in this process.
    """

    def __init__(self, limit: int):
        self.limit, self.count = limit, 0

    def covers(self, error: UnreadableFileError) -> bool:
        """Whether one more may be left out; says so if it is."""
        if self.count >= self.limit:
            return False
        self.count += 1
        print_log(f'left out ({self.count} of {self.limit} in this process): {error}',
                  logger='current', level=logging.WARNING)
        return True
