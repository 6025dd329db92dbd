"""Distillation without writing a config: one call, which writes the config that it runs."""
from __future__ import annotations

import inspect
import pprint
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import timm
import torch
import torch.nn as nn
from mmengine.registry import init_default_scope
from PIL import Image
from torch import Tensor

from mmvitlin.apis.distillation_stages import check_student, stages_of
from mmvitlin.compat.config_types import plain
from mmvitlin.deploy.model import as_batch, read
from mmvitlin.engine.runner.config import load_config
from mmvitlin.engine.runner.launch import train
from mmvitlin.models.teachers.fetch import TEACHERS
from mmvitlin.registry import MODELS
from mmvitlin.utils.disturbance import cores
from mmvitlin.utils.errors import ConfigError, UserError, message_of
from mmvitlin.utils.files import write_whole
from mmvitlin.utils.numbers import number
from mmvitlin.utils.paths import IMAGE_ENDINGS, files_below, why_absent

_IMAGENET = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
_HEAD = '''# Written by mmvitlin.distill. To go on by hand, to inherit from it or to resume it:
#   mmvitlin train {file} --resume
_base_ = ['mmvitlin::_base_/schedules/distill_80k.py', 'mmvitlin::_base_/runtime_distill_cls.py']
'''


@dataclass(frozen=True)
class Distilled:
    """Result of :func:`distill`.

    Attributes:
        student: The trained backbone in eval mode, on the CPU.
        checkpoint: Its weights, keys ``backbone.*``: for ``init_cfg=dict(type='Pretrained',
            checkpoint=…, prefix='backbone.')`` in a config of a segmentor, detector or classifier.
        configs: The configs that were run, one a stage.
        losses: Name → mean of the last 50 iterations of the last stage.
        mean: Of the images that the student takes, RGB, of values 0 to 255.
        std: Likewise.
    """
    student: nn.Module
    checkpoint: Path
    configs: tuple[Path, ...]
    losses: dict[str, float]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def preprocess(self, image: str | Path | Image.Image | np.ndarray) -> Tensor:
        """An image as the student takes it: (1, 3, H, W), float32, normalised, at its own size.

        Args:
            image: A file, a picture, or (H, W, 3) uint8, RGB.

        Raises:
            UnreadableFileError: it cannot be decoded.
            ConfigError: an array of another shape or type.
        """
        pixels = torch.from_numpy(as_batch(read(image)))
        mean, std = (torch.tensor(values)[:, None, None] for values in (self.mean, self.std))
        return (pixels - mean) / std

    @torch.no_grad()
    def features(self, image: str | Path | Image.Image | np.ndarray) -> Tensor:
        """The student's last feature map of an image at its own size, without gradients.

        (1, C, h, w): a vector for each patch, those at the edges padded. Arguments and errors are
        those of :meth:`preprocess`.
        """
        return self.student(self.preprocess(image))[-1]


