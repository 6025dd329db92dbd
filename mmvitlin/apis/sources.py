"""Images out of whatever a user points at."""
from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np

from mmvitlin.errors import ConfigError, UnreadableFileError

IMAGES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp', '.ppm', '.gif')
VIDEOS = ('.mp4', '.avi', '.mov', '.mkv', '.webm')

Source = str | Path | np.ndarray


def list_inputs(inputs: Source | Iterable[Source]) -> Iterator[tuple[str, Path | np.ndarray]]:
    """(name, file or RGB array) of every image, one after another.

    Args:
        inputs: An image file, an array (H, W, 3) or (H, W) of uint8 in RGB, a folder (searched to
            its depth), a video (its frames), or several of these.

    Raises:
        ConfigError: no such file, a folder without images, or an array of another form.
        UnreadableFileError: a video that cannot be decoded.
    """
    if isinstance(inputs, np.ndarray):
        yield 'image', _as_rgb(inputs)
    elif isinstance(inputs, (str, Path)):
        yield from _from_path(Path(inputs))
    else:
        for n, item in enumerate(inputs):
            if isinstance(item, np.ndarray):
                yield f'image_{n:04d}', _as_rgb(item)
            else:
                yield from _from_path(Path(item))


def _from_path(path: Path) -> Iterator[tuple[str, Path | np.ndarray]]:
    if path.is_dir():
        found = sorted(p for p in path.rglob('*') if p.suffix.lower() in IMAGES)
        if not found:
            raise ConfigError(f'no images in the folder {path} (looked for {", ".join(IMAGES)})')
        for file in found:
            yield str(file.relative_to(path).with_suffix('')), file
    elif not path.is_file():
        raise ConfigError(f'no image, folder or video at {path}')
    elif path.suffix.lower() in VIDEOS:
        yield from _frames(path)
    else:
        yield path.stem, path


def _frames(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    video = cv2.VideoCapture(str(path))
    count = 0
    while True:
        there, frame = video.read()
        if not there:
            break
        yield f'{path.stem}_{count:06d}', frame[..., ::-1]
        count += 1
    video.release()
    if not count:
        raise UnreadableFileError(f'video {path} gives no frame; it is damaged, or of a codec that '
                                  'OpenCV does not know')


def _as_rgb(array: np.ndarray) -> np.ndarray:
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or 0 in array.shape \
            or array.ndim == 3 and array.shape[2] not in (1, 3):
        raise ConfigError(f'an image array must be uint8 (H, W, 3) in RGB or (H, W), got '
                          f'{array.dtype} {array.shape}')
    if array.ndim == 2:
        array = array[..., None]
    return np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array
