"""Labels above the classes of the heads, with the files that hold them."""
from __future__ import annotations

import logging
from collections.abc import Iterator

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from mmvitlin.registry import HOOKS
from mmvitlin.utils.errors import UnreadableFileError

_WATCHED = 50  # batches in which several classes should show


@HOOKS.register_module()
class LabelRangeHook(Hook):
    """Refuse a batch with labels above the classes of a head, and name the file.

    Without it the loss ends with "Target 30 is out of bounds", or with an assertion of the GPU that
    names no file; validation and tests silently leave such labels out of the score. Labels of
    pixels, boxes and whole images are checked, in CPU memory where the loader puts the batch, so
    the host does not wait for the GPU; two million labels take one to six milliseconds.

    Label maps whose first 50 batches (or all before the first validation) show nothing but ignored
    pixels are refused too; those with only one class, as labels of images may have, get a warning.
    Validations and tests whose label maps show nothing but ignored pixels are refused: their score
    would be NaN.

    Raises:
        UnreadableFileError: such labels; names file, label and classes.
    """
    priority = 'VERY_LOW'

    def __init__(self):
        self._ranges: dict[str, tuple[int, int]] | None = None
        self._shown: set[int] = set()  # classes of label maps in training
        self._batches, self._watches, self._example = 0, True, ''
        self._scored: bool | None = None  # a pixel of an evaluation counts; None: no label map

    def before_run(self, runner: Runner) -> None:
        """Read the numbers of classes from the heads."""
        self._ranges = ranges(runner.model)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        """See the class."""
        self._check(data_batch)
        if self._watches and self._ranges and self._watched():
            self._watch(data_batch)

    def before_val_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        """See the class."""
        self._check(data_batch)
        if self._scored or not self._ranges or 'pixels' not in self._ranges:
            return
        for kind, path, labels in (entry for s in _samples(data_batch) for entry in _labels_of(s)):
            if kind == 'pixels' and labels.numel():
                self._scored = self._scored or bool((labels != self._ranges['pixels'][1]).any())
                self._example = path

    before_test_iter = before_val_iter

    def before_val_epoch(self, runner: Runner) -> None:
        """See what training has shown so far."""
        self._judge()
        self._scored = None

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """See whether anything was scored."""
        self._judge_score(runner.val_loop.evaluator)

    def after_test_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """See whether anything was scored."""
        self._judge_score(runner.test_loop.evaluator)

    def _judge_score(self, evaluator) -> None:
        """In all processes together, except when only files for a test server are written."""
        scoring = [m for m in evaluator.metrics if not getattr(m, 'format_only', False)
                   and type(m).__name__ != 'SubmissionMetric']
        if not scoring or not self._ranges or 'pixels' not in self._ranges:
            return
        state = torch.tensor([self._scored is False, self._scored is True], dtype=torch.int)
        all_reduce(state)
        if state[0] and not state[1]:
            raise UnreadableFileError(
                f'the label maps of this evaluation, such as {self._example}, show nothing but '
                f"{self._ranges['pixels'][1]}, which is ignored, so there is no score; "
                '`mmvitlin check_data` looks at all files')

    def after_train(self, runner: Runner) -> None:
        """See what a training without a validation has shown."""
        self._judge()

    def _watched(self) -> str | None:
        """Kind of the labels of which several classes should show."""
        return next((kind for kind in ('pixels', 'images') if kind in self._ranges), None)

    def _watch(self, batch) -> None:
        watched = self._watched()
        ignored = self._ranges[watched][1] if watched == 'pixels' else None
        for sample in _samples(batch):
            for kind, path, labels in _labels_of(sample):
                if kind == watched:
                    self._shown.update(set(torch.unique(labels).tolist()) - {ignored})
                    self._example = path
        self._batches += 1
        self._watches = len(self._shown) < 2
        if self._watches and self._batches == _WATCHED:
            self._judge()

    def _judge(self) -> None:
        """Say what is wrong with the labels of the first batches, once."""
        if not self._watches or not self._example:
            return
        self._watches = False
        classes, ignored = self._ranges[self._watched()]
        start = f'the labels of the first {self._batches} batches, such as {self._example}, show '
        if not self._shown:
            raise UnreadableFileError(f'{start}nothing but {ignored}, which is ignored, so nothing '
                                      'is learned; `mmvitlin check_data` looks at all files')
        if classes > 1:
            print_log(f'{start}only class {min(self._shown)} of {classes}; `mmvitlin check_data` '
                      'tells which classes occur and what may be wrong', logger='current',
                      level=logging.WARNING)

    def _check(self, batch) -> None:
        if self._ranges:
            for sample in _samples(batch):
                check_sample(sample, self._ranges)