def distill(student: str | Mapping,
            teacher: str | Mapping,
            images: str | Path | Iterable[str | Path],
            *,
            objective: str | None = None,
            size: int | tuple[int, int] = 224,
            iterations: int = 10_000,
            batch_size: int = 32,
            lr: float | None = None,
            work_dir: str | Path | None = None,
            amp: bool | None = None,
            workers: int = 4,
            seed: int = 0,
            resume: bool = False,
            options: Mapping[str, object] | None = None) -> Distilled:
    """Distil a frozen ViT into a linear-time student, on images without labels.

    Args:
        student: 'adventurer-tiny', '-small', '-base' or '-large': an Adventurer from random
            weights. 'linear', 'focal' or 'mamba2': ViT-AdaLA, the teacher's own weights with linear
            attention, focal attention or Mamba-2 mixers instead of softmax attention (linear and
            mamba2 with Hedgehog's feature maps). A config of a backbone that gives tokens: that
            backbone.
        teacher: A name that timm has published weights for; ``mmvitlin::NAME`` of
            ``mmvitlin fetch_teacher``; or the config of a :class:`mmvitlin.models.FrozenTeacher`
            (``dict(backbone=…, checkpoint=…)``).
        images: A folder, read with all below it, or files.
        objective: Of a student from random weights. 'phi_s', or None: features at four depths
            against the teacher's, standardised by PHI-S; 'linearizer': ViT-Linearizer's activation
            matching and masked prediction; 'l2': final features. A student that inherits has those
            of ViT-AdaLA.
        size: Of the random crops that are seen, side or (height, width) in pixels; whole patches.
            224 is what most ViTs were pretrained at; nearer to your own images is better, and
            takes longer.
        iterations: Of each stage; ViT-AdaLA has two. 10,000 of 32 images are a first look, a
            quarter of an epoch of ImageNet; published distillations take a hundred epochs.
        batch_size: Images an iteration.
        lr: Learning rate of AdamW, of every stage. None: 5e-4 for a student from
            random weights; 4e-4 (5e-5 for 'focal', which starts near its goal) and 1e-4 for the two
            of ViT-AdaLA. These are defaults of mmvitlin, not tuned for your data.
        work_dir: Gets configs, logs, checkpoints, ``student.pth``. None: ``work_dirs/distill_`` and
            the student's name, or the type of its config.
        amp: Mixed precision; None: on a GPU, which needs it to be fast, and not on a CPU.
        workers: Processes that load images, at most one a core.
        seed: Of everything random.
        resume: Resume the same call where it was interrupted.
        options: As ``--cfg-options``, for every stage: ``{'model.teacher.cache': 'features'}``.

    Returns:
        The student and what was written.

    Raises:
        ConfigError: an unknown student, teacher or objective, a teacher's file that is not there,
            a number out of range, no images, a size that is no whole number of patches, or a config
            that ``mmvitlin train`` would refuse. Images are looked at last.
        CheckpointError: the teacher's weights do not fit.
        UnreadableFileError: an image cannot be decoded.

    Source: ViT-Linearizer (arXiv 2504.00037), ViT-AdaLA (arXiv 2603.16063), PHI-S (arXiv
        2410.01680); schedules are mmvitlin's own.
    """
    height, width = _side_lengths(size)
    for name, value, least in (('iterations', iterations, 1), ('batch_size', batch_size, 1),
                               ('workers', workers, 0)):
        number(name, value, least=least, whole=True)
    if lr is not None:
        number('lr', lr, above=0)
    if options is not None and not isinstance(options, Mapping):
        raise ConfigError(f'options: {options!r}, must be a mapping, such as '
                          "{'model.teacher.cache': 'features'}")
    student, teacher = (plain(value, key) for value, key in ((student, 'student'),
                                                             (teacher, 'teacher')))
    check_student(student, objective)
    student = student if isinstance(student, str) else _scoped(student)
    if work_dir is None:
        name = student if isinstance(student, str) else str(student['type']).rpartition('.')[2]
        work_dir = Path('work_dirs') / f'distill_{name.lower()}'
    work_dir = Path(work_dir)
    teacher_cfg, (mean, std) = _teacher(teacher)
    patch = _patch_size(teacher_cfg['backbone'], 'teacher') if isinstance(student, str) else \
        _patch_size(student, 'student')
    if height % patch or width % patch:
        near = [max(round(side / patch), 1) * patch for side in (height, width)]
        raise ConfigError(f'size: {height}×{width} pixels are no whole patches of {patch}; take '
                          f'{tuple(near)}')
    stages = stages_of(student, objective, teacher_cfg, patch, (height, width), work_dir)
    common = dict(
        train_dataloader=_loader(images, (height, width), batch_size, workers, work_dir),
        train_cfg=dict(max_iters=iterations, val_interval=iterations),
        param_scheduler=_schedule(iterations),
        auto_scale_lr=dict(enable=False),
        default_hooks=dict(
            checkpoint=dict(interval=max(iterations // 10, min(iterations, 100)),
                            max_keep_ckpts=1),
            logger=dict(interval=min(50, max(iterations // 10, 1)))),
        log_processor=dict(by_epoch=False),
        randomness=dict(seed=seed))
    preprocessor = dict(type='mmvitlin.ImagePreprocessor', mean=mean, std=std, bgr_to_rgb=True)
    amp = torch.cuda.is_available() if amp is None else amp
    files: list[Path] = []
    for stage, model, rate in stages:
        decay = {} if stage == 'distill' else dict(weight_decay=0.)  # weights are inherited
        file = _write(work_dir / f'{stage}.py', dict(
            model=dict(model, data_preprocessor=preprocessor), **common,
            optim_wrapper=dict(optimizer=dict(lr=lr or rate, **decay))))
        cfg = load_config(str(file), dict(options or {}), str(work_dir / stage))
        try:
            runner = train(cfg, resume=resume, amp=amp)
        except UserError as error:
            if message_of(error) == str(error):
                raise
            raise type(error)(message_of(error)) from None  # without a loader's traceback
        files.append(file)
    checkpoint = work_dir / files[-1].stem / 'student.pth'
    losses = {key.removeprefix('train/'): float(log.mean(50))
              for key, log in runner.message_hub.log_scalars.items()
              if key.startswith('train/') and 'loss' in key}
    init_default_scope('mmvitlin')
    network = MODELS.build(dict(cfg.model.backbone, init_cfg=dict(
        type='Pretrained', checkpoint=str(checkpoint), prefix='backbone.')))
    network.init_weights()
    seen = cfg.model.data_preprocessor  # options may have changed it
    return Distilled(network.eval(), checkpoint, tuple(files), losses, tuple(seen.mean),
                     tuple(seen.std))


def _side_lengths(size: int | tuple[int, int]) -> tuple[int, int]:
    """(height, width) of the crops.

    Raises:
        ConfigError: something else than one or two whole numbers above 0.
    """
    sides = (size, size) if isinstance(size, int) else size
    if not isinstance(sides, (tuple, list)) or len(sides) != 2 or not all(
            isinstance(side, int) and side > 0 for side in sides):
        raise ConfigError(f'size: {size!r}, must be one side or (height, width), in pixels')
    return sides[0], sides[1]


def _teacher(teacher: str | Mapping) -> tuple[dict, tuple[list[float], list[float]]]:
    """Config of the teacher; mean and std of its images."""
    if not isinstance(teacher, (str, Mapping)):
        raise ConfigError(f'teacher: {teacher!r} is neither a name nor a config, '
                          'dict(backbone=dict(type=…), checkpoint=…)')
    if isinstance(teacher, Mapping):
        if not isinstance(teacher.get('backbone'), Mapping):
            raise ConfigError('teacher: a config has a backbone, dict(backbone=dict(type=…), '
                              'checkpoint=…)')
        _look_for(teacher.get('checkpoint'))
        name = teacher['backbone'].get('model_name', '')
        own = [teacher.get(key) for key in ('mean', 'std')]
        if (own[0] is None) != (own[1] is None):
            raise ConfigError('teacher: give mean and std, or neither')
        teacher = dict(teacher, backbone=_scoped(teacher['backbone']))
        return teacher, _norm_of(name) if own[0] is None else tuple(map(list, own))
    fetched = TEACHERS.get(teacher.removeprefix('mmvitlin::'))
    if fetched is not None:
        checkpoint = f"mmvitlin::{teacher.removeprefix('mmvitlin::')}"
        _look_for(checkpoint)
        cfg = dict(backbone=fetched.backbone(), checkpoint=checkpoint)
        return cfg, (list(fetched.mean), list(fetched.std))
    if timm.models.get_pretrained_cfg(teacher) is None:
        near = timm.list_models(f"*{teacher.split('.')[0]}*", pretrained=True)[:3]
        raise ConfigError(f"teacher: timm has no published weights called '{teacher}'"
                          + (f", but {', '.join(near)}" if near else '')
                          + "; a file goes as dict(backbone=dict(type='mmvitlin.TimmViT', "
                          "model_name=…), checkpoint='FILE')")
    backbone = dict(type='mmvitlin.TimmViT', model_name=teacher, pretrained=True)
    return dict(backbone=backbone), _norm_of(teacher)


def _scoped(backbone: Mapping) -> dict:
    """A backbone of mmvitlin with its scope: stages are run in mmpretrain's."""
    kind = str(backbone.get('type'))
    return dict(backbone, type=f'mmvitlin.{kind}') if kind in MODELS.module_dict else dict(backbone)


def _look_for(checkpoint: object) -> None:
    """Raises ConfigError: the teacher's file is not there. A URL is taken as it is."""
    if isinstance(checkpoint, str) and '://' not in checkpoint \
            and (reason := why_absent(checkpoint)):
        raise ConfigError(f'teacher: {reason}')


def _norm_of(model_name: str) -> tuple[list[float], list[float]]:
    known = timm.models.get_pretrained_cfg(model_name) if model_name else None
    if known is None or not known.mean:
        return _IMAGENET
    return tuple([round(255 * v, 3) for v in values] for values in (known.mean, known.std))


def _patch_size(backbone: Mapping, side: str) -> int:
    if 'patch_size' in backbone:
        return backbone['patch_size']
    if 'model_name' not in backbone:
        kind = MODELS.get(backbone.get('type'))
        default = kind and inspect.signature(kind).parameters.get('patch_size')
        if default is None or default.default is default.empty:
            raise ConfigError(f"{side}: give {'backbone.' * (side == 'teacher')}patch_size")
        return default.default
    with torch.device('meta'):
        network = timm.create_model(backbone['model_name'], **backbone.get('model_kwargs', {}))
    embed = getattr(network, 'patch_embed', None)
    size = getattr(embed, 'patch_size', None)
    if size is None:
        raise ConfigError(f"{side}: {backbone['model_name']} cuts no patches, which distill needs; "
                          "write a config for mmvitlin train, with type='mmvitlin.TimmFeatures' "
                          '(docs/own_project.md)')
    return size[0] if isinstance(size, Sequence) else size


def _loader(images: str | Path | Iterable[str | Path], size: tuple[int, int], batch_size: int,
            workers: int, work_dir: Path) -> dict:
    work_dir.mkdir(parents=True, exist_ok=True)
    workers = min(workers, len(cores()))
    source = dict(data_root=str(images), extensions=IMAGE_ENDINGS)
    if isinstance(images, (str, Path)):
        if not Path(images).is_dir():
            raise ConfigError(f"images: no folder at '{images}'")
        found = sum(path.suffix.lower() in IMAGE_ENDINGS for path in files_below(images))
    else:
        files = list(images) if isinstance(images, Iterable) else [images]
        if wrong := [one for one in files if not isinstance(one, (str, Path))]:
            raise ConfigError('images: a folder, or paths of files, got '
                              f'{type(wrong[0]).__name__}; arrays and tensors have to be saved')
        listed, found = work_dir / 'images.txt', len(files)
        write_whole(''.join(f'{Path(p).absolute()}\n' for p in files).encode(), listed)
        source = dict(data_root='', ann_file=str(listed.absolute()))
    if found < batch_size:
        looked = f' (files that end with {", ".join(IMAGE_ENDINGS)})' if found == 0 else ''
        raise ConfigError(f'images: {found} found{looked}, fewer than batch_size={batch_size}')
    return dict(
        batch_size=batch_size, num_workers=workers, persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(), collate_fn=dict(type='default_collate'),
        worker_init_fn=dict(type='mmvitlin.patient_worker'),
        sampler=dict(type='mmvitlin.SeededInfiniteSampler', shuffle=True),
        dataset=dict(type='mmpretrain.CustomDataset', with_label=False, **source, pipeline=[
            dict(type='mmvitlin.LoadCrop', scale=size, crop_ratio_range=(0.2, 1.0), flip_prob=0.5,
                 draft=True),
            dict(type='mmvitlin.PackImage')]))


def _schedule(iterations: int) -> list[dict]:
    warm = max(min(iterations // 10, 2000), 1)
    return [dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=warm),
            dict(type='CosineAnnealingLR', eta_min=0., by_epoch=False, begin=warm,
                 end=max(iterations, warm + 1))]


def _write(file: Path, values: dict) -> Path:
    """A config as readable Python."""
    text = _HEAD.format(file=file.as_posix()) + ''.join(
        f'{key} = {pprint.pformat(value, width=95, sort_dicts=False)}\n'
        for key, value in values.items())
    write_whole(text.encode(), file)
    return file
