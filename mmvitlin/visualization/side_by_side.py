"""Teacher and student on the same images: where they differ, and what their tokens see."""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from mmvitlin.models import TokenBackbone
from mmvitlin.visualization.figures import plt, save
from mmvitlin.visualization.overlay import overlay

VERDICTS = {'both right': (235, 235, 235), 'only the student': (0, 158, 115),
            'only the teacher': (213, 94, 0), 'both wrong': (120, 120, 120),
            'unlabelled': (0, 0, 0)}


class Segmenter(Protocol):
    """Interface of the networks; :class:`mmvitlin.apis.SegInferencer` has it."""
    model: nn.Module
    device: torch.device

    def read(self, image: str | Path | np.ndarray) -> tuple[np.ndarray, dict]:
        """The image (H, W, 3), and what ``predict`` takes."""

    def predict(self, data: dict) -> np.ndarray:
        """Labels (H, W)."""


def verdicts(teacher: np.ndarray, student: np.ndarray, labels: np.ndarray,
             ignore_index: int = 255) -> np.ndarray:
    """Index into :data:`VERDICTS` of each pixel of three (H, W) maps."""
    right_t, right_s = teacher == labels, student == labels
    out = np.where(right_t & right_s, 0, np.where(right_s, 1, np.where(right_t, 2, 3)))
    out[labels == ignore_index] = 4
    return out


@torch.inference_mode()
def token_map(infer: Segmenter, data: dict, at: tuple[float, float], layer: int = -1) -> Tensor:
    """Cosine similarity of the token at a place to every token, in −1 … 1.

    Args:
        infer: Its backbone must be a :class:`mmvitlin.models.TokenBackbone`.
        data: From its ``read``.
        at: (y, x) as shares of height and width, 0 to 1.
        layer: After which block.

    Returns:
        (H, W), at each pixel of the image that the network saw that of the token which covers it;
        what was padded is left out.

    Raises:
        TypeError: the backbone gives no tokens.
        ValueError: a place outside the image.
    """
    backbone = infer.model.backbone
    if not isinstance(backbone, TokenBackbone):
        raise TypeError(f'{type(backbone).__name__} gives no tokens to compare')
    if not all(0 <= share <= 1 for share in at):
        raise ValueError(f'the place must be shares of height and width in 0 … 1, got {at}')
    images = infer.model.data_preprocessor(dict(inputs=[data['inputs']],
                                                data_samples=[data['data_samples']]))['inputs']
    tokens, = backbone.forward_tokens(images.to(infer.device), layer)
    features = F.normalize(tokens.patches[0].float(), dim=-1)
    height, width = data['inputs'].shape[-2:]
    row, col = (min(int(share * side), side - 1) // backbone.patch_size
                for share, side in zip(at, (height, width), strict=True))
    similar = (features @ features[row * tokens.grid[1] + col]).unflatten(0, tokens.grid).cpu()
    for axis in (0, 1):
        similar = similar.repeat_interleave(backbone.patch_size, axis)
    return similar[:height, :width]


def predictions(teacher: Segmenter, student: Segmenter,
                images: Iterable[tuple[str, np.ndarray]]) -> Iterator[dict[str, np.ndarray]]:
    """Predictions of two networks on labelled images.

    Args:
        teacher: One network.
        student: The other.
        images: (file, labels), as :func:`mmvitlin.evaluation.resolution.labelled_images` gives.

    Returns:
        For each image dict(image (H, W, 3), labels, teacher, student (H, W)).
    """
    for path, labels in images:
        image, data = teacher.read(path)
        yield dict(image=image, labels=labels, teacher=teacher.predict(data),
                   student=student.predict(student.read(path)[1]))


def difference_figure(rows: Sequence[dict], palette: np.ndarray, classes: Sequence[str],
                      path: str | Path, miou: dict[str, float] | None = None) -> Path:
    """Image, label, teacher, student and where they differ, one row an image.

    Args:
        rows: From :func:`predictions`.
        palette: (C, 3) colours.
        classes: Names of the C classes; those that are in the pictures are explained.
        path: Where to write.
        miou: Of 'teacher' and 'student' on the whole set, in percent.
    """
    scores = {role: f', mIoU {score:.1f}' for role, score in (miou or {}).items()}
    titles = ('image', 'label', *(role + scores.get(role, '') for role in ('teacher', 'student')))
    height, width = rows[0]['image'].shape[:2]
    figure, axes = plt.subplots(len(rows), 5, squeeze=False,
                                figsize=(15, (3 * height / width + 0.25) * len(rows) + 0.8))
    colours = np.array(list(VERDICTS.values()), np.uint8)
    for line, row in zip(axes, rows, strict=True):
        verdict = verdicts(row['teacher'], row['student'], row['labels'])
        pictures = (row['image'], *(overlay(row['image'], row[k], palette, 0.7)
                                    for k in ('labels', 'teacher', 'student')),
                    colours[verdict])
        for axis, picture in zip(line, pictures, strict=True):
            axis.imshow(picture)
            axis.axis('off')
        shares = [f'{100 * np.mean(verdict == n):.0f}% {name}'
                  for n, name in enumerate(VERDICTS) if n in (1, 2)]
        line[4].set_title(', '.join(shares), fontsize=8)
    for axis, title in zip(axes[0], titles, strict=False):
        axis.set_title(title, fontsize=10)
    shown = np.unique(np.concatenate([np.unique(row[k]) for row in rows
                                      for k in ('labels', 'teacher', 'student')]))
    shown = shown[shown < len(classes)]
    room = 0.8 / figure.get_figheight()
    for names, shades, low in ((VERDICTS, colours, 0.),
                               ([classes[n] for n in shown], palette[shown], room / 2)):
        handles = [plt.Rectangle((0, 0), 1, 1, color=c / 255) for c in shades]
        figure.legend(handles, list(names), loc='lower center', bbox_to_anchor=(0.5, low),
                      ncol=len(handles), fontsize=8, frameon=False, handlelength=1.2,
                      columnspacing=1.2)
    figure.tight_layout(rect=(0, room, 1, 1))
    return save(figure, path)


def token_figure(image: np.ndarray, maps: dict[str, Tensor], at: tuple[float, float],
                 path: str | Path) -> Path:
    """The image with the chosen token, and similarity maps of several networks that show it."""
    figure, axes = plt.subplots(1, 1 + len(maps), figsize=(5 * (1 + len(maps)), 3.4))
    height, width = image.shape[:2]
    axes[0].imshow(image)
    axes[0].plot(at[1] * width, at[0] * height, 'o', color='#d55e00', markeredgecolor='white')
    axes[0].set_title('the chosen token')
    for axis, (name, values) in zip(axes[1:], maps.items(), strict=True):
        shown = axis.imshow(values, vmin=-1, vmax=1, cmap='RdBu_r', extent=(0, width, height, 0))
        axis.set_title(f'cosine to it, {name}')
    for axis in axes:
        axis.axis('off')
    figure.colorbar(shown, ax=axes, shrink=0.8)
    return save(figure, path)
