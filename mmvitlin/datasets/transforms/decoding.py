"""Headers of image files, and their pixels at full depth."""
from __future__ import annotations

import io
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import cv2
import numpy as np
from mmengine import fileio
from PIL import Image, UnidentifiedImageError

from mmvitlin.utils.errors import UnreadableFileError

_PNG = b'\x89PNG'
_ORIENTATION, _BITS_PER_SAMPLE = 0x0112, 258  # tags of EXIF and TIFF
_ZEROS = bytes(64)  # at the end of a file that was made at its full size and not filled
_LEAST_RANGE = 2**14  # files of 16 bits without a value as large were made with fewer bits
_LOCK = threading.Lock()
_usual_limit, _without_limit = Image.MAX_IMAGE_PIXELS, 0
TURNS = {2: 'mirrored', 3: 'turned by 180 degrees', 4: 'mirrored upside down',
         5: 'mirrored and turned by 90 degrees', 6: 'turned by 90 degrees clockwise',
         7: 'mirrored and turned by 90 degrees', 8: 'turned by 90 degrees anticlockwise'}


@dataclass(frozen=True)
class Header:
    """What a file says of its image.

    Attributes:
        format: Pillow's name of it.
        mode: Pillow's.
        bits: Of a sample.
        orientation: EXIF's, 1 to 8: how viewers turn what is stored; 1 as it is.
        frames: Images in the file; 1 of the pictures that cameras add to a JPEG.
        turned: Pillow has turned the pixels already, as it does with TIFF files.
        palette: Red, green and blue of each number; None where it has none.
    """
    format: str
    mode: str
    bits: int
    orientation: int
    frames: int
    turned: bool
    palette: bytes | None = None

    @property
    def turn(self) -> str:
        """The orientation as text, '' where viewers show what is stored."""
        return TURNS.get(self.orientation, '')


def read_file(path: str, what: str, backend_args: dict | None = None) -> bytes:
    """Content of a file.

    Args:
        path: File.
        what: Of which kind, for messages.
        backend_args: As mmengine's.

    Raises:
        FileNotFoundError: no such file.
        UnreadableFileError: a folder, a loop of links, no permission, or nothing in it.
    """
    try:
        content = fileio.get(path, backend_args=backend_args)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UnreadableFileError(f'{what} {path} cannot be read ({error.strerror or error}); '
                                  'restore it, or take it out of the data set') from error
    if not content:
        raise UnreadableFileError(f'{what} {path} is empty (0 bytes); copy it again, or take it '
                                  'out of the data set')
    return content


def read_header(content: bytes, opened: Image.Image, decode: bool = True) -> Header:
    """What a file says of its image.

    Args:
        content: Of the file.
        opened: The same, opened by Pillow.
        decode: Decode it by Pillow too, which notices that it is cut short; TIFF files and those of
            more than 8 bits are decoded in any case.
    """
    frames = 1 if opened.format == 'MPO' else getattr(opened, 'n_frames', 1)
    stored, bits = _orientation(opened), 8
    if content.startswith(_PNG):
        bits = content[24]
    elif opened.format == 'TIFF':
        bits = opened.tag_v2.get(_BITS_PER_SAMPLE, (1, ))[0]
    elif opened.format == 'PPM' and _largest_of_ppm(content) > 255 or opened.mode.startswith('I'):
        bits = 16
    if decode or opened.format == 'TIFF' or bits > 8:
        opened.load()
    return Header(opened.format or '', opened.mode, bits, stored, frames,
                  opened.format == 'TIFF' and _orientation(opened) != stored,
                  bytes(opened.getpalette('RGB')) if opened.mode in ('P', 'PA') else None)


def plain_jpeg(content: bytes) -> tuple[Header, tuple[int, int]] | None:
    """Header and (height, width) of a JPEG of 8 bits, grey or three colours, without EXIF and
    further pictures, from its bytes; None of other files, which Pillow has to read.
    """
    at = 2
    while content.startswith(b'\xff\xd8') and at + 10 <= len(content) and content[at] == 0xff:
        kind = content[at + 1]
        if kind in (0xc0, 0xc1, 0xc2):  # a frame: bits, height, width, components
            height, width = (int.from_bytes(content[at + n:at + n + 2], 'big') for n in (5, 7))
            mode = {1: 'L', 3: 'RGB'}.get(content[at + 9])
            if content[at + 4] != 8 or mode is None or not height * width:
                return None
            return Header('JPEG', mode, 8, 1, 1, False), (height, width)
        # EXIF or XMP, pictures behind the first, and what is no segment in front of a frame
        if kind == 0xe1 or content[at + 4:at + 8] == b'MPF\0' or not (
                kind in (0xc4, 0xdb, 0xdd, 0xfe) or 0xe0 <= kind <= 0xef):
            return None
        at += 2 + int.from_bytes(content[at + 2:at + 4], 'big')
    return None


