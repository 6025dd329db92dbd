"""Export of trained networks to other runtimes; each file is verified before it gets its name."""
from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor

from mmvitlin.apis.description import describe
from mmvitlin.apis.shown_by_tests import grey_of, multiple, normalisation, windows_of
from mmvitlin.apis.writers import (
    WRITERS,
    ExportError,
    in_plain_operators,
    is_mask2former,
    sample_images,
    write_weights,
)
from mmvitlin.compat.quiet import quiet_export
from mmvitlin.engine.rules import check, check_whole
from mmvitlin.engine.runner.config import load_config
from mmvitlin.engine.runner.launch import without_initial_weights
from mmvitlin.models.decode_heads.eomt_head import class_scores
from mmvitlin.models.layers import BiMamba, pad_to_multiples
from mmvitlin.models.utils.checkpoint import read_meta
from mmvitlin.utils.errors import ConfigError
from mmvitlin.utils.paths import locate

SUFFIXES = {'checkpoint': '.pth', 'safetensors': '.safetensors', 'onnx': '.onnx',
            'openvino': '.xml', 'torch': '.pt2', 'aot': '.pt2'}


class Deployed(nn.Module):
    """A trained network from plain RGB images to plain tensors, normalisation included.

    Args:
        net: An mmseg segmentor, an mmpretrain classifier, or a backbone.
        mean: RGB, of values 0 to 255.
        std: RGB.
        rgb: Whether the network takes RGB (else BGR).
        grey: Whether it is shown images as grey, which is made of their colours.

    Attributes:
        finished: False if the checkpoint is of a distillation that was cut.
        windows: Size and stride, (height, width) each, of the windows that its config tests in;
            None for whole images.
        patch: Side of the backbone's patches in pixels.
        multiple: Pixels that the test pads images to multiples of; whole patches.
        config: That it was loaded with, or None.
        source: File of the checkpoint, or None.
    """

    def __init__(self, net: nn.Module, mean: Sequence[float], std: Sequence[float],
                 rgb: bool = True, grey: bool = False):
        super().__init__()
        self.net, self.rgb, self.grey, self.finished = net, rgb, grey, True
        self.windows: tuple[Sequence[int], Sequence[int]] | None = None
        self.patch = self.multiple = getattr(getattr(net, 'backbone', net), 'patch_size', 1)
        self.config: Config | None = None
        self.source: Path | None = None
        self.register_buffer('mean', torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std).view(-1, 1, 1), persistent=False)

    @property
    def pads_to(self) -> int:
        """Pixels that the network itself pads to multiples of; what is cut into windows is padded
        before, to :attr:`multiple`."""
        return self.patch if self.windows else self.multiple

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what :meth:`forward` returns."""
        if hasattr(self.net, 'decode_head'):
            return 'labels', 'scores'
        if hasattr(self.net, 'head'):
            return ('logits', )
        return tuple(f'features_{i}' for i in self.net.out_indices)

    def normalised(self, images: Tensor) -> Tensor:
        """What the network is shown of plain images (B, 3, H, W)."""
        x = grey_of(images) if self.grey else images if self.rgb else images.flip(1)
        return (x - self.mean) / self.std

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Images (B, 3, H, W), RGB, float32, 0 to 255.

        Returns:
            Of a segmentor labels (B, H, W) uint8 (int64 from 256 classes) and the head's scores
            (B, classes, h, w) for the image padded to whole patches, of mask heads at its size
            (masks are resized before they are summed); of a classifier logits
            (B, classes); of a backbone its maps.
        """
        x = self.normalised(images)
        if not hasattr(self.net, 'decode_head'):
            out = self.net(x, mode='tensor') if hasattr(self.net, 'head') else self.net(x)
            return tuple(out) if isinstance(out, (tuple, list)) else (out, )
        height, width = images.shape[-2:]
        x = pad_to_multiples(x, (self.pads_to, ) * 2)
        head, features = self.net.decode_head, self.net.extract_feat(x)
        scores = head(features, []) if is_mask2former(self.net) else head(features)
        if isinstance(scores, tuple):  # classes and masks of queries
            classes, masks = (layers[-1] for layers in scores)
            scores = full = class_scores(classes, masks, x.shape[-2:])
        else:
            full = F.interpolate(scores, x.shape[-2:], mode='bilinear',
                                 align_corners=self.net.align_corners)
        if full.shape[1] == 1:
            labels = (full.sigmoid() > self.net.decode_head.threshold)[:, 0]
        else:
            labels = full.argmax(1)
        labels = labels if full.shape[1] > 256 else labels.to(torch.uint8)
        for axis, length in ((1, height), (2, width)):  # a slice would fix whether it is one
            labels = labels.index_select(axis, torch.arange(length, device=labels.device))
        return labels, scores


