"""Rules over a resolved config, its data sets and its checkpoint, applied before anything runs.

Each rule is a function of a :class:`Context` that raises one clear line or returns; some only warn.
``train``, ``test``, ``check_data``, the inferencers and ``export`` apply those of their purpose by
:func:`check`. What needs the built network is in ``fit``, what needs the built data sets in
``samples``.
"""
from __future__ import annotations

from collections.abc import Callable

from mmengine.config import Config

from mmvitlin.engine.rules import (
    boxes,
    classes,
    files,
    heads,
    loops,
    metrics,
    missing_hooks,
    normalisation,
    numbers,
    pipelines,
    resumed,
    weights,
)
from mmvitlin.engine.rules.context import (
    LOADERS,
    PURPOSES,
    Context,
    checkpoints_of,
    datasets_of,
)
from mmvitlin.engine.rules.fit import check_start, check_whole, misfits_of_backbone
from mmvitlin.engine.rules.samples import build_loaders, follow_training, refuse_empty

__all__ = ['LOADERS', 'RULES', 'Context', 'build_loaders', 'check', 'check_start', 'check_whole',
           'checkpoints_of', 'datasets_of', 'follow_training', 'misfits_of_backbone',
           'refuse_empty']

_ALL = ('train', 'test', 'data', 'infer', 'export')
_RUNS = ('train', 'test', 'data')

RULES: tuple[tuple[Callable[[Context], None], tuple[str, ...]], ...] = (  # rule, purposes
    (files.libraries, tuple(PURPOSES)),
    (numbers.class_counts, tuple(PURPOSES)),
    (numbers.whole, ('train', 'test')),
    (numbers.learning, ('train', )),
    (classes.well_formed, _ALL),
    (classes.same_order, _ALL),
    (heads.counts, _ALL),
    (heads.masks, ('train', 'test')),
    (heads.lone_class, ('train', )),
    (heads.class_weights, ('train', 'data')),
    (heads.loss_names, ('train', 'data')),
    (heads.ignored_labels, _RUNS),
    (heads.strides, _ALL),
    (boxes.layout, ('train', 'test', 'infer', 'export')),
    (boxes.half_precision, ('train', )),
    (pipelines.order, _RUNS),
    (pipelines.normalised_twice, _ALL),
    (normalisation.plausible, _ALL),
    (normalisation.alike, _RUNS),
    (pipelines.labelled, ('train', 'test')),
    (pipelines.labels_alike, _RUNS),
    (pipelines.read_alike, ('train', 'data')),
    (classes.named_for_metrics, ('train', 'test')),
    (missing_hooks.hooks, ('train', )),
    (loops.workers, ('train', 'test')),
    (loops.samplers, ('train', 'test')),
    (loops.whole_evaluations, ('train', 'test')),
    (loops.schedule, ('train', )),
    (loops.misspelt, ('train', 'test', 'infer', 'export')),
    (loops.windows, ('train', 'test', 'infer', 'export')),
    (loops.lone_samples, ('train', )),
    (loops.sizes, ('train', )),
    (metrics.awaited, ('train', )),
    (metrics.top_of_few, ('train', 'test')),
    (weights.random_teacher, ('train', )),
    (weights.random_parts, ('train', )),
    (files.data_folders, _RUNS),  # from here on files are looked at
    (files.annotations_of_metrics, ('train', 'test')),
    (files.lists, _RUNS),
    (files.suffixes, _RUNS),
    (files.apart, _RUNS),
    (files.left_out, ('train', 'test')),
    (classes.of_folders, _RUNS),
    (classes.of_annotations, _RUNS),
    (classes.of_metrics, ('train', 'test')),
    (files.checkpoints, ('train', 'test')),
    (resumed.goes_on, ('train', )),
    (normalisation.of_start, ('train', )),
    (normalisation.of_teacher, ('train', )),
    (weights.given, ('infer', 'export')),
    (normalisation.of_checkpoint, ('test', 'infer', 'export')),
    (classes.of_checkpoint, ('train', 'test', 'infer', 'export')),
)


def check(cfg: Config, purpose: str = 'train', *, loaders: tuple[str, ...] | None = None,
          checkpoint: str | None = None) -> None:
    """Apply every rule of a purpose.

    Args:
        cfg: A resolved config of any of the libraries.
        purpose: 'train', 'test', 'data' (all splits are read), 'infer', 'export', or 'build' (of
            a network that nobody trained, to be measured).
        loaders: Keys of the loaders that will be built; those of the purpose if not given.
        checkpoint: File of the whole model, where one is evaluated, run or exported.

    Raises:
        ConfigError: of the first rule that is broken; names key or file, and the remedy.
        CheckpointError: the checkpoint cannot be read.
    """
    context = Context(cfg, purpose, PURPOSES[purpose] if loaders is None else loaders, checkpoint)
    for rule, purposes in RULES:
        if purpose in purposes:
            rule(context)
