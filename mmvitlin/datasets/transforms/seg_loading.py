"""Reading label images, with errors that name the file."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mmseg.datasets.transforms import LoadAnnotations

from mmvitlin.datasets.transforms.decoding import (
    Header,
    decoding,
    in_colours,
    is_lossy,
    label_pixels,
    png_size,
    read_file,
)
from mmvitlin.datasets.transforms.label_values import LabelMap, advice, colours_of, count_values
from mmvitlin.datasets.transforms.loading import (
    Allowance,
    Kept,
    OrientationWarning,
    orientation_hint,
)
from mmvitlin.registry import TRANSFORMS
from mmvitlin.utils.errors import ConfigError, UnreadableFileError


@TRANSFORMS.register_module()
class LoadSegLabels(LoadAnnotations):
    """mmseg's ``LoadAnnotations`` that checks what it read.

    A label above the class count otherwise ends in an index error or a device assertion in the
    loss. Palettes of PNG files are not applied; 1, 2 and 4 bits of grey are the values that were
    stored.

    Args:
        num_classes: Classes of the head, at most 255; every label must be below it or ignored.
        void_labels: Label of the file, or several, as they stand there, that mean 'ignore'.
        label_map: Value of the file → class or 'ignore', see
            :class:`mmvitlin.datasets.transforms.label_values.LabelMap`; ``{255: 1}`` of masks of
            0 and 255, ``{(128, 0, 0): 0, …}`` of labels in colours, 'cityscapes_ids'.
        ignore_index: Label that losses and metrics leave out, 0 to 255.
        skip_unreadable: See :class:`mmvitlin.datasets.transforms.loading.LoadImage`.
        keep_in_memory: See there.
        **kwargs: As mmseg's, but for ``imdecode_backend``: Pillow decodes.

    Raises:
        FileNotFoundError: no such file.
        ConfigError: labels that 8 bits do not hold; ``reduce_zero_label`` here and in the data set
            differ, or comes with a ``label_map``.
        UnreadableFileError: it cannot be decoded, is no single-channel image, is compressed so
            that values change, holds a label that is neither a class nor ignored, or has another
            size than the image.
    """

    def __init__(self,
                 num_classes: int,
                 void_labels: int | Sequence[int] = (),
                 ignore_index: int = 255,
                 skip_unreadable: int = 0,
                 keep_in_memory: bool = False,
                 label_map: dict | str | None = None,
                 **kwargs):
        super().__init__(**kwargs)
        if num_classes > 255 or not 0 <= ignore_index <= 255:
            raise ConfigError(
                f'LoadSegLabels(num_classes={num_classes}, ignore_index={ignore_index}): labels '
                'are kept in 8 bits; take at most 255 classes, and an ignore_index of 0 to 255')
        self.kept = Kept(keep_in_memory)
        self.allowance = Allowance(skip_unreadable)
        self.num_classes, self.ignore_index = num_classes, ignore_index
        self.void_labels = [void_labels] if isinstance(void_labels, int) else list(void_labels)
        if not all(isinstance(value, int) for value in self.void_labels):
            raise ConfigError(f'LoadSegLabels(void_labels={void_labels!r}): give values of the '
                              'label files as whole numbers, such as [0, 255]')
        self.orientation_warning = OrientationWarning()
        self.label_map = None if label_map is None else LabelMap(label_map, ignore_index)

    def transform(self, results: dict) -> dict | None:
        """Add 'gt_seg_map' (H, W), uint8, and 'label_values', how many pixels have each value in
        the file; None for a file that is left out."""
        try:
            return super().transform(results)
        except UnreadableFileError as error:
            if self.allowance.covers(error):
                return None
            raise

    def _load_seg_map(self, results: dict) -> None:
        path = results['seg_map_path']
        kept = self.kept.take(path)
        if kept is None:
            kept = self._read(path, results)
            self.kept.put(path, *kept)
        results['gt_seg_map'], results['label_values'] = kept
        results['seg_fields'].append('gt_seg_map')

    def _read(self, path: str, results: dict) -> tuple[np.ndarray, dict[int, int]]:
        try:
            content = read_file(path, 'label image', self.backend_args)
        except FileNotFoundError as error:
            hint = ("; Cityscapes' archives hold labelIds, csCreateTrainIdLabelImgs of "
                    'cityscapesscripts makes these of them'
                    if path.endswith('_gtFine_labelTrainIds.png') else '')
            raise FileNotFoundError(f"no label image {path} beside the image "
                                    f"{results.get('img_path')}{hint}") from error
        image_size, claimed = results.get('ori_shape'), png_size(content)
        if image_size is not None and claimed is not None \
                and sorted(claimed) != sorted(image_size):
            self._refuse_size(path, claimed, results)  # before it is decoded
        if is_lossy(content):
            raise UnreadableFileError(
                f'label image {path} is compressed as photographs are, which changes class '
                'numbers along edges; write it as PNG again from what it was made of')
        with decoding(f'label image {path}'):
            pixels, header = label_pixels(content, results.get('ignores_orientation', False))
            pixels = self._one_channel(pixels, header)
        if image_size is not None and tuple(pixels.shape) != tuple(image_size):
            self._refuse_size(path, pixels.shape, results)
        if not header.turn:
            self.orientation_warning(results, f'its label image {path} does')
        return self._classes(pixels, path, results)

    def _one_channel(self, pixels: np.ndarray, header: Header) -> np.ndarray:
        """Values (H, W) of a label image.

        Raises:
            UnreadableFileError: it has several channels, and no ``label_map`` of colours.
        """
        if pixels.dtype.kind == 'f':
            raise UnreadableFileError('holds floats; it must have whole class numbers')
        if pixels.ndim == 3 and header.mode in ('LA', 'PA'):
            pixels = pixels[..., 0]  # the other is transparency
        of_colours = self.label_map is not None and self.label_map.colours
        if pixels.ndim == 2 and not of_colours:
            return pixels
        if pixels.ndim == 2:
            pixels = in_colours(pixels, header)
        if of_colours:
            labels, unknown = self.label_map.of_colours(pixels)
            if unknown:
                raise UnreadableFileError(f'has the colours {unknown[:4]}, which label_map of '
                                          'LoadSegLabels does not give a class')
            return labels
        if (pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 0] == pixels[..., 2]).all():
            raise UnreadableFileError('holds its numbers in three equal channels; it must have '
                                      'one channel of class numbers: write one of them')
        raise UnreadableFileError(
            f'shows classes as {colours_of(pixels)}; it must have one channel of class numbers, '
            'or LoadSegLabels be given label_map={(RED, GREEN, BLUE): CLASS, …}')

    @staticmethod
    def _refuse_size(path: str, size: Sequence[int], results: dict) -> None:
        image_size = results['ori_shape']
        raise UnreadableFileError(
            f"label image {path} is {size[0]}x{size[1]}, its image {results.get('img_path')} is "
            f'{image_size[0]}x{image_size[1]}; they must be equal'
            f'{orientation_hint(results, size)}')

    def _classes(self, labels: np.ndarray, path: str, results: dict
                 ) -> tuple[np.ndarray, dict[int, int]]:
        """Values of the file to classes, uint8; and the pixels of each value."""
        values, counts = count_values(labels)
        classes = self._class_of(values.astype(np.int64), path, results)
        if len(values) and values[0] >= 0 and values[-1] < 2**16:
            table = np.full(values[-1] + 1, self.ignore_index, np.uint8)
            table[values] = classes
            labels = table[labels]
        else:
            labels = classes.astype(np.uint8)[np.searchsorted(values, labels)]
        return labels, dict(zip(values.tolist(), counts.tolist(), strict=True))

    def _class_of(self, values: np.ndarray, path: str, results: dict) -> np.ndarray:
        """Class of each value of a file.

        Raises:
            UnreadableFileError: there is none.
        """
        zero = self._reduces_zero(results)
        ignored = np.isin(values, [*self.void_labels, self.ignore_index])
        labels = values.copy()
        if self.label_map is not None and not self.label_map.colours:
            for value, label in self.label_map.values.items():
                labels[values == value] = label
            ignored = np.isin(values, self.void_labels) | (labels == self.ignore_index)
        elif self.label_map is not None:
            ignored = labels == self.ignore_index
        if zero:
            ignored |= labels == 0
            labels = labels - 1
        if results.get('label_map') is not None:
            before = labels.copy()
            for old, new in results['label_map'].items():
                labels[before == old] = new
            ignored |= labels == self.ignore_index
        labels[ignored] = self.ignore_index
        wrong = ~ignored & ((labels < 0) | (labels >= self.num_classes))
        if wrong.any():
            remedy = advice(labels[~ignored].tolist(), self.num_classes, zero)
            raise UnreadableFileError(
                f'label image {path} holds the labels {values[wrong].tolist()[:8]}, but the '
                f'model has {self.num_classes} classes (0 to {self.num_classes - 1}, '
                f'{self.ignore_index} is ignored). {remedy}.')
        return labels

    def _reduces_zero(self, results: dict) -> bool:
        zero = self.reduce_zero_label
        if zero is None:
            zero = results['reduce_zero_label']
        elif zero != results['reduce_zero_label']:
            raise ConfigError(
                f'LoadSegLabels(reduce_zero_label={zero}) and the data set '
                f"(reduce_zero_label={results['reduce_zero_label']}) disagree; give both the same")
        if zero and self.label_map is not None:
            raise ConfigError('LoadSegLabels: label_map and reduce_zero_label=True together; give '
                              'the map alone, {0: \'ignore\', 1: 0, …}')
        return bool(zero)
