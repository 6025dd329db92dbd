"""Reading label images, with errors that name the file."""
from __future__ import annotations

from collections.abc import Sequence

import mmcv
import numpy as np
from mmengine import fileio
from mmseg.datasets.transforms import LoadAnnotations

from mmvitlin.datasets.loading import Allowance, Kept, check_sums, decoding, png_size
from mmvitlin.errors import ConfigError, UnreadableFileError
from mmvitlin.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadSegLabels(LoadAnnotations):
    """mmseg's ``LoadAnnotations`` that checks what it read.

    A label above the class count otherwise surfaces far away, as an index error or a
    device assertion in the loss.

    Args:
        num_classes: Classes of the head; every label must be below it or ignored.
        void_labels: Labels of the file, as they stand there, that mean 'ignore'.
        ignore_index: Label that losses and metrics leave out.
        skip_unreadable: See :class:`LoadImage`.
        keep_in_memory: See :class:`LoadImage`.
        **kwargs: As mmseg's.

    Raises:
        FileNotFoundError: no such file.
        ConfigError: ``reduce_zero_label`` here and in the data set differ.
        UnreadableFileError: it cannot be decoded, is no single-channel image, or holds a
            label that is neither a class nor ignored, or has another size than the image.
    """

    def __init__(self,
                 num_classes: int,
                 void_labels: Sequence[int] = (),
                 ignore_index: int = 255,
                 skip_unreadable: int = 0,
                 keep_in_memory: bool = False,
                 **kwargs):
        super().__init__(**kwargs)
        self.kept = Kept(keep_in_memory)
        self.allowance = Allowance(skip_unreadable)
        self.num_classes, self.ignore_index = num_classes, ignore_index
        self.void_labels = list(void_labels)

    def transform(self, results: dict) -> dict | None:
        """Add 'gt_seg_map' (H, W), uint8; None for a file that is left out."""
        try:
            return super().transform(results)
        except UnreadableFileError as error:
            if self.allowance.covers(error):
                return None
            raise

    def _load_seg_map(self, results: dict) -> None:
        path = results['seg_map_path']
        classes = self.kept.take(path)
        if classes is None:
            classes = self._read(path, results)
            self.kept.put(path, classes)
        results['gt_seg_map'] = classes
        results['seg_fields'].append('gt_seg_map')

    def _read(self, path: str, results: dict) -> np.ndarray:
        try:
            content = fileio.get(path, backend_args=self.backend_args)
        except FileNotFoundError as error:
            hint = ("; Cityscapes' archives hold labelIds, csCreateTrainIdLabelImgs of "
                    'cityscapesscripts makes these of them'
                    if path.endswith('_gtFine_labelTrainIds.png') else '')
            raise FileNotFoundError(f"no label image {path} beside the image "
                                    f"{results.get('img_path')}{hint}") from error
        image_size, told = results.get('ori_shape'), png_size(content)
        if image_size is not None and told is not None and told != tuple(image_size):
            self._refuse_size(path, told, results)  # before it is decoded
        with decoding(f'label image {path}'):
            check_sums(content)
            labels = np.asarray(mmcv.imfrombytes(content, flag='unchanged',
                                                 backend=self.imdecode_backend)).squeeze()
        if labels.ndim != 2:
            raise UnreadableFileError(f'label image {path} has shape {labels.shape}; it must '
                                      'have one channel of class numbers')
        if image_size is not None and tuple(labels.shape) != tuple(image_size):
            self._refuse_size(path, labels.shape, results)
        return self._classes(labels.astype(np.int64), path, results)

    @staticmethod
    def _refuse_size(path: str, size: Sequence[int], results: dict) -> None:
        image_size = results['ori_shape']
        raise UnreadableFileError(
            f"label image {path} is {size[0]}x{size[1]}, its image {results.get('img_path')} is "
            f'{image_size[0]}x{image_size[1]}; they must be equal')

    def _classes(self, labels: np.ndarray, path: str, results: dict) -> np.ndarray:
        """Labels of the file to classes, uint8."""
        ignored = np.isin(labels, [*self.void_labels, self.ignore_index])
        zero = self.reduce_zero_label
        if zero is None:
            zero = results['reduce_zero_label']
        elif zero != results['reduce_zero_label']:
            raise ConfigError(
                f'LoadSegLabels(reduce_zero_label={zero}) and the data set '
                f"(reduce_zero_label={results['reduce_zero_label']}) disagree; give both the same")
        if zero:
            ignored |= labels == 0
            labels = labels - 1
        if results.get('label_map') is not None:
            mapped = labels.copy()
            for old, new in results['label_map'].items():
                mapped[labels == old] = new
            labels = mapped
            ignored |= labels == self.ignore_index
        labels[ignored] = self.ignore_index
        wrong = np.unique(labels[~ignored & ((labels < 0) | (labels >= self.num_classes))])
        if len(wrong):
            raise UnreadableFileError(
                f'label image {path} holds the labels {(wrong + bool(zero)).tolist()[:8]}, but the '
                f'model has {self.num_classes} classes (0 to {self.num_classes - 1}, '
                f'{self.ignore_index} is ignored). Set num_classes, or name them in void_labels '
                'of LoadSegLabels.')
        return labels.astype(np.uint8)
