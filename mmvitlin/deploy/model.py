"""An exported network from an image of any size to its result."""
from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from mmvitlin.deploy.resizing import STRIP, resize, resize_strips
from mmvitlin.deploy.runtimes import Runtime, open_file
from mmvitlin.deploy.windows import in_windows, starts, strided
from mmvitlin.utils.errors import ConfigError, UnreadableFileError

_ORIENTATION = ExifTags.Base.Orientation
_TURN = Image.Transpose
_TURNS = {2: _TURN.FLIP_LEFT_RIGHT, 3: _TURN.ROTATE_180, 4: _TURN.FLIP_TOP_BOTTOM,
          5: _TURN.TRANSPOSE, 6: _TURN.ROTATE_270, 7: _TURN.TRANSVERSE, 8: _TURN.ROTATE_90}
_BACK = {_TURN.ROTATE_90: _TURN.ROTATE_270, _TURN.ROTATE_270: _TURN.ROTATE_90}


@dataclass
class Prediction:
    """What was found in an image.

    Attributes:
        image: (H, W, 3) uint8, RGB.
        labels: (H, W), of a segmentor.
        scores: (classes,), probabilities of a classifier.
        classes: Names.
        palette: (classes, 3) uint8, RGB.
    """
    image: np.ndarray
    labels: np.ndarray | None = None
    scores: np.ndarray | None = None
    classes: Sequence[str] = ()
    palette: np.ndarray | None = None

    def overlay(self, opacity: float = 0.5) -> Image.Image:
        """The image with its classes' colours over it; labels without a colour are black.

        Raises:
            ConfigError: there are no labels.
        """
        if self.labels is None:
            raise ConfigError('an overlay is of labels, and this network gives none')
        table = np.zeros((max(256, len(self.palette)), 3), np.uint8)
        table[:len(self.palette)] = self.palette
        return Image.blend(Image.fromarray(self.image), Image.fromarray(table[self.labels]),
                           opacity)

    def shares(self) -> dict[str, float]:
        """Class → share of the pixels, the largest first; those that occur."""
        counts = np.bincount(self.labels.ravel(), minlength=len(self.classes))
        order = [n for n in np.argsort(-counts) if counts[n]]
        return {self.classes[n] if n < len(self.classes) else str(n): counts[n] / counts.sum()
                for n in order}


