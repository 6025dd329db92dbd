"""Scores of trained networks on images they were not made for."""
from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import Evaluator
from mmengine.registry import DATASETS, MODELS, init_default_scope

from mmvitlin.analysis.figures import COLOURS, plt, save
from mmvitlin.datasets.shifts import corruption_names
from mmvitlin.engine.config import load_config
from mmvitlin.engine.launch import without_initial_weights
from mmvitlin.engine.preflight import check_whole
from mmvitlin.errors import ConfigError

SEVERITIES = (1, 2, 3, 4, 5)
SCALES = (0.5, 0.75, 1.5, 2.0)
SHARES = (0.75, 0.5, 0.25)
_READING = ('LoadImage', 'LoadImageFromFile')


def conditions(kinds: Sequence[str] = ('corruption', 'resolution', 'context'),
               corruptions: Sequence[str] | None = None,
               severities: Sequence[int] = SEVERITIES) -> dict[str, dict]:
    """Name → what is changed, 'clean' first.

    Args:
        kinds: Of shifts.
        corruptions: Names; None for the fifteen common ones.
        severities: 1 to 5.
    """
    found: dict[str, dict] = {'clean': {}}
    if 'corruption' in kinds:
        for name in corruptions or corruption_names():
            found.update({f'{name} {n}': dict(corruption=name, severity=n) for n in severities})
    if 'resolution' in kinds:
        found.update({f'scale {s:g}': dict(scale=s) for s in SCALES})
    if 'context' in kinds:
        found.update({f'share {s:g}': dict(share=s) for s in SHARES})
    return found


def shifted(pipeline: Sequence[dict], shift: dict) -> list[dict]:
    """A test pipeline under one condition.

    Raises:
        ConfigError: it has no place for the change.
    """
    steps = [copy.deepcopy(dict(s)) for s in pipeline]
    names = [s['type'].split('.')[-1] for s in steps]
    if 'corruption' in shift:
        at = next((i for i, n in enumerate(names) if n in _READING), None)
        if at is None:
            raise ConfigError(f'the test pipeline reads no image; its steps are {names}')
        steps.insert(at + 1, dict(type='mmvitlin.Corrupt', **shift))
    elif 'scale' in shift:
        resized = [s for s, n in zip(steps, names, strict=True)
                   if n in ('Resize', 'ResizeEdge', 'CenterCrop')]
        if not resized:
            raise ConfigError(f'the test pipeline has no Resize whose scale could change; its '
                              f'steps are {names}')
        for step in resized:
            for key in ('scale', 'crop_size', 'scale_factor'):
                if key in step:
                    step[key] = _times(step[key], shift['scale'])
    elif 'share' in shift:
        pack = next((i for i, n in enumerate(names) if n.startswith('Pack')), len(steps))
        steps.insert(pack, dict(type='mmvitlin.CentreShare', **shift))
    return steps


def _times(value, factor: float):
    if isinstance(value, (list, tuple)):
        return tuple(_times(v, factor) for v in value)
    return value * factor if isinstance(value, float) else max(round(value * factor), 1)


def evaluate_shifts(config: str,
                    checkpoint: str,
                    shifts: dict[str, dict],
                    options: dict | None = None,
                    limit: int | None = None,
                    device: str = 'cpu',
                    done: dict[str, float] | None = None,
                    progress: Callable[[str, float], None] = lambda name, score: None
                    ) -> dict[str, float]:
    """Score of a checkpoint under each condition.

    Args:
        config: Of a segmentor or classifier; its test set and metric are used.
        checkpoint: What training with it wrote.
        shifts: From :func:`conditions`.
        options: ``--cfg-options``.
        limit: Images at most.
        device: Where.
        done: Scores that are there already.
        progress: Told each result.

    Returns:
        Condition → mIoU or top-1 accuracy, in percent.
    """
    cfg = load_config(config, options)
    without_initial_weights(cfg)
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    if cfg.get('data_preprocessor') and 'data_preprocessor' not in cfg.model:
        cfg.model.data_preprocessor = cfg.data_preprocessor
    model = MODELS.build(cfg.model)
    model.load_state_dict(check_whole(model, checkpoint), strict=False)
    model.to(device).eval()
    scores = dict(done or {})
    for name, shift in shifts.items():
        if name not in scores:
            scores[name] = _score(model, cfg, shift, limit)
            progress(name, scores[name])
    return scores


@torch.inference_mode()
def _score(model: torch.nn.Module, cfg: Config, shift: dict, limit: int | None) -> float:
    settings = cfg.test_dataloader.dataset
    dataset = DATASETS.build(dict(settings, pipeline=shifted(settings.pipeline, shift)))
    evaluator = Evaluator(cfg.test_evaluator)
    evaluator.dataset_meta = getattr(dataset, 'metainfo', None)
    count = min(len(dataset), limit or len(dataset))
    for number in range(count):
        batch = pseudo_collate([dataset[number]])
        evaluator.process(data_samples=model.test_step(batch), data_batch=batch)
    metrics = evaluator.evaluate(count)
    for key in ('mIoU', 'accuracy/top1'):
        if key in metrics:
            return round(float(metrics[key]), 3)
    raise ConfigError(f'the test metric gives {sorted(metrics)}; mIoU or accuracy/top1 is needed')


def summarise(scores: dict[str, float]) -> dict[str, float]:
    """Of one network: 'clean', and for each kind of shift its mean score and the part of the clean
    score that is lost, in percent: ``<kind>`` and ``<kind> drop``. A corruption is a kind too."""
    groups: dict[str, list[float]] = {}
    for name, score in scores.items():
        kind, _, _ = name.rpartition(' ')
        if kind:
            groups.setdefault(kind, []).append(score)
            if kind not in ('scale', 'share'):
                groups.setdefault('corruption', []).append(score)
    clean = scores['clean']
    told = dict(clean=clean)
    for kind, values in groups.items():
        told[kind] = round(float(np.mean(values)), 2)
        told[f'{kind} drop'] = round(100 * (1 - np.mean(values) / max(clean, 1e-9)), 2)
    return told


def robustness_figure(results: dict[str, dict[str, float]], path: str | Path) -> Path:
    """Mean over corruptions against severity, and the drop by corruption, of several networks."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 4.2), width_ratios=(1, 2))
    kinds = sorted({n.rpartition(' ')[0] for s in results.values() for n in s}
                   - {'', 'scale', 'share'})
    for column, (who, scores) in enumerate(results.items()):
        colour = COLOURS.get(who)
        levels = [n for n in SEVERITIES if any(f'{k} {n}' in scores for k in kinds)]
        means = [np.mean([scores[f'{k} {n}'] for k in kinds if f'{k} {n}' in scores])
                 for n in levels]
        left.plot([0, *levels], [scores['clean'], *means], 'o-', label=who, color=colour)
        told = summarise(scores)
        places = np.arange(len(kinds)) + 0.8 * column / len(results)
        right.bar(places, [told.get(f'{k} drop', np.nan) for k in kinds],
                  width=0.8 / len(results), label=who, color=colour, align='edge')
    left.set(xlabel='severity (0: clean)', ylabel='score (%)', title='mean over corruptions')
    left.grid(alpha=0.3)
    left.legend()
    right.set(ylabel='part of the clean score lost (%)', title='by corruption, mean of severities')
    right.set_xticks(np.arange(len(kinds)) + 0.4, [k.replace('_', '\n') for k in kinds],
                     fontsize=7)
    right.grid(alpha=0.3, axis='y')
    figure.tight_layout()
    return save(figure, path)
