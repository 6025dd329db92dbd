"""Reading images, with errors that name the file."""
from __future__ import annotations

import io

import mmcv
import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine import fileio
from PIL import Image

from mmvitlin.datasets.seeding import set_seed
from mmvitlin.errors import UnreadableFileError
from mmvitlin.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadImage(LoadImageFromFile):
    """mmcv's ``LoadImageFromFile`` that refuses truncated and unreadable files.

    OpenCV returns a truncated JPEG as an image with a grey rest, and None for a file it
    does not know. This decodes with Pillow, which notices, and names the file. Grey images of
    16 bits are scaled to 8; Pillow alone would clip them. Where the sampler gave the sample a seed
    (:mod:`mmvitlin.datasets.seeding`), it is set here, for the augmentations that follow.

    Args:
        **kwargs: As mmcv's, ``imdecode_backend`` being 'pillow' unless said otherwise.

    Raises:
        FileNotFoundError: no such file.
        UnreadableFileError: the file cannot be decoded whole.
    """

    def __init__(self, **kwargs):
        kwargs.setdefault('imdecode_backend', 'pillow')
        super().__init__(**kwargs)

    def transform(self, results: dict) -> dict | None:
        """Add 'img' (H, W, 3), uint8, BGR."""
        path = results['img_path']
        seed = getattr(results.get('sample_idx'), 'seed', None)
        if seed is not None:
            set_seed(seed)
        content = fileio.get(path, backend_args=self.backend_args)
        try:
            image = self._decode(content)
        except Image.DecompressionBombError as error:
            raise UnreadableFileError(f'image {path}: {error}. If the image is meant to be that '
                                      'large, raise PIL.Image.MAX_IMAGE_PIXELS.') from error
        except Exception as error:
            if self.ignore_empty:
                return None
            raise UnreadableFileError(
                f'image {path} cannot be decoded ({type(error).__name__}: {error}); it is '
                'truncated or not an image. Restore it, or take it out of the data set.'
            ) from error
        results['img'] = image.astype(np.float32) if self.to_float32 else image
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        return results

    def _decode(self, content: bytes) -> np.ndarray:
        with Image.open(io.BytesIO(content)) as opened:
            if opened.mode.startswith('I'):
                grey = (np.asarray(opened).astype(np.uint32) >> 8).astype(np.uint8)
                return np.repeat(grey[..., None], 3, axis=2)
        image = mmcv.imfrombytes(content, flag=self.color_type, backend=self.imdecode_backend)
        if image is None:
            raise ValueError(f'{self.imdecode_backend} does not know the format')
        return image
