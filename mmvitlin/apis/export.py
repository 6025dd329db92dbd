"""Trained networks as files that run elsewhere, each verified before it is left behind."""
from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor

import mmvitlin
from mmvitlin.apis.symbolic import SymbolicSizes
from mmvitlin.engine.config import load_config
from mmvitlin.engine.launch import without_initial_weights
from mmvitlin.engine.preflight import check_whole
from mmvitlin.errors import CheckpointError, ConfigError, UserError
from mmvitlin.models.layers import BiMamba, Mamba2, pad_to_multiples
from mmvitlin.models.utils.checkpoint import read_meta

SUFFIXES = {'checkpoint': '.pth', 'safetensors': '.safetensors', 'onnx': '.onnx', 'torch': '.pt2',
            'aot': '.pt2'}
OPSET = 20


class ExportError(UserError):
    """A network could not be written in a format, or what was written computes something else."""


class Deployed(nn.Module):
    """A trained network from plain RGB images to plain tensors, normalisation included.

    Args:
        net: An mmseg segmentor, an mmpretrain classifier, or a backbone.
        mean: RGB, of values 0 to 255.
        std: RGB.
        rgb: Whether the network takes RGB (else BGR).

    Attributes:
        finished: False if the checkpoint is of a distillation that was cut.
    """

    def __init__(self, net: nn.Module, mean: Sequence[float], std: Sequence[float],
                 rgb: bool = True):
        super().__init__()
        self.net, self.rgb, self.finished = net, rgb, True
        self.register_buffer('mean', torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std).view(-1, 1, 1), persistent=False)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what :meth:`forward` returns."""
        if hasattr(self.net, 'decode_head'):
            return 'labels', 'scores'
        if hasattr(self.net, 'head'):
            return ('logits', )
        return tuple(f'features_{i}' for i in self.net.out_indices)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Images (B, 3, H, W), RGB, float32, 0 to 255.

        Returns:
            Of a segmentor labels (B, H, W) uint8 (int64 from 256 classes) and the head's scores
            (B, classes, h, w) for the image padded to whole patches; of a classifier logits
            (B, classes); of a backbone its maps.
        """
        x = images if self.rgb else images.flip(1)
        x = (x - self.mean) / self.std
        if not hasattr(self.net, 'decode_head'):
            out = self.net(x, mode='tensor') if hasattr(self.net, 'head') else self.net(x)
            return tuple(out) if isinstance(out, (tuple, list)) else (out, )
        height, width = images.shape[-2:]
        x = pad_to_multiples(x, (getattr(self.net.backbone, 'patch_size', 1), ) * 2)
        scores = self.net.decode_head(self.net.extract_feat(x))
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
        ConfigError: a model that is neither a segmentor, a classifier nor a distiller.
        CheckpointError: a checkpoint of another model.
    """
    cfg = load_config(config, options)
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
        if (cfg.model.get('test_cfg') or {}).get('mode') == 'slide':
            raise ConfigError(f"{config} is tested in windows (model.test_cfg.mode='slide'), and "
                              'what is exported takes whole images; see what they give with '
                              '--cfg-options model.test_cfg.mode=whole')
        head = getattr(net, 'decode_head', None)
        if type(head).__name__ == 'Mask2FormerHead' or isinstance(head, nn.ModuleList):
            raise ConfigError(f'{config}: one head that gives scores a pixel can be exported, not '
                              'cascades and not Mask2Former')
        net.load_state_dict(check_whole(net, checkpoint), strict=False)
    deployed = Deployed(net.eval(), *_normalisation(cfg)).eval()
    deployed.finished = read_meta(checkpoint).get('finished', True)
    return deployed


def _normalisation(cfg: Config) -> tuple[Sequence[float], Sequence[float], bool]:
    told = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    rgb = told.get('to_rgb', told.get('bgr_to_rgb', False))
    return told.get('mean', [0.] * 3), told.get('std', [1.] * 3), rgb


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
        labels = '' if self.label_error is None else f', labels on all but {self.label_error:.1e}'
        return f'{self.path}: agrees to {self.error:.1e}{labels} at {sizes}'


def export(deployed: Deployed,
           target: str | Path,
           kind: str,
           size: tuple[int, int] = (224, 224),
           dynamic: bool = True,
           tolerance: float = 1e-4,
           label_tolerance: float = 1e-3) -> Exported:
    """Write a network in a format of another runtime, run what was written, and compare.

    The file appears under its name only when it has passed.

    Args:
        deployed: From :func:`load_trained`.
        target: File to write.
        kind: 'checkpoint' (a plain OpenMMLab checkpoint), 'safetensors', 'onnx', 'torch' (a
            ``torch.export`` programme) or 'aot' (a compiled package for this kind of machine).
        size: (height, width) to trace at.
        dynamic: Take any batch and size later; else only batch 1 at ``size``.
        tolerance: Difference of numbers allowed, relative to the largest.
        label_tolerance: Share of pixels that may have another label: differences that small decide
            between classes with all but equal scores.

    Raises:
        ConfigError: an unknown kind, or a name that says another.
        ExportError: it cannot be written so, or computes something else.
    """
    if kind not in SUFFIXES:
        raise ConfigError(f"cannot export to '{kind}'; choose from {list(SUFFIXES)}")
    target = Path(target)
    if target.suffix != SUFFIXES[kind] and target.suffix in SUFFIXES.values():
        raise ConfigError(f'{target}: a file called so is not of the kind {kind}; call it '
                          f'{target.with_suffix(SUFFIXES[kind]).name}, or leave out --to')
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        aside = Path(folder) / f'written{SUFFIXES[kind]}'
        if kind in ('checkpoint', 'safetensors'):
            _write_weights(deployed, aside, kind)
            aside.replace(target)
            return Exported(target)
        backbone = getattr(deployed.net, 'backbone', deployed.net)
        if any(isinstance(m, BiMamba) for m in backbone.modules()):
            raise ExportError(f'{type(backbone).__name__} cannot be written as {kind}: other '
                              'runtimes have no operator for the scan of Mamba-1. Its weights can '
                              '(--to checkpoint or safetensors).')
        shapes = _shapes(deployed, size) if dynamic else ((1, *size), )
        expected = {s: _run(deployed, s) for s in shapes}
        try:
            with _in_plain_operators(deployed):
                run = _WRITERS[kind](deployed, size, dynamic, aside)
        except Exception as error:
            words = str(error).strip().splitlines() or ['']
            more = ' Perhaps its head needs one size: try a fixed one (--fixed).' if dynamic else ''
            raise ExportError(f'{type(deployed.net).__name__} cannot be written as {kind}: '
                              f'{type(error).__name__}: {words[0][:300]}{more}') from error
        report = _compare(deployed.outputs, run, expected, target)
        if report.error > tolerance or (report.label_error or 0) > label_tolerance:
            raise ExportError(f'what was written as {kind} does not compute the same ({report}); '
                              f'{target} was not written')
        aside.replace(target)
        return report


def _shapes(deployed: Deployed, size: tuple[int, int]) -> tuple[tuple[int, int, int], ...]:
    """(batch, height, width): the given size and others, which the patch does not divide, of two
    images, wide, large, and small.
    """
    height, width = size
    side = 2 * getattr(getattr(deployed.net, 'backbone', deployed.net), 'patch_size', 16)
    return ((1, height, width), (2, height + 5, width + 3), (1, height, 2 * width),
            (1, 2 * height, 2 * width),
            (1, max(height // 2 + 1, side + 1), max(width // 3 + 1, side + 1)))


def _images(size: tuple[int, int], batch: int = 1) -> Tensor:
    """Smooth pictures with noise, RGB, 0 to 255."""
    draw = torch.Generator().manual_seed(size[0] * 10007 + size[1])
    coarse = torch.rand(batch, 3, 8, 8, generator=draw)
    smooth = F.interpolate(coarse, size=size, mode='bicubic').clamp(0, 1)
    return (255 * (0.8 * smooth + 0.2 * torch.rand(smooth.shape, generator=draw))).round()


@torch.inference_mode()
def _run(net: nn.Module, shape: tuple[int, int, int]) -> list[Tensor]:
    return [t.clone() for t in net(_images(shape[1:], shape[0]))]


@contextmanager
def _in_plain_operators(deployed: Deployed) -> Iterator[None]:
    """Scans in operators that every runtime has, for a while."""
    mixers = [m for m in deployed.modules() if isinstance(m, Mamba2)]
    before = [m.backend for m in mixers]
    try:
        for mixer in mixers:
            mixer.backend = 'plain'
        yield
    finally:
        for mixer, backend in zip(mixers, before, strict=True):
            mixer.backend = backend


def _write_weights(deployed: Deployed, path: Path, kind: str) -> None:
    net = deployed.net
    backbone = getattr(net, 'backbone', net)
    prefix = '' if hasattr(net, 'backbone') else 'backbone.'
    state = {prefix + k: v.detach().clone().contiguous() for k, v in net.state_dict().items()
             if k != 'mask_token'}
    about = dict(backbone=getattr(backbone, 'describe', dict)(), finished=deployed.finished)
    if deployed.rgb:
        about['normalisation'] = {k: [round(float(v), 4) for v in getattr(deployed, k).flatten()]
                                  for k in ('mean', 'std')}
    if kind == 'safetensors':
        from safetensors.torch import load_file, save_file
        save_file(state, path, metadata=dict(format='pt', mmvitlin=json.dumps(
            dict(version=mmvitlin.__version__, **about))))
        back = load_file(path)
    else:
        torch.save(dict(meta=dict(mmvitlin_version=mmvitlin.__version__, **about),
                        state_dict=state), path)
        back = torch.load(path, weights_only=True)['state_dict']
    if back.keys() != state.keys() or not all(torch.equal(back[k], v) for k, v in state.items()):
        raise CheckpointError(f'{path} does not read back as it was written')


def _dynamic_shapes(dynamic: bool) -> dict | None:
    if not dynamic:
        return None
    return dict(images={0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC,
                        3: torch.export.Dim.DYNAMIC})


def _programme(net: Deployed, size: tuple[int, int], dynamic: bool) -> torch.export.ExportedProgram:
    # what is one while it is traced, a batch or the chunks of a scan, is taken for a constant
    images = _images([max(n, 17 * 16) + 5 for n in size], 2) if dynamic else _images(size)
    with torch.no_grad(), SymbolicSizes():
        return torch.export.export(net, (images, ), dynamic_shapes=_dynamic_shapes(dynamic),
                                   strict=False)


def _write_onnx(net: Deployed, size: tuple[int, int], dynamic: bool, path: Path) -> Callable:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  torch's exporter needs it
    except ImportError as error:
        raise ExportError('writing ONNX needs onnx, onnxscript and onnxruntime: '
                          "pip install 'mmvitlin[export]'") from error
    names = {0: 'batch', 2: 'height', 3: 'width'}
    written = torch.onnx.export(
        _programme(net, size, dynamic), (), dynamo=True, input_names=['images'],
        output_names=list(net.outputs), opset_version=OPSET, verbose=False)
    if dynamic:
        for axis, name in names.items():
            written.model.graph.inputs[0].shape[axis] = name
    written.save(path, external_data=False)
    session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    return lambda images: [torch.from_numpy(a) for a in
                           session.run(None, {'images': images.numpy()})]


def _write_torch(net: Deployed, size: tuple[int, int], dynamic: bool, path: Path) -> Callable:
    torch.export.save(_programme(net, size, dynamic), path)
    return torch.export.load(path).module()


def _write_aot(net: Deployed, size: tuple[int, int], dynamic: bool, path: Path) -> Callable:
    from torch._inductor import aoti_compile_and_package, aoti_load_package
    aoti_compile_and_package(_programme(net, size, dynamic), package_path=str(path))
    return aoti_load_package(str(path))


_WRITERS = {'onnx': _write_onnx, 'torch': _write_torch, 'aot': _write_aot}


def _compare(names: Sequence[str], run: Callable,
             expected: dict[tuple[int, int, int], list[Tensor]], target: Path) -> Exported:
    report = Exported(target, tuple(names), tuple(expected))
    for shape, wanted in expected.items():
        with torch.inference_mode():
            got = list(run(_images(shape[1:], shape[0])))
        for name, ours, theirs in zip(names, wanted, got, strict=True):
            if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
                raise ExportError(f'{name} came out as {theirs.dtype} {tuple(theirs.shape)}, not '
                                  f'{ours.dtype} {tuple(ours.shape)}')
            if name == 'labels':
                wrong = (ours != theirs).float().mean().item()
                report.label_error = max(report.label_error or 0., wrong)
            else:
                scale = ours.abs().max().clamp_min(1e-12)
                error = ((ours - theirs).abs().max() / scale).item()
                report.error = max(report.error, error if math.isfinite(error) else math.inf)
    return report
