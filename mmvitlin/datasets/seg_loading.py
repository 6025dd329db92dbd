"""Reading label images, with errors that name the file."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mmseg.datasets.transforms import LoadAnnotations

from mmvitlin.errors import UnreadableFileError
from mmvitlin.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadSegLabels(LoadAnnotations):
    """mmseg's ``LoadAnnotations`` that checks what it read.

    A label above the class count otherwise surfaces far away, as an index error or a
    device assertion in the loss.

    Args:
        num_classes: Classes of the head; every label must be below it or ignored.
        void_labels: Labels of the file that mean 'ignore'; become ``ignore_index``.
        ignore_index: Label that losses and metrics leave out.
        **kwargs: As mmseg's.

    Raises:
        FileNotFoundError: no such file.
        UnreadableFileError: it cannot be decoded, is no single-channel image, or holds a
            label that is neither a class nor ignored, or has another size than the image.
    """

    def __init__(self,
                 num_classes: int,
                 void_labels: Sequence[int] = (),
                 ignore_index: int = 255,
                 **kwargs):
        super().__init__(**kwargs)
        self.num_classes, self.ignore_index = num_classes, ignore_index
        self.void_labels = list(void_labels)

    def _load_seg_map(self, results: dict) -> None:
        path = results['seg_map_path']
        try:
            super()._load_seg_map(results)
        except FileNotFoundError:
            raise
        except Exception as error:
            raise UnreadableFileError(f'label image {path} cannot be decoded '
                                      f'({type(error).__name__}: {error}). Restore it.') from error
        labels = results['gt_seg_map']
        if labels.ndim != 2:
            raise UnreadableFileError(f'label image {path} has shape {labels.shape}; it must '
                                      'have one channel of class numbers')
        if self.void_labels:
            labels[np.isin(labels, self.void_labels)] = self.ignore_index
        present = np.flatnonzero(np.bincount(labels.ravel(), minlength=256))
        wrong = [int(v) for v in present if v >= self.num_classes and v != self.ignore_index]
        if wrong:
            raise UnreadableFileError(
                f'label image {path} holds the labels {wrong}, but the model has '
                f'{self.num_classes} classes (0 to {self.num_classes - 1}, {self.ignore_index} '
                'is ignored). Set num_classes, or name them in void_labels of LoadSegLabels.')
        image_size = results.get('ori_shape')
        if image_size is not None and tuple(labels.shape) != tuple(image_size):
            raise UnreadableFileError(
                f"label image {path} is {labels.shape[0]}x{labels.shape[1]}, its "
                             f"image {results.get('img_path')} is "
                             f'{image_size[0]}x{image_size[1]}; they must be equal')
