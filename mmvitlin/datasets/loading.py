"""Reading images, with errors that name the file, and padding them."""
from __future__ import annotations

import io
import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import mmcv
import numpy as np
from mmcv.transforms import BaseTransform, LoadImageFromFile
from mmengine import fileio
from mmengine.logging import print_log
from PIL import Image, ImageOps

from mmvitlin.datasets.seeding import set_seed
from mmvitlin.errors import UnreadableFileError
from mmvitlin.registry import TRANSFORMS

_PNG = b'\x89PNG'
_LOCK = threading.Lock()
LENIENCIES = ('skip_unreadable', 'ignore_empty')  # arguments of steps that may leave files out
_usual_limit, _without_limit = Image.MAX_IMAGE_PIXELS, 0


@TRANSFORMS.register_module()
class LoadImage(LoadImageFromFile):
    """mmcv's ``LoadImageFromFile`` that refuses truncated and unreadable files.

    OpenCV returns a truncated JPEG as an image with a grey rest, and None for a file it
    does not know. This decodes with Pillow, which notices, and names the file. Grey images of
    16 bits are scaled to 8; Pillow alone would clip them; those of 32 are refused. Where the
    sampler gave the sample a seed (:mod:`mmvitlin.datasets.seeding`), it is set here, for the
    augmentations that follow.

    Args:
        skip_unreadable: Files that may be left out, in each process that reads; each is named in
            the log, and another sample takes its place. One more stops the run.
        max_pixels: Images of more are refused before they are decoded: a small file can hold an
            absurd one. None for no limit.
        keep_in_memory: Decode each file once in each process that reads, and keep its pixels: for
            data sets small enough, whose files are large beside what is trained on.
        **kwargs: As mmcv's, ``imdecode_backend`` being 'pillow' unless said otherwise.

    Raises:
        FileNotFoundError: no such file.
        UnreadableFileError: the file cannot be decoded whole, or has another size than its
            annotations are for.
    """

    def __init__(self, skip_unreadable: int = 0, max_pixels: int | None = 178_956_970,
                 keep_in_memory: bool = False, **kwargs):
        kwargs.setdefault('imdecode_backend', 'pillow')
        super().__init__(**kwargs)
        self.max_pixels = max_pixels
        self.kept = Kept(keep_in_memory)
        self.allowance = Allowance(skip_unreadable)

    def transform(self, results: dict) -> dict | None:
        """Add 'img' (H, W, 3), uint8, BGR; None for a file that is left out."""
        try:
            return self._read(results)
        except UnreadableFileError as error:
            if self.ignore_empty or self.allowance.covers(error):
                return None
            raise

    def _read(self, results: dict) -> dict:
        path = results['img_path']
        seed = getattr(results.get('sample_idx'), 'seed', None)
        if seed is not None:
            set_seed(seed)
        image = self.kept.take(path)
        if image is None:
            content = fileio.get(path, backend_args=self.backend_args)
            with decoding(f'image {path}'):
                image = self._decode(content)
            self.kept.put(path, image)
        told = results.get('height'), results.get('width')  # of mmdet's annotations
        if None not in told and image.shape[:2] != told:
            raise UnreadableFileError(
                f"image {path} (id {results.get('img_id')}) is {image.shape[0]}x{image.shape[1]} "
                f'pixels, and its annotations are for {told[0]}x{told[1]}: boxes and masks would '
                "lie elsewhere. Mend the annotations' height and width, or the image")
        results['img'] = image.astype(np.float32) if self.to_float32 else image
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        return results

    def _decode(self, content: bytes) -> np.ndarray:
        check_sums(content)
        with any_size():
            with Image.open(io.BytesIO(content)) as opened:
                width, height = opened.size
                if self.max_pixels is not None and width * height > self.max_pixels:
                    raise UnreadableFileError(
                        f'is {height}x{width} pixels, more than {self.max_pixels:,}; if that is '
                        "right: dict(type='mmvitlin.LoadImage', max_pixels=None)")
                # Pillow gives 16 bits of PNG and PGM as 'I' too
                if opened.mode == 'F' or opened.mode == 'I' and opened.format not in ('PNG', 'PPM'):
                    raise UnreadableFileError('holds 32-bit integers or floats, whose range nobody '
                                              'knows; convert it to 8 or 16 unsigned bits')
                if opened.mode.startswith('I'):
                    shown = ImageOps.exif_transpose(opened)
                    grey = (np.asarray(shown).astype(np.uint32) >> 8).astype(np.uint8)
                    return np.repeat(grey[..., None], 3, axis=2)
            image = mmcv.imfrombytes(content, flag=self.color_type, backend=self.imdecode_backend)
        if image is None:
            raise ValueError(f'{self.imdecode_backend} does not know the format')
        return image


class Kept:
    """Arrays by file, for those who read the same files again and again.

    Args:
        enabled: Otherwise nothing is kept.
    """

    def __init__(self, enabled: bool):
        self.enabled = enabled
        self.arrays: dict[str, np.ndarray] = {}

    def take(self, path: str) -> np.ndarray | None:
        """A copy of the file's array, which later steps may write to; None if it is not here."""
        array = self.arrays.get(path)
        return None if array is None else array.copy()

    def put(self, path: str, array: np.ndarray) -> None:
        """Keep a copy."""
        if self.enabled:
            self.arrays[path] = array.copy()


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


@contextmanager
def decoding(what: str) -> Iterator[None]:
    """Say which file it is where reading one goes wrong.

    Raises:
        UnreadableFileError: whatever was raised inside, with ``what`` in front.
    """
    try:
        yield
    except UnreadableFileError as error:
        raise UnreadableFileError(f'{what} {error}') from error
    except Exception as error:
        raise UnreadableFileError(
            f'{what} cannot be decoded ({type(error).__name__}: {error}); it is truncated or not '
            'an image. Restore it, or take it out of the data set.') from error


def check_sums(content: bytes) -> None:
    """Refuse a PNG with altered bytes; Pillow and OpenCV decode it to other pixels.

    Other formats pass: JPEG has no checksums.

    Raises:
        SyntaxError, OSError, IndexError: a checksum does not hold, or there is no image between
            the parts of the file (Pillow's errors).
    """
    if content.startswith(_PNG):
        with any_size(), Image.open(io.BytesIO(content)) as opened:
            opened.verify()


def png_size(content: bytes) -> tuple[int, int] | None:
    """(height, width) that a PNG claims, nothing decoded; None of other files."""
    if not content.startswith(_PNG) or len(content) < 24:
        return None
    return int.from_bytes(content[20:24], 'big'), int.from_bytes(content[16:20], 'big')


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


@contextmanager
def any_size() -> Iterator[None]:
    """Let Pillow open images of any size: whoever calls this looks at the size himself.

    The limit is one of the process; it comes back when the last of several threads is through.
    """
    global _usual_limit, _without_limit
    with _LOCK:
        if not _without_limit:
            _usual_limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        _without_limit += 1
    try:
        yield
    finally:
        with _LOCK:
            _without_limit -= 1
            if not _without_limit:
                Image.MAX_IMAGE_PIXELS = _usual_limit
