"""Similarity of a student to its teacher: their token-similarity maps, layer by layer."""
from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.structures import BaseDataElement
from torch import Tensor

from mmvitlin.compat.kinds import is_kind, kind_of
from mmvitlin.datasets.checks.checking import LABEL_STEPS, READING_STEPS
from mmvitlin.datasets.subset import evenly
from mmvitlin.engine.checkpoints import last_checkpoint
from mmvitlin.engine.runner.config import config_of_run, load_config
from mmvitlin.engine.runner.launch import without_initial_weights
from mmvitlin.models import ActivationMatchingLoss, TokenBackbone
from mmvitlin.ops import cosine_map_distance
from mmvitlin.utils.errors import ConfigError
from mmvitlin.utils.optional import OptionalModule
from mmvitlin.visualization.figures import plt, save

stats = OptionalModule('scipy.stats', 'experiments')


@dataclass
class RunBackbone:
    """A backbone with what its images go through.

    Attributes:
        name: In tables.
        backbone: A :class:`mmvitlin.models.TokenBackbone`, eval mode.
        preprocess: OpenMMLab data preprocessor.
        cfg: The run's config.
        score: mIoU of the run, None where it has none.
        matched: Whether it was trained by activation matching, whose distance this is.
    """
    name: str
    backbone: TokenBackbone
    preprocess: nn.Module
    cfg: Config
    score: float | None = None
    matched: bool = False

    @classmethod
    def of_run(cls, folder: str | Path, name: str | None = None, trained: bool = True,
               metric: str = 'mIoU', options: dict | None = None) -> RunBackbone:
        """From the work directory of a run: its config, and ``student.pth`` or the last checkpoint.

        Args:
            folder: Of a segmentation or distillation run of this toolkit.
            name: The folder's by default.
            trained: Load the weights; else the network is as its seed initialises it.
            metric: Of ``result.json``.
            options: ``--cfg-options``.

        Raises:
            ConfigError: no config or checkpoint there, or a backbone that gives no tokens.
        """
        folder = Path(folder)
        config = config_of_run(folder)
        cfg = load_config(str(config), options)
        init_default_scope(cfg.get('default_scope', 'mmengine'))
        without_initial_weights(cfg)
        torch.manual_seed((cfg.get('randomness') or {}).get('seed') or 0)
        backbone = MODELS.build((cfg.model.get('student') or cfg.model).backbone)
        if not isinstance(backbone, TokenBackbone):
            raise ConfigError(f'{config}: a {type(backbone).__name__} gives no tokens to compare')
        if trained:
            student = folder / 'student.pth'
            file = student if student.is_file() else last_checkpoint(folder)
            backbone.load_weights(str(file), 'backbone.')
        preprocess = dict(cfg.model.get('data_preprocessor') or cfg.data_preprocessor)
        preprocess.setdefault('type', 'mmpretrain.ClsDataPreprocessor')
        matched = trained and bool((cfg.model.get('objectives') or {}).get('activation'))
        return cls(name or folder.name, backbone.eval(), MODELS.build(preprocess), cfg,
                   score_of(folder, metric) if trained else None, matched)

    @torch.inference_mode()
    def tokens(self, image: Tensor, layers: Sequence[int]) -> list:
        """Tokens of one (3, H, W) uint8 BGR image after each of the layers."""
        images = self.preprocess(dict(inputs=[image], data_samples=[BaseDataElement()]))['inputs']
        return self.backbone.forward_tokens(images, layers)


def score_of(folder: str | Path, metric: str = 'mIoU') -> float | None:
    """The metric in ``result.json`` of a work directory; None where there is none."""
    file = Path(folder) / 'result.json'
    metrics = json.loads(file.read_text()).get('metrics', {}) if file.is_file() else {}
    return metrics.get(metric)


def unseen_images(cfg: Config, limit: int | None = None) -> Iterator[Tensor]:
    """(3, H, W) uint8 BGR images of a config's test set at the size of its test pipeline; with a
    limit as many, evenly spread."""
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    dataset = DATASETS.build(dict(cfg.test_dataloader.dataset, pipeline=[]))
    steps = [s for s in cfg.test_dataloader.dataset.pipeline if not is_kind(s, LABEL_STEPS)]
    if not is_kind(steps[0], READING_STEPS):
        raise ConfigError(f'the test pipeline starts with {kind_of(steps[0])}, which reads no '
                          'image')
    pipeline = Compose(steps)
    for n in evenly(len(dataset), limit):
        info = {k: v for k, v in dataset.get_data_info(n).items() if k != 'seg_map_path'}
        yield pipeline(info)['inputs']