def load_trained(config: str, checkpoint: str, options: dict | None = None) -> Deployed:
    """A trained network of a config, ready to be deployed.

    Of a distillation config it is the student's backbone, from ``student.pth`` or a full
    checkpoint.

    Raises:
        ConfigError: a model that is neither a segmentor, a classifier nor a distiller, or what
            :mod:`mmvitlin.engine.rules` refuses.
        CheckpointError: a checkpoint of another model.
    """
    cfg = load_config(config, options)
    check(cfg, 'export', checkpoint=checkpoint)
    without_initial_weights(cfg)
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    if 'teacher' in cfg.model:
        student = cfg.model.get('student') or cfg.model  # of class probabilities a whole network
        net = MODELS.build(student.backbone)
        net.load_weights(checkpoint, 'backbone.')
    else:
        net = MODELS.build(cfg.model)
        if not hasattr(net, 'backbone') or not (hasattr(net, 'decode_head') or
                                                hasattr(net, 'head')):
            raise ConfigError(f'{config} holds a {type(net).__name__}; segmentors, classifiers and '
                              'distilled backbones can be exported')
        head = getattr(net, 'decode_head', None)
        if isinstance(head, nn.ModuleList):
            raise ConfigError(f'{config}: a single head can be exported, not a cascade of them')
        net.load_state_dict(check_whole(net, checkpoint), strict=False)
    deployed = Deployed(net.eval(), *normalisation(cfg)).eval()
    deployed.finished = read_meta(checkpoint).get('finished', True)
    deployed.config, deployed.windows = cfg, windows_of(cfg)
    deployed.multiple = multiple(cfg, deployed.patch)
    deployed.source = None if '://' in str(checkpoint) else locate(checkpoint)
    return deployed


@dataclass
class Exported:
    """What was written and how it was checked.

    Attributes:
        path: The file.
        outputs: Names of its outputs; empty for weights.
        shapes: (batch, height, width) it was run at.
        error: Largest difference from this toolkit's own result over the largest value there.
        label_error: Largest fraction of pixels with another label, of segmentors.
    """
    path: Path
    outputs: tuple[str, ...] = ()
    shapes: tuple[tuple[int, int, int], ...] = ()
    error: float = 0.
    label_error: float | None = None

    def __str__(self) -> str:
        if not self.shapes:
            return f'{self.path}: read back, every tensor equal'
        sizes = ', '.join((f'{b} images of ' if b > 1 else '') + f'{h}x{w}'
                          for b, h, w in self.shapes)
        labels = {None: '', 0.: ', all labels equal'}.get(
            self.label_error, f', labels on all but {self.label_error or 0:.1e}')
        return f'{self.path}: agrees to {self.error:.1e}{labels} at {sizes}'


@quiet_export()
def export(deployed: Deployed,
           target: str | Path,
           kind: str,
           size: tuple[int, int] | None = None,
           dynamic: bool | None = None,
           tolerance: float = 1e-4,
           label_tolerance: float = 1e-3) -> Exported:
    """Write a network in a format of another runtime, run what was written, and compare.

    The file gets its name only after it has passed the comparison.

    Args:
        deployed: From :func:`load_trained`.
        target: File to write.
        kind: 'checkpoint' (a plain OpenMMLab checkpoint), 'safetensors', 'onnx',
            'openvino', 'torch' (a ``torch.export`` programme) or 'aot' (a compiled package for this
            kind of machine).
        size: (height, width) to trace at; None for the windows that the config tests in, or
            224².
        dynamic: Take any batch and size later; else only batch 1 at ``size``. None for whether the
            config tests whole images.
        tolerance: Difference of numbers allowed, relative to the largest.
        label_tolerance: Share of pixels that may have another label: differences that small decide
            between classes with all but equal scores.

    Raises:
        ConfigError: an unknown kind, a target that is a folder, the checkpoint itself or of a name
            with the suffix of another kind, or an invalid size or tolerance.
        ExportError: it cannot be written so, or computes something else.
    """
    target = Path(target)
    size, dynamic = size_of(deployed, size, dynamic)
    _check_request(deployed, target, kind, size, (tolerance, label_tolerance))
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        aside = Path(folder) / f'written{SUFFIXES[kind]}'
        if kind in ('checkpoint', 'safetensors'):
            write_weights(deployed, aside, kind)
            aside.replace(target)
            return Exported(target)
        backbone = getattr(deployed.net, 'backbone', deployed.net)
        if any(isinstance(m, BiMamba) for m in backbone.modules()):
            raise ExportError(f'{type(backbone).__name__} cannot be written as {kind}: other '
                              'runtimes have no operator for the scan of Mamba-1. Its weights can '
                              '(--to checkpoint or safetensors).')
        if is_mask2former(deployed.net) and (dynamic or kind not in ('onnx', 'openvino')):
            raise ExportError('Mask2Former is written for one image size, as ONNX or OpenVINO: '
                              '--size HEIGHT WIDTH --fixed')
        shapes = _shapes(deployed, size) if dynamic else ((1, *size), )
        expected = {s: _run(deployed, s) for s in shapes}
        try:
            with in_plain_operators(deployed):
                run = WRITERS[kind](deployed, size, dynamic, aside,
                                    describe(deployed, size, dynamic))
        except Exception as error:
            words = str(error).strip().splitlines() or ['']
            more = ' Perhaps its head needs one size: try a fixed one (--fixed).' if dynamic else ''
            raise ExportError(f'{type(deployed.net).__name__} cannot be written as {kind}: '
                              f'{type(error).__name__}: {words[0][:300]}{more}') from error
        report = _compare(deployed.outputs, run, expected, target)
        if not (report.error <= tolerance and (report.label_error or 0) <= label_tolerance):
            limits = (f'--tolerance {tolerance:.1e}' if report.error > tolerance else
                      f'--label-tolerance {label_tolerance:.1e}')
            raise ExportError(f'what was written as {kind} does not compute the same ({report}); '
                              f'{target} was not written. Sums in another order differ by more in '
                              f'a network that enlarges them: the limit was {limits}')
        move(aside, target)
        return report