class ExportedModel:
    """A file that ``mmvitlin export`` wrote, with its description.

    Args:
        path: ``.onnx``, or ``.xml`` of OpenVINO; or a runtime that has one open.
        runtime: See :func:`mmvitlin.deploy.runtimes.open_file`.
        precision: Likewise.
        threads: Likewise.
        resize: Let the network see what its config's test pipeline shows it; False for the image's
            own size.
        overlap: Least share that windows overlap, of a file of one size; None for the windows of
            its config's tests, or a third where that tests whole images.

    Attributes:
        classes: Names.
        palette: (classes, 3) uint8, RGB.
        meta: The description in the file.

    Raises:
        ConfigError: a runtime that is not installed, or a file that holds neither a segmentor nor a
            classifier of this toolkit.
        UnreadableFileError: the file cannot be read.
    """

    def __init__(self, path: str | Path | Runtime, runtime: str | None = None,
                 precision: str = 'fp32', threads: int | None = None, resize: bool = True,
                 overlap: float | None = None):
        self.runtime = path if isinstance(path, Runtime) else open_file(
            path, runtime, precision, threads)
        self.meta = self.runtime.meta
        self.task = self.meta.get('task')
        if self.task not in ('segmentation', 'classification'):
            what = self.task or 'nothing that `mmvitlin export` described'
            raise ConfigError(f'{self.runtime.path} holds {what}; segmentors and classifiers give '
                              'results. For plain outputs call mmvitlin.deploy.open_file(...).run('
                              'images)')
        if overlap is not None and not 0 <= overlap < 1:
            raise ConfigError(f'overlap must be a share from 0 to below 1, got {overlap}')
        self.classes = tuple(self.meta['classes'])
        self.palette = np.asarray(self.meta['palette'], np.uint8)
        self.resize = self.meta.get('resize') if resize else None
        self.overlap, self._warned = overlap, False

    def __call__(self, image: str | Path | np.ndarray | Image.Image) -> Prediction:
        """The result for an image: a file, a picture, or (H, W, 3) uint8, RGB.

        Raises:
            UnreadableFileError: it cannot be decoded.
            ConfigError: an array of another shape or type.
        """
        image = read(image, self.meta.get('max_value'), self.meta.get('turn', True))
        if self.task == 'classification':
            return Prediction(image, scores=self._probabilities(image), classes=self.classes)
        return Prediction(image, self._labels(image), classes=self.classes, palette=self.palette)

    def _labels(self, image: np.ndarray) -> np.ndarray:
        shown = self.as_shown(image)
        size = self.runtime.size
        if shown.shape == image.shape and (size is None or size == image.shape[:2]):
            return self.runtime.run(as_batch(shown))['labels'][0]
        if size is None:
            strips = self._score_strips(shown)
        else:
            self._warn_of_small(shown.shape[:2], size)
            strips = in_windows(shown, size, self._scores, self._places(shown.shape, size),
                                self.meta['mean'])
        strips = resize_strips(strips, shown.shape[:2], image.shape[:2],
                               self.meta['align_corners'])
        return np.concatenate([self._decide(strip) for strip in strips])

    def _warn_of_small(self, shown: Sequence[int], size: tuple[int, int]) -> None:
        if not self._warned and (shown[0] < size[0] or shown[1] < size[1]):
            self._warned = True
            warnings.warn('an image of {}x{} pixels is filled up to the {}x{} of this file, where '
                          'the config tests it as it is, so labels may differ; for such images '
                          'export with a smaller --size'.format(*shown, *size),
                          stacklevel=4)

    def _score_strips(self, image: np.ndarray) -> Iterator[np.ndarray]:
        """Scores of an image, (classes, n, W), as the network resizes them before it decides."""
        height, width = image.shape[:2]
        padded = self._padded((height, width), 'pads_to')
        scores = self.runtime.run(as_batch(image))['scores'][0]
        whole = (scores[:, a:a + STRIP] for a in range(0, scores.shape[1], STRIP))
        left = height
        for strip in resize_strips(whole, scores.shape[1:], padded, self.meta['align_corners']):
            if left > 0:
                yield strip[:, :left, :width]
            left -= strip.shape[1]

    def _scores(self, image: np.ndarray) -> np.ndarray:
        """(classes, H, W) of a window."""
        return np.concatenate(list(self._score_strips(image)), axis=1)

    def _places(self, shape: Sequence[int], size: tuple[int, int]
                ) -> tuple[list[int], list[int]]:
        """Where windows begin, from above and from the left."""
        if self.overlap is None and self.meta.get('stride'):
            padded = self._padded(shape[:2], 'multiple')  # before it is cut
            rows, columns = map(strided, padded, size, self.meta['stride'])
        else:
            share = 1 / 3 if self.overlap is None else self.overlap
            rows, columns = (starts(*lengths, share) for lengths in zip(shape, size, strict=False))
        return rows, columns

    def _padded(self, size: Sequence[int], by: str) -> tuple[int, ...]:
        """Size up to the next multiples of what the description has under ``by``."""
        multiple = self.meta.get(by) or self.meta['patch_size']  # older files have none
        return tuple(-(-n // multiple) * multiple for n in size)

    def _decide(self, scores: np.ndarray) -> np.ndarray:
        if len(scores) == 1:
            threshold = self.meta['threshold']
            return (scores[0] > np.log(threshold / (1 - threshold))).astype(np.uint8)
        return scores.argmax(0).astype(np.uint8 if len(scores) <= 256 else np.int64)

    def _probabilities(self, image: np.ndarray) -> np.ndarray:
        shown = self.cropped(self.as_shown(image))
        logits = self.runtime.run(as_batch(shown))['logits'][0].astype(np.float64)
        weights = np.exp(logits - logits.max())
        return weights / weights.sum()

    def cropped(self, shown: np.ndarray) -> np.ndarray:
        """Of an image from :meth:`as_shown` what a classifier is given."""
        size = self.runtime.size
        if crop := (self.resize or {}).get('crop'):
            sides = (crop, crop) if isinstance(crop, int) else crop[::-1]  # (width, height)
            top, left = (max(round((n - side) / 2), 0)
                         for n, side in zip(shown.shape, sides, strict=False))
            shown = shown[top:top + sides[0], left:left + sides[1]]
        if size is not None and shown.shape[:2] != size:
            shown = np.asarray(Image.fromarray(shown).resize(size[::-1], Image.BILINEAR))
        return shown

    def as_shown(self, image: np.ndarray) -> np.ndarray:
        """The image at the size at which the test pipeline shows it to the network."""
        if self.resize is None or self.resize.keys() == {'crop'}:
            return image
        height, width = image.shape[:2]
        if 'short_edge' in self.resize:  # as mmpretrain, which cuts the longer side off
            edge = self.resize['short_edge']
            new = (edge, int(edge * height / width)) if width < height else (
                int(edge * width / height), edge)
            return self._resized(image, new)
        if 'factor' in self.resize:
            factor = self.resize['factor']  # or (across, down)
            factors = tuple(factor) if isinstance(factor, list) else (factor, factor)
        elif self.resize['keep_ratio']:
            long, short = max(self.resize['scale']), min(self.resize['scale'])
            factors = (min(long / max(height, width), short / min(height, width)), ) * 2
        else:
            factors = (self.resize['scale'][0] / width, self.resize['scale'][1] / height)
        return self._resized(image, (int(width * factors[0] + 0.5), int(height * factors[1] + 0.5)))

    def _resized(self, image: np.ndarray, new: tuple[int, int]) -> np.ndarray:
        """At (width, height), by Pillow's filter where the test pipeline has one."""
        new = tuple(max(side, 1) for side in new)
        if new == image.shape[1::-1]:
            return image
        if by_pillow := self.resize.get('pillow'):
            method = Image.Resampling[by_pillow.upper()]
            return np.asarray(Image.fromarray(image).resize(new, method))
        shown = resize(image.astype(np.float32).transpose(2, 0, 1), new[::-1], False)
        return np.clip(np.round(shown), 0, 255).astype(np.uint8).transpose(1, 2, 0)


def as_batch(image: np.ndarray) -> np.ndarray:
    """(1, 3, H, W) float32 of (H, W, 3) uint8."""
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32)


def read(image: str | Path | np.ndarray | Image.Image, max_value: int | None = None,
         turn: bool = True) -> np.ndarray:
    """(H, W, 3) uint8, RGB, turned as its camera says.

    Args:
        image: A file, a picture, or such an array.
        max_value: White of images of 16 bits, as ``mmvitlin.LoadImage`` has it; None for 65535.
        turn: False for the pixels as they are stored.

    Raises:
        UnreadableFileError: it cannot be decoded.
        ConfigError: an array of another shape or type.
    """
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise ConfigError(f'an image must be (H, W, 3) uint8 RGB, got {image.shape} '
                              f'{image.dtype}')
        return image
    if isinstance(image, Image.Image):
        return _pixels(image, 'an image', max_value, turn)
    try:
        # given a path, Pillow 13 maps a turned TIFF into memory with its sides exchanged
        with open(image, 'rb') as file, Image.open(file) as opened:
            return _pixels(opened, image, max_value, turn)
    except UnreadableFileError:
        raise
    except Exception as error:
        raise UnreadableFileError(f'{image}: no image that can be read: {error}') from error


def _pixels(image: Image.Image, name: str | Path, white: int | None, turn: bool) -> np.ndarray:
    tiles = list(getattr(image, 'tile', ()))  # gone when the image is loaded, as for a PNG's EXIF
    method = _TURNS.get(image.getexif().get(_ORIENTATION))
    done = image.format == 'TIFF'  # Pillow turns it while it is loaded
    pixels = _eight_bits(image, name, white, tiles).convert('RGB')
    if method is not None and done != turn:
        pixels = pixels.transpose(method if turn else _BACK.get(method, method))
    return np.asarray(pixels)


def _eight_bits(image: Image.Image, name: str | Path, white: int | None, tiles: Sequence[tuple]
                ) -> Image.Image:
    """Grey of 16 bits scaled by its range, as in training; Pillow alone would clip it.

    Raises:
        UnreadableFileError: values of another range, of 32 bits, or colours of less than 16 bits in
            a file of 16, of which Pillow would keep the upper few.
    """
    deep = any(';16' in str(part) for part in tiles)
    if any(tile[0] == 'ppm' for tile in tiles):  # the file says its range, and Pillow uses it
        white = 2**16 - 1
    image.load()
    grey = image.mode.startswith('I')
    if image.mode == 'F' or (image.mode == 'I' and image.format not in (None, 'PNG', 'PPM')):
        raise UnreadableFileError(f'{name} has 32 bits a pixel; images have 8 or 16')
    if not grey and not deep:
        return image
    known, white = white is not None, white or 2**16 - 1
    if not grey and white < 2**16 - 1:
        raise UnreadableFileError(f'{name} has colours of 16 bits, of which only the upper 8 '
                                  f'can be read here, and {white} is white; convert it to 8 bits')
    if 'A' in image.getbands():
        image = image.convert('L' if image.mode == 'LA' else 'RGB')
    values = np.asarray(image).astype(np.int64) * (1 if grey else 257)  # colours are cut to 8
    largest = values.max()
    if not known and 0 < largest < 2**14 or largest > white:
        raise UnreadableFileError(
            f'{name} has 16 bits a pixel and values up to {largest:.0f}, not '
            f'{white}: a camera of other bits; scale it to 8 bits')
    return Image.fromarray((values * 256 // (white + 1)).astype(np.uint8))