def ranges(model: nn.Module) -> dict[str, tuple[int, int]]:
    """(classes, ignored label) by the kind of labels: 'pixels', 'objects' and 'images'."""
    while is_model_wrapper(model) or hasattr(model, 'module'):
        model = model.module
    if getattr(model, 'teacher', None) is not None:  # labels are read by no loss of distillation
        return {}
    result: dict[str, tuple[int, int]] = {}
    for kind, paths in (('pixels', ('decode_head', )),
                        ('objects', ('roi_head.bbox_head', 'bbox_head')),
                        ('images', ('head', ))):
        for path in paths:
            head = model
            for name in path.split('.'):
                head = getattr(head, name, None)
            heads = head if isinstance(head, (nn.ModuleList, list)) else [head]
            counts = [h.num_classes for h in heads if isinstance(
                getattr(h, 'num_classes', None), int)]
            if counts and kind not in result:
                ignored = getattr(heads[0], 'ignore_index', None)
                result[kind] = min(counts), 255 if ignored is None else ignored
    panoptic = getattr(model, 'panoptic_head', None)
    if panoptic is not None:
        result['pixels'] = panoptic.num_things_classes + panoptic.num_stuff_classes, 255
        result['objects'] = panoptic.num_things_classes, 255
    return result


def check_sample(sample, known: dict[str, tuple[int, int]]) -> None:
    """Refuse labels of a data sample that are no class.

    Args:
        sample: Of mmseg, mmdet or mmpretrain.
        known: See :func:`ranges`.

    Raises:
        UnreadableFileError: names file, label and classes.
    """
    for kind, path, labels in _labels_of(sample):
        if kind not in known or not labels.numel():
            continue
        classes, ignored = known[kind]
        low, high = (int(v) for v in torch.aminmax(labels))
        if low >= 0 and high < classes:
            continue
        outside = (labels < 0) | (labels >= classes)
        if kind == 'pixels':
            outside &= labels != ignored
        if outside.any():
            wrong = torch.unique(labels[outside]).tolist()
            more = (f', and {ignored} is ignored' if kind == 'pixels' else '')
            raise UnreadableFileError(
                f'{path} gives the labels {wrong[:8]}, but the head has {classes} classes (0 to '
                f'{classes - 1}{more}); `mmvitlin check_data` looks at all files')


def _labels_of(sample) -> Iterator[tuple[str, str, Tensor]]:
    image = sample.get('img_path', 'a sample without file name')
    if 'gt_sem_seg' in sample and 'data' in sample.gt_sem_seg:
        yield 'pixels', sample.get('seg_map_path') or image, sample.gt_sem_seg.data
    if 'gt_instances' in sample and 'labels' in sample.gt_instances:
        yield 'objects', image, sample.gt_instances.labels
    if 'gt_label' in sample:
        yield 'images', image, sample.gt_label


def _samples(batch) -> list:
    samples = batch.get('data_samples') if isinstance(batch, dict) else None
    if not isinstance(samples, (list, tuple)):
        return []
    views = [entry if isinstance(entry, (list, tuple)) else [entry] for entry in samples]
    return [sample for view in views for sample in view if hasattr(sample, 'metainfo')]
