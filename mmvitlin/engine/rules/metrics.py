"""Metrics that hooks or schedules follow and no evaluator computes."""
from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator

from mmvitlin.compat.kinds import kind_of
from mmvitlin.engine.rules.context import Context, as_list
from mmvitlin.engine.rules.heads import heads_of
from mmvitlin.utils.errors import ConfigError

_COCO = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')


def _of_iou(metric: dict) -> set[str]:
    names = {'aAcc'}
    for kind in as_list(metric.get('iou_metrics', 'mIoU')):
        names |= {'mIoU': {'mIoU', 'mAcc'}, 'mDice': {'mDice', 'mAcc'},
                  'mFscore': {'mFscore', 'mPrecision', 'mRecall'}}.get(kind, set())
    return names


def _of_coco(metric: dict) -> set[str]:
    names: set[str] = set()
    for kind in as_list(metric.get('metric', 'bbox')):
        if kind in ('proposal', 'proposal_fast') or metric.get('metric_items') \
                or metric.get('classwise'):
            return set()  # more than these
        names |= {f'{kind}_{item}' for item in _COCO}
    return names


def _of_accuracy(metric: dict) -> set[str]:
    thresholds = as_list(metric.get('thrs', 0.)) or [None]
    if len(thresholds) > 1:
        return set()
    return {f'top{k}' for k in as_list(metric.get('topk', 1))}


def _of_labels(metric: dict) -> set[str]:
    if len(as_list(metric.get('thrs', 0.))) > 1 or metric.get('average', 'macro') is None:
        return set()
    return set(as_list(metric.get('items', ('precision', 'recall', 'f1-score'))))


_NAMES: dict[str, tuple[str, Callable[[dict], set[str]]]] = {  # default prefix, names
    'IoUMetric': ('', _of_iou),
    'CocoMetric': ('coco', _of_coco),
    'CocoScores': ('coco', _of_coco),
    'Accuracy': ('accuracy', _of_accuracy),
    'SingleLabelMetric': ('single-label', _of_labels),
    'VOCMetric': ('pascal_voc', lambda metric: {'mAP'} | {
        f'AP{round(100 * threshold):02d}' for threshold in as_list(metric.get('iou_thrs', 0.5))}),
}


def computed(context: Context, loader: str) -> set[str] | None:
    """Names that the metrics of a loader compute; None where one of them is unknown."""
    names: set[str] = set()
    for _, metric in context.evaluators(loader):
        if kind_of(metric) not in _NAMES:
            return None
        default, own = _NAMES[kind_of(metric)]
        prefix = metric['prefix'] if metric.get('prefix') is not None else default
        computed_names = own(metric)
        if metric.get('format_only'):
            computed_names = set()
        elif not computed_names:
            return None
        names |= {f'{prefix}/{name}' if prefix else name for name in computed_names}
    return names


def _awaited(context: Context) -> Iterator[tuple[str, str]]:
    """(key, name) of every metric that a hook or a schedule follows."""
    saving = (context.cfg.get('default_hooks') or {}).get('checkpoint') or {}
    for name in as_list(saving.get('save_best')):
        yield 'default_hooks.checkpoint.save_best', name
    for n, hook in enumerate(context.cfg.get('custom_hooks') or []):
        if kind_of(hook) == 'EarlyStoppingHook':
            yield f'custom_hooks.{n}.monitor', hook.get('monitor')
        elif kind_of(hook) == 'CheckpointHook':
            for name in as_list(hook.get('save_best')):
                yield f'custom_hooks.{n}.save_best', name
    for n, part in enumerate(as_list(context.cfg.get('param_scheduler'))):
        if kind_of(part).startswith('ReduceOnPlateau'):
            name = part.get('monitor', 'train/loss')
            if not str(name).startswith('train/'):
                yield f'param_scheduler.{n}.monitor', name


def awaited(context: Context) -> None:
    """The metric that the best checkpoint, early stopping or a schedule follows is computed.

    Raises:
        ConfigError: the validation gives no such metric, or there is none.
    """
    if context.purpose != 'train':
        return
    for key, name in _awaited(context):
        if not isinstance(name, str):
            continue
        if not context.loader('val_dataloader'):
            raise ConfigError(f"{key} is '{name}', and the config has no val_dataloader that "
                              f'would tell it; give it one, or set {key}=None')
        names = computed(context, 'val_dataloader')
        if names is None or name == 'auto' and names:
            continue
        if name not in names:
            close = {n.rsplit('/', 1)[-1].casefold(): n for n in sorted(names)}
            guess = difflib.get_close_matches(name.rsplit('/', 1)[-1].casefold(), close, n=1,
                                              cutoff=0.4)
            hint = f"; do you mean '{close[guess[0]]}'?" if guess else ''
            raise ConfigError(f"{key} is '{name}', but val_evaluator computes "
                              f"{', '.join(sorted(names)) or 'nothing'}{hint}")


def top_of_few(context: Context) -> None:
    """``topk`` of an accuracy is not larger than the number of classes.

    Raises:
        ConfigError: names the key and both numbers.
    """
    counts = [count for _, _, count in heads_of(context.model)]
    head = context.model.get('head')
    accuracies = [(f'{key}.topk', metric) for loader in context.loaders
                  for key, metric in context.evaluators(loader) if kind_of(metric) == 'Accuracy']
    if isinstance(head, dict) and head.get('cal_acc') and context.purpose == 'train':
        accuracies.append(('model.head.topk', head))
    for key, settings in accuracies:
        numbers = [k for k in as_list(settings.get('topk')) if isinstance(k, int)]
        if counts and numbers and max(numbers) > counts[0]:
            fewer = tuple(k for k in numbers if k < counts[0]) or (1, )
            raise ConfigError(f'{key} is {settings["topk"]}, and there are {counts[0]} classes; '
                              f'set it to {fewer}')