def _orientation(opened: Image.Image) -> int:
    """EXIF's, 1 where there is none or it is invalid."""
    value = opened.getexif().get(_ORIENTATION, 1)
    return value if value in TURNS else 1


def oriented(pixels: np.ndarray, orientation: int, back: bool = False) -> np.ndarray:
    """Pixels (H, W, …) turned as an EXIF orientation says; ``back`` undoes it."""
    if orientation not in TURNS:
        return pixels
    if back:
        orientation = {6: 8, 8: 6}.get(orientation, orientation)
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def check_content(content: bytes) -> None:
    """Refuse altered and unfinished files that Pillow and OpenCV decode to other pixels.

    Of PNG the checksums are checked; JPEG has none, but its end is missing where a file was made
    at its full size and never filled.

    Raises:
        UnreadableFileError: a JPEG ends in zeros.
        SyntaxError, OSError, IndexError: a checksum does not hold, or there is no image between
            the parts of the file (Pillow's errors).
    """
    if content.startswith(_PNG):
        with any_size(), Image.open(io.BytesIO(content)) as opened:
            opened.verify()
    elif content.startswith(b'\xff\xd8') and content.endswith(_ZEROS) \
            and content.rfind(b'\xff\xd9') < content.rfind(b'\xff\xda'):
        raise UnreadableFileError('ends in zeros in the middle of its image: it was not copied '
                                  'whole. Copy it again, or take it out of the data set')


def png_size(content: bytes) -> tuple[int, int] | None:
    """(height, width) in the header of a PNG, without decoding it; None of other files."""
    if not content.startswith(_PNG) or len(content) < 24:
        return None
    return int.from_bytes(content[20:24], 'big'), int.from_bytes(content[16:20], 'big')


def deep_pixels(content: bytes, opened: Image.Image, header: Header, max_value: int | None
                ) -> np.ndarray:
    """Pixels of a file of 16 bits as 8, scaled by their range.

    Args:
        content: Of the file.
        opened: The same, opened by Pillow.
        header: See :func:`read_header`.
        max_value: Largest value that the files hold, as 4095 of 12 bits; None for 65535.

    Returns:
        (H, W) of grey files, else (H, W, 3) in OpenCV's order, uint8, as stored unless
        ``header.turned``.

    Raises:
        UnreadableFileError: larger values, or, without ``max_value``, none that needs more than
            14 bits: the image would be nearly black.
    """
    scale = _largest_of_ppm(content) if header.format == 'PPM' else 0
    if header.mode.startswith('I') and not scale:
        pixels = np.asarray(opened).astype(np.uint32)
    else:  # Pillow keeps the upper eight bits of colours
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        if pixels is None:
            raise ValueError('OpenCV does not know this form of it')
        pixels = pixels[..., :3].astype(np.uint32) if pixels.ndim == 3 else pixels.astype(np.uint32)
    largest = int(pixels.max(initial=0))
    if 0 < scale < 65535:  # the file says its range
        max_value = scale
    if max_value is None and 0 < largest < _LEAST_RANGE:
        likely = next(2**bits - 1 for bits in (8, 10, 12, 14) if largest < 2**bits)
        raise UnreadableFileError(
            f'has 16 bits and no value above {largest}, so it would be nearly black; give the '
            f"range of the files, dict(type='mmvitlin.LoadImage', max_value={likely}), or "
            'max_value=65535 if they are so dark')
    limit = max_value or 65535
    if largest > limit:
        raise UnreadableFileError(f'holds {largest}, above max_value={limit} of '
                                  'mmvitlin.LoadImage; give the range of the files')
    return (pixels * 256 // (limit + 1)).astype(np.uint8)


def eight_bit_pixels(opened: Image.Image, color_type: str) -> np.ndarray:
    """Pixels of a decoded file as they are stored; transparency is dropped.

    Args:
        opened: By Pillow.
        color_type: As mmcv's ``imfrombytes``.

    Returns:
        (H, W, 3) in OpenCV's order, (H, W) of 'grayscale', uint8; of 'unchanged' what there is.
    """
    if color_type == 'unchanged':
        pixels = np.array(opened)
        if pixels.ndim == 2 or pixels.shape[2] < 3:  # grey, perhaps with its transparency
            return pixels
        return pixels[..., [2, 1, 0, *range(3, pixels.shape[2])]]
    if opened.mode != 'RGB':
        opened = opened.convert('RGB')
    pixels = np.array(opened)[..., ::-1]
    return in_grey(pixels) if color_type.startswith('grayscale') else pixels


def in_grey(pixels: np.ndarray) -> np.ndarray:
    """Pillow's grey (H, W) of colours (H, W, 3) in OpenCV's order, uint8."""
    return np.array(Image.fromarray(np.ascontiguousarray(pixels[..., ::-1])).convert('L'))


def _largest_of_ppm(content: bytes) -> int:
    """White of a binary PGM or PPM, 0 of other files."""
    match = re.match(rb'P[56]\s+(?:#[^\n]*\n\s*)*\d+\s+\d+\s+(\d+)\s', content[:4096])
    return int(match[1]) if match else 0


def label_pixels(content: bytes, raw: bool = False) -> tuple[np.ndarray, Header]:
    """Values of a label image as they stand in its file.

    Palettes are not applied, and Pillow's scaling of 2 and 4 bits of grey to 255 is undone.

    Args:
        content: Of the file.
        raw: Leave its EXIF orientation out of account.

    Returns:
        (H, W) integers, or (H, W, C) of colours in the order R, G, B; and the header.
    """
    check_content(content)
    with any_size(), Image.open(io.BytesIO(content)) as opened:
        header = read_header(content, opened)
        pixels = np.asarray(opened)
        if header.bits in (2, 4) and opened.mode == 'L':
            pixels = pixels // (255 // (2**header.bits - 1))
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8)
    if raw and header.turned:
        pixels = oriented(pixels, header.orientation, back=True)
    elif not raw and not header.turned:
        pixels = oriented(pixels, header.orientation)
    return pixels, header


