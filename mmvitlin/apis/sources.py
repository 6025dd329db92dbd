"""Images from files, folders, videos and arrays."""
from __future__ import annotations

import logging
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import mmcv
import numpy as np
from mmengine.logging import print_log
from PIL import Image

from mmvitlin.datasets.transforms.decoding import TURNS, any_size, oriented
from mmvitlin.utils.errors import ConfigError, UnreadableFileError, UserError
from mmvitlin.utils.paths import IMAGE_ENDINGS, shown

VIDEOS = ('.mp4', '.avi', '.mov', '.mkv', '.webm')

_UNREAD = ('.heic', '.heif', '.avif', '.jp2', '.dng', '.exr', '.jxl', '.svg', '.psd')  # images too
_COUNTING = ('.mp4', '.avi', '.mov')  # their number of frames is counted, not estimated

Source = str | os.PathLike | np.ndarray | Image.Image


def list_inputs(inputs: Source | Iterable[Source]
                ) -> Iterator[tuple[str, Path | np.ndarray | Image.Image | Exception]]:
    """(name, file, RGB array or picture) of every image, one after another.

    Of several inputs, one that cannot be read is given as its error, and the others follow.
    No name comes twice.

    Args:
        inputs: An image file, an array (H, W, 3) or (H, W) of uint8 in RGB, a picture of Pillow's,
            a folder (searched to its depth, videos too; hidden files are left out), a video (its
            frames), or several of these. Of a TIFF of several pages and of an animated GIF or WebP
            only the first frame is read. A video that ends before the last frame it announces
            (Matroska and WebM announce none) gives an UnreadableFileError after the last good one.

    Raises:
        ConfigError: of a single input, no such file, a folder without images, an array of another
            form, or something else.
        UnreadableFileError: of a single input, a video that cannot be decoded.
    """
    taken: set[str] = set()
    if isinstance(inputs, Source) or not isinstance(inputs, Iterable) or hasattr(inputs, 'numpy'):
        yield from _named(_one(inputs, 'image'), taken)
        return
    for n, item in enumerate(inputs):
        try:
            yield from _named(_one(item, f'image_{n:04d}'), taken)
        except UserError as error:
            named = isinstance(item, (str, os.PathLike))
            yield Path(item).stem if named else f'image_{n:04d}', error


def count_inputs(inputs: Iterable[str | Path]) -> int:
    """How many images :func:`list_inputs` will give, with the frames that videos announce."""
    total = 0
    for path in map(Path, inputs):
        files = shown(path) if path.is_dir() else [path]
        for file in files:
            if file.suffix.lower() in VIDEOS and file.is_file():
                total += max(mmcv.VideoReader(str(file)).frame_cnt, 1)
            elif file.suffix.lower() in IMAGE_ENDINGS and _is_given(file) or not path.is_dir():
                total += 1
    return total


def _named(items: Iterable[tuple[str, object]], taken: set[str]) -> Iterator[tuple[str, object]]:
    """The same with names that are all different: results are written under them."""
    for name, source in items:
        candidates = [name]
        if isinstance(source, Path):
            candidates += [f'{name}_{source.suffix[1:]}', f'{source.parent.name}_{Path(name).name}']
        candidates += (f'{name}_{n}' for n in range(2, 10**6))
        chosen = next(w for w in candidates if w not in taken)
        taken.add(chosen)
        yield chosen, source


def _one(item: Source, name: str
         ) -> Iterator[tuple[str, Path | np.ndarray | Image.Image | Exception]]:
    if isinstance(item, np.ndarray):
        yield name, _as_rgb(item)
    elif isinstance(item, Image.Image):
        if item.mode[0] in 'IF':  # Pillow would clip them
            raise ConfigError(f'a picture of mode {item.mode} has more than 8 bits; scale it to 8, '
                              'or give its file')
        yield name, item
    elif isinstance(item, (str, os.PathLike)):
        yield from _from_path(Path(item))
    else:
        raise ConfigError('an image is a file, a folder, a video, an array (H, W, 3) of uint8 or a '
                          f"picture of Pillow's, got {type(item).__name__}; of a tensor (3, H, W) "
                          'give tensor.permute(1, 2, 0).numpy()')