def centred_alignment(student: Tensor, teacher: Tensor) -> Tensor:
    """Linear CKA of two token sets, 0 … 1 (1: the same but for a rotation and a scale).

    Unlike the cosine maps it subtracts the mean over the tokens of an image.

    Args:
        student: (B, L, C).
        teacher: (B, L, D).

    Returns:
        (B,).

    Source: Kornblith et al., Similarity of Neural Network Representations Revisited
    (arXiv 1905.00414), equation 3 for linear kernels.
    """
    s, t = (x.float() - x.float().mean(1, keepdim=True) for x in (student, teacher))
    cross = (t.mT @ s).square().sum((1, 2))
    own = (s.mT @ s).square().sum((1, 2)) * (t.mT @ t).square().sum((1, 2))
    return cross / own.sqrt().clamp_min(1e-12)


def transferred(teacher: RunBackbone, student: RunBackbone, images: Iterable[Tensor],
                stages: int | None = None) -> dict[str, list[float]]:
    """Distance of a student's token similarities from its teacher's, stage by stage.

    Args:
        teacher: One network.
        student: The other, on the same grid of tokens.
        images: From :func:`unseen_images`.
        stages: Equal parts that both depths are cut into; the shallower one's depth by default.

    Returns:
        'distance': mean of 1 − cosine between rows of the cosine maps (what activation matching
        minimises, over all tokens); 'cka': mean linear CKA. A value a stage.

    Raises:
        ConfigError: the grids differ, or more stages than layers.
    """
    depths = teacher.backbone.num_layers, student.backbone.num_layers
    stages = stages or min(depths)
    try:
        layers = [ActivationMatchingLoss(stages).layers(depth) for depth in depths]
    except ValueError as error:
        raise ConfigError(f'{student.name} beside {teacher.name}: {error}') from error
    rows: dict[str, list[list[float]]] = dict(distance=[], cka=[])
    for image in images:
        pairs = list(zip(student.tokens(image, layers[1]), teacher.tokens(image, layers[0]),
                         strict=True))
        if pairs[0][0].grid != pairs[0][1].grid:
            raise ConfigError(f'{student.name} sees {pairs[0][0].grid} tokens and {teacher.name} '
                              f'{pairs[0][1].grid}: their patches differ')
        rows['distance'].append([float(cosine_map_distance(s.patches, t.patches).mean())
                                 for s, t in pairs])
        rows['cka'].append([float(centred_alignment(s.patches, t.patches).mean())
                            for s, t in pairs])
    return {name: np.mean(values, axis=0).round(5).tolist() for name, values in rows.items()}


def correlations(rows: Sequence[dict], draws: int = 10000) -> dict[str, dict]:
    """Rank correlation (Spearman) of mean distance and mean CKA with the scores, within seeds.

    Students of one seed have one teacher; students of several are not ranked together, because a
    better teacher alone would move all of them.

    Args:
        rows: With 'name', that of one seed NAME/SEED, 'distance', 'cka' (lists), 'score', 'tuned'
            (whether the score is that of a later run) and 'matched' (whether the run minimised this
            distance itself). If any score is of a later run, the others are left out: maps before
            and after training with labels are not to be mixed.
        draws: Random orders for the p-value.

    Returns:
        'all' and 'not matched' (the runs that did not minimise the distance) → 'distance' and 'cka'
        → 'rho' (−1 … 1, mean over seeds) and 'p' (part of random orders of the students' scores
        whose mean is as far from 0), and 'runs', their number in each seed. An order is the same
        for all seeds, because a kind of student is good or bad in each seed alike: seeds are not
        independent. Seeds with less than three such runs are left out, and groups without a seed.
    """
    scored = [r for r in rows if r.get('score') is not None]
    if any(r.get('tuned') for r in scored):
        scored = [r for r in scored if r['tuned']]
    result = {}
    for group, members in (('all', scored),
                           ('not matched', [r for r in scored if not r.get('matched')])):
        seeds: dict[str, list[dict]] = {}
        for row in members:
            seeds.setdefault(row['name'].rpartition('/')[2] if '/' in row['name'] else '',
                             []).append(row)
        groups = [runs for runs in seeds.values() if len(runs) >= 3]
        if groups:
            result[group] = dict(runs=[len(runs) for runs in groups],
                                 **{key: _rank(groups, key, draws) for key in ('distance', 'cka')})
    return result if result.get('all') != result.get('not matched') else {'all': result['all']} \
        if result else {}


def _rank(seeds: Sequence[Sequence[dict]], key: str, draws: int) -> dict[str, float]:
    kinds = sorted({_kind(row) for runs in seeds for row in runs})
    places = np.random.default_rng(0).random((draws, len(kinds)))  # sorted, they are an order
    rho, drawn = 0., np.zeros(draws)
    for runs in (sorted(runs, key=_kind) for runs in seeds):
        near, scores = (_standard_ranks(values) for values in zip(*(
            (np.mean(row[key]), row['score']) for row in runs), strict=True))
        rho += near @ scores / len(seeds)
        order = places[:, [kinds.index(_kind(row)) for row in runs]].argsort(axis=1)
        drawn += scores[order] @ near / len(seeds)
    far = int((np.abs(drawn) >= abs(rho) - 1e-9).sum())
    return dict(rho=round(float(rho), 3), p=round((far + 1) / (draws + 1), 4))