def size_of(deployed: Deployed, size: tuple[int, int] | None, dynamic: bool | None
            ) -> tuple[tuple[int, int], bool]:
    """Size and dynamic of :func:`export`, where None was given.

    Raises:
        ConfigError: a network that is tested in windows is to take something else.
    """
    if deployed.windows is None:
        return size or (224, 224), dynamic is None or dynamic
    window = tuple(deployed.windows[0])
    if dynamic or tuple(size or window) != window:
        raise ConfigError(f'its config tests in windows of {window[0]}×{window[1]}, which is the '
                          'size that its file takes (larger images go through it in windows); for '
                          'whole images: --cfg-options model.test_cfg.mode=whole')
    return window, False


def move(written: Path, target: Path) -> None:
    """Give a verified file its name; OpenVINO's weights, which are a separate file, first."""
    if written.suffix == '.xml':
        written.with_suffix('.bin').replace(target.with_suffix('.bin'))
    written.replace(target)


def _check_request(deployed: Deployed, target: Path, kind: str, size: Sequence[int],
                   tolerances: Sequence[float]) -> None:
    """See :func:`export`."""
    if kind not in SUFFIXES:
        raise ConfigError(f"cannot export to '{kind}'; choose from {list(SUFFIXES)}")
    if target.is_dir():
        raise ConfigError(f'{target} is a folder; name the file to write')
    if target.suffix != SUFFIXES[kind] and (target.suffix in SUFFIXES.values()
                                            or kind in ('onnx', 'openvino')):
        raise ConfigError(f'{target}: a file called so is not of the kind {kind}; call it '
                          f'{target.with_suffix(SUFFIXES[kind]).name}, or leave out --to')
    if deployed.source is not None and target.exists() and target.samefile(deployed.source):
        raise ConfigError(f'{target} is the checkpoint itself, whose optimiser and schedules would '
                          'be lost; give another name')
    if min(size) < 1:
        raise ConfigError(f'size (--size) is {tuple(size)}; height and width are at least 1')
    if not all(value >= 0 for value in tolerances):
        raise ConfigError(f'a tolerance (--tolerance) is 0 or more, got {tuple(tolerances)}')


def _shapes(deployed: Deployed, size: tuple[int, int]) -> tuple[tuple[int, int, int], ...]:
    """(batch, height, width): the given size and others, which the patch does not divide, of two
    images, wide, large, and small.
    """
    height, width = size
    side = 2 * deployed.patch
    return ((1, height, width), (2, height + 5, width + 3), (1, height, 2 * width),
            (1, 2 * height, 2 * width),
            (1, max(height // 2 + 1, side + 1), max(width // 3 + 1, side + 1)))


@torch.inference_mode()
def _run(net: nn.Module, shape: tuple[int, int, int]) -> list[Tensor]:
    return [t.clone() for t in net(sample_images(shape[1:], shape[0]))]


def _compare(names: Sequence[str], run: Callable,
             expected: dict[tuple[int, int, int], list[Tensor]], target: Path) -> Exported:
    report = Exported(target, tuple(names), tuple(expected))
    for shape, references in expected.items():
        with torch.inference_mode():
            outputs = list(run(sample_images(shape[1:], shape[0])))
        for name, reference, output in zip(names, references, outputs, strict=True):
            if reference.shape != output.shape or reference.dtype != output.dtype:
                raise ExportError(f'{name} came out as {output.dtype} {tuple(output.shape)}, not '
                                  f'{reference.dtype} {tuple(reference.shape)}')
            if name == 'labels':
                wrong = (reference != output).float().mean().item()
                report.label_error = max(report.label_error or 0., wrong)
            else:
                scale = reference.abs().max().clamp_min(1e-12)
                error = ((reference - output).abs().max() / scale).item()
                report.error = max(report.error, error if math.isfinite(error) else math.inf)
    return report