def _is_given(path: Path) -> bool:
    """Whether it is a file, or a link that leads to none, which is an error to be reported."""
    return path.is_file() or path.is_symlink() and not path.exists()


def _from_path(path: Path) -> Iterator[tuple[str, Path | np.ndarray | Exception]]:
    if path.is_dir():
        everything = shown(path)
        files = [p for p in everything
                 if p.suffix.lower() in (*IMAGE_ENDINGS, *VIDEOS) and _is_given(p)]
        others = Counter(p.suffix for p in everything if p.suffix.lower() in _UNREAD)
        left_out = ', '.join(f"{n} '{suffix}'" for suffix, n in sorted(others.items()))
        if not files:
            known = ', '.join(IMAGE_ENDINGS)
            raise ConfigError(f'no images in the folder {path} (looked for {known}'
                              + (f'; there are {left_out}, convert them)' if left_out else ')'))
        if left_out:
            print_log(f'{path}: files of other formats are left out ({left_out}); convert them',
                      logger='current', level=logging.WARNING)
        for file in files:
            name = str(file.relative_to(path).with_suffix(''))
            if file.suffix.lower() in VIDEOS:
                try:
                    yield from _frames(file, name)
                except UserError as error:
                    yield name, error
            else:
                yield name, file
    elif not path.is_file():
        raise ConfigError(f'no image, folder or video at {path}')
    elif path.suffix.lower() in VIDEOS:
        yield from _frames(path, path.stem)
    else:
        yield path.stem, path


def _frames(path: Path, name: str) -> Iterator[tuple[str, np.ndarray | Exception]]:
    count = 0
    with mmcv.VideoReader(str(path), cache_capacity=1) as video:  # closed too if nobody reads on
        while (frame := video.read()) is not None:
            yield f'{name}_{count:06d}', frame[..., ::-1]
            count += 1
    if not count:
        raise UnreadableFileError(f'video {path} gives no frame; it is damaged, or of a codec that '
                                  'OpenCV does not know')
    if count < video.frame_cnt and path.suffix.lower() in _COUNTING:
        yield name, UnreadableFileError(
            f'video {path} gives {count} of {video.frame_cnt} frames; it is truncated or damaged, '
            'or was cut without being encoded again')


def _as_rgb(array: np.ndarray) -> np.ndarray:
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or 0 in array.shape \
            or array.ndim == 3 and array.shape[2] not in (1, 3):
        raise ConfigError(f'an image array must be uint8 (H, W, 3) in RGB or (H, W), got '
                          f'{array.dtype} {array.shape}')
    if array.ndim == 2:
        array = array[..., None]
    return np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array


def rgb_of(pixels: np.ndarray) -> np.ndarray:
    """Pixels (H, W), or (H, W, C) in OpenCV's order, as RGB (H, W, 3) without transparency."""
    pixels = np.atleast_3d(pixels)
    if pixels.shape[2] < 3:  # grey, perhaps with its transparency
        return np.repeat(pixels[..., :1], 3, axis=2)
    return np.ascontiguousarray(pixels[..., 2::-1])


def size_of_file(path: Path) -> tuple[int, int] | None:
    """(height, width) that an image file names; None where it cannot be opened."""
    try:
        with warnings.catch_warnings(), any_size(), Image.open(path) as opened:
            warnings.simplefilter('ignore')
            return opened.size[::-1]
    except Exception:  # the reader says what is wrong with it
        return None


def upright(picture: Image.Image, as_stored: bool) -> tuple[np.ndarray, str]:
    """A picture of Pillow's as RGB, and how it was turned: as its EXIF orientation says, unless it
    is to stay as it is stored."""
    before = picture.getexif().get(0x0112, 1)
    picture.load()  # which turns TIFF files
    left = picture.getexif().get(0x0112, 1)
    pixels = np.asarray(picture.convert('RGB'))
    if as_stored:
        return oriented(pixels, before, back=True) if left != before else pixels, ''
    return oriented(pixels, left), TURNS.get(left if left != 1 else before, '')