def _kind(row: dict) -> str:
    return row['name'].rpartition('/')[0] or row['name']


def _standard_ranks(values: Sequence[float]) -> np.ndarray:
    """Ranks whose products sum to Spearman's coefficient; zeros where all are equal."""
    ranks = stats.rankdata(values) - (len(values) + 1) / 2
    return ranks / max(np.linalg.norm(ranks), 1e-12)


def transfer_figure(rows: Sequence[dict], path: str | Path, metric: str = 'mIoU') -> Path:
    """Distance and CKA over stages, means over seeds, and each run's mean distance against its
    score."""
    kinds: dict[str, list[dict]] = {}
    for row in rows:
        kinds.setdefault(_kind(row), []).append(row)
    looks = {kind: dict(color=plt.get_cmap('tab20' if len(kinds) > 10 else 'tab10')(n % 20),
                        marker='os^Dv'[n % 5]) for n, kind in enumerate(kinds)}
    scored = any(r.get('score') is not None for r in rows)
    figure, axes = plt.subplots(1, 2 + scored, figsize=(5 * (2 + scored), 4.2))
    for axis, name, title in ((axes[0], 'distance', 'distance of similarity maps (1 − cosine)'),
                              (axes[1], 'cka', 'linear CKA')):
        for kind, runs in kinds.items():
            means = np.mean([run[name] for run in runs], axis=0)
            axis.plot(range(1, len(means) + 1), means, label=kind, **looks[kind])
        axis.set(xlabel='stage', title=title)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
    axes[0].set_yscale('log')  # from hundredths to halves
    if scored:
        for kind, runs in kinds.items():
            points = [(np.mean(run['distance']), run['score']) for run in runs
                      if run.get('score') is not None]
            if points:
                axes[2].plot(*zip(*points, strict=True), linestyle='', **looks[kind])
        axes[2].set(xlabel='mean distance of similarity maps', ylabel=metric, xscale='log',
                    title='does it predict the score?')
        axes[2].grid(alpha=0.3)
    figure.legend(*axes[0].get_legend_handles_labels(), loc='outside right upper', fontsize=8)
    figure.set_layout_engine('constrained')
    return save(figure, path)


def similar_tokens(net: RunBackbone, image: Tensor, at: tuple[float, float]) -> Tensor:
    """Cosine similarity of the last layer's token at a place to all of them, (h, w).

    Args:
        net: A network.
        image: From :func:`unseen_images`.
        at: (y, x) as shares of height and width, 0 to 1.

    Raises:
        ConfigError: a place outside the image.
    """
    if not all(0 <= share <= 1 for share in at):
        raise ConfigError(f'a token is chosen by shares of height and width in 0 … 1, got {at}')
    tokens, = net.tokens(image, [net.backbone.num_layers - 1])
    features = torch.nn.functional.normalize(tokens.patches[0].float(), dim=-1)
    row, col = (min(int(share * side), side - 1) // net.backbone.patch_size
                for share, side in zip(at, image.shape[-2:], strict=True))
    return (features @ features[row * tokens.grid[1] + col]).unflatten(0, tokens.grid)


def tokens_figure(nets: Sequence[RunBackbone], image: Tensor,
                  places: Sequence[tuple[float, float]], path: str | Path) -> Path:
    """An image with chosen tokens, a row each, and what they are similar to in several networks."""
    figure, axes = plt.subplots(len(places), 1 + len(nets), squeeze=False, layout='constrained',
                                figsize=(2.6 * (1 + len(nets)), 2.1 * len(places)))
    height, width = image.shape[-2:]
    for line, at in zip(axes, places, strict=True):
        line[0].imshow(image.flip(0).permute(1, 2, 0))
        line[0].plot(at[1] * width, at[0] * height, 'o', color='#d55e00', markeredgecolor='white')
        for axis, net in zip(line[1:], nets, strict=True):
            similar, patch = similar_tokens(net, image, at), net.backbone.patch_size
            shown = axis.imshow(similar, vmin=-1, vmax=1, cmap='RdBu_r', extent=(
                0, similar.shape[1] * patch, similar.shape[0] * patch, 0))
            axis.set(xlim=(0, width), ylim=(height, 0))  # without what was padded
    for axis, name in zip(axes[0], ('chosen token', *(net.name for net in nets)), strict=True):
        axis.set_title(name, fontsize=9)
    for axis in axes.flat:
        axis.axis('off')
    figure.colorbar(shown, ax=axes, label='cosine to it', shrink=0.8)
    return save(figure, path)