def in_colours(pixels: np.ndarray, header: Header) -> np.ndarray:
    """Colours (H, W, 3) of a label image of one channel (H, W): its palette's, or its grey.

    Raises:
        UnreadableFileError: its numbers are neither.
    """
    if header.palette is not None:
        table = np.frombuffer(header.palette, np.uint8).reshape(-1, 3)
        if pixels.max(initial=0) < len(table):
            return table[pixels]
    elif header.mode == '1':
        return np.repeat(255 * pixels[..., None], 3, 2)
    elif header.bits == 8 and pixels.dtype == np.uint8:
        return np.repeat(pixels[..., None], 3, 2)
    raise UnreadableFileError('holds numbers without colours, and label_map of LoadSegLabels has '
                              'colours; give it the numbers, {NUMBER: CLASS, …}')


def is_lossy(content: bytes) -> bool:
    """Whether a file is compressed so that its values change: JPEG, alone or in a TIFF, AVIF, and
    the lossy forms of WebP and JPEG 2000."""
    if content.startswith(b'RIFF') and content[8:12] == b'WEBP':
        return b'VP8 ' in content[12:64]
    if content[:4] in (b'II*\0', b'MM\0*'):
        with any_size(), suppress(Exception), Image.open(io.BytesIO(content)) as opened:
            return opened.info.get('compression') in ('jpeg', 'tiff_jpeg', 'webp')
    start = content.find(b'\xff\x4f\xff\x51', 0, 4096)  # of a JPEG 2000 codestream
    style = content.find(b'\xff\x52', start) if start >= 0 else -1
    if 0 < style < len(content) - 13:
        return content[style + 13] == 0  # its wavelet; 0 is the irreversible one
    return content.startswith(b'\xff\xd8') or content[4:12] in (b'ftypavif', b'ftypavis')


@contextmanager
def decoding(what: str) -> Iterator[None]:
    """Name the file in errors of reading it.

    Raises:
        UnreadableFileError: any error raised inside, with ``what`` in front.
    """
    try:
        yield
    except UnreadableFileError as error:
        raise UnreadableFileError(f'{what} {error}') from error
    except UnidentifiedImageError as error:  # its words show an address in memory
        raise UnreadableFileError(
            f'{what} cannot be decoded: it is not an image of a known format. Restore it, or take '
            'it out of the data set.') from error
    except Exception as error:
        raise UnreadableFileError(
            f'{what} cannot be decoded ({type(error).__name__}: {error}); it is truncated or not '
            'an image. Restore it, or take it out of the data set.') from error


@contextmanager
def any_size() -> Iterator[None]:
    """Let Pillow open images of any size; the caller checks the size.

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
