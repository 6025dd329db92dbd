"""Reading images, with errors that name the file."""
from __future__ import annotations

from mmcv.transforms import LoadImageFromFile

from mmvitlin.errors import UnreadableFileError
from mmvitlin.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadImage(LoadImageFromFile):
    """mmcv's ``LoadImageFromFile`` that refuses truncated and unreadable files.

    OpenCV returns a truncated JPEG as an image with a grey rest, and None for a file it
    does not know. This decodes with Pillow, which notices, and names the file.

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
        try:
            return super().transform(results)
        except FileNotFoundError:
            raise
        except Exception as error:
            raise UnreadableFileError(
                f"image {results['img_path']} cannot be decoded ({type(error).__name__}: "
                f'{error}); it is truncated or not an image. Restore it, or take it out of '
                'the data set.') from error
