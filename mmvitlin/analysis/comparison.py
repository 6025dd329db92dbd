"""Report of a teacher / distilled / scratch comparison: numbers, figures, text."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS, init_default_scope

from mmvitlin.analysis.figures import overlay_figure
from mmvitlin.engine.recipe import Report
from mmvitlin.models.utils import read_state_dict


def load_trained(folder: str | Path) -> tuple[torch.nn.Module, Config]:
    """The model of a finished stage, from the config and checkpoint in its folder."""
    folder = Path(folder)
    cfg = Config.fromfile(next(folder.glob('*.py')))
    init_default_scope(cfg.default_scope)
    backbone = cfg.model.backbone
    backbone.init_cfg = None
    model = MODELS.build(cfg.model)
    last = folder / Path((folder / 'last_checkpoint').read_text().strip()).name
    model.load_state_dict(read_state_dict(last, prefix=''))
    return model.eval(), cfg


@torch.inference_mode()
def predict_some(folders: dict[str, str | Path], indices: Sequence[int], path: str | Path) -> Path:
    """Draw image, label and the predictions of several trained models on held-out images."""
    images, maps = [], {'label': [], **{name: [] for name in folders}}
    for name, folder in folders.items():
        model, cfg = load_trained(folder)
        dataset = DATASETS.build(cfg.test_dataloader.dataset)
        for index in indices:
            sample = dataset[index]
            predicted = model.test_step(pseudo_collate([sample]))[0]
            maps[name].append(predicted.pred_sem_seg.data[0].cpu().numpy().astype(np.uint8))
            if len(images) < len(indices):
                maps['label'].append(sample['data_samples'].gt_sem_seg.data[0].numpy())
                picture = sample['inputs'].numpy()[::-1].transpose(1, 2, 0)
                images.append(np.ascontiguousarray(picture))
    shape = images[0].shape[:2]
    maps = {k: [_fit(m, shape) for m in v] for k, v in maps.items()}
    return overlay_figure(images, maps, dataset.metainfo['palette'], path)


def _fit(labels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    rows = (np.arange(shape[0]) * labels.shape[0] / shape[0]).astype(int)
    cols = (np.arange(shape[1]) * labels.shape[1] / shape[1]).astype(int)
    return labels[rows][:, cols]


def report(results: dict, told: Report) -> str:
    """The report as Markdown; what came out worse is said to be worse.

    Args:
        results: As ``tools/demo.py`` writes them.
        told: How the recipe wants them told.
    """
    miou, seconds = results['miou'], results['seconds']
    lines = [f'# {told.title}', '', '| model | mIoU | iterations with labels | seconds |',
             '| --- | --- | --- | --- |']
    for name, text in told.rows.items():
        lines.append(f"| {text} | {miou[name]:.2f} | {results['iterations'][name]} | "
                     f'{seconds[name]:.0f} |')
    free = sum(results['iterations'][n] for n in told.unlabelled)
    spent = sum(seconds[n] for n in told.unlabelled)
    lines += ['', *(_verdict(miou, told.student, other) for other in told.rows
                    if other != told.student), '',
              f'Distillation took {free} iterations without labels, {spent:.0f} s. One seed: '
              'differences of a point or two are noise.', '',
              '![predictions](predictions.png)', '', '![losses](losses.png)', '',
              '## Speed of the backbones', '',
              'Batch 1, float32, medians (10–90%), fused attention in the teacher; peak memory '
              'above the loaded model.', '',
              '| image | teacher ms | student ms | student is | teacher MiB | student MiB |',
              '| --- | --- | --- | --- | --- | --- |']
    for shape, row in results['latency_ms'].items():
        t, s, peak = row['teacher'], row['student'], results['peak_mb'][shape]
        ratio = t['median'] / s['median']
        word = f'{ratio:.2f}x faster' if ratio >= 1 else f'{1 / ratio:.2f}x slower'
        lines.append(f"| {shape} | {t['median']:.0f} ({t['p10']:.0f}–{t['p90']:.0f}) | "
                     f"{s['median']:.0f} ({s['p10']:.0f}–{s['p90']:.0f}) | {word} | "
                     f"{peak['teacher']:.0f} | {peak['student']:.0f} |")
    m, v = results['machine'], results['versions']
    lines += ['', '![latency](latency.png)', '',
              f"Measured on {m['processor']}, {m['threads']} threads"
              f"{', ' + m['gpu'] if m['gpu'] else ''}; torch {v['torch']}, {results['date']}; "
              f"parameters of the backbones: teacher {results['params']['teacher']:,}, student "
              f"{results['params']['student']:,}.", '']
    return '\n'.join(lines)


def _verdict(miou: dict[str, float], student: str, other: str) -> str:
    gap = miou[student] - miou[other]
    word = 'better than' if gap > 0 else 'worse than' if gap < 0 else 'equal to'
    return f'- `{student}` is {abs(gap):.2f} mIoU {word} `{other}`.'
