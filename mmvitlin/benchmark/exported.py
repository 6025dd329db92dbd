"""Exported files as subjects of the speed benchmark, beside the networks they came from."""
from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from mmvitlin.apis.export import Deployed, export
from mmvitlin.apis.writers import sample_images
from mmvitlin.benchmark.deployed import deployed, takes_windows, to_labels
from mmvitlin.benchmark.subjects import Built, Subject
from mmvitlin.deploy.model import ExportedModel
from mmvitlin.deploy.runtimes import META, open_file
from mmvitlin.utils.errors import ConfigError


def plain_images(batch: int, shape: tuple[int, int]) -> torch.Tensor:
    """What every subject of part 'labels' is timed on: (B, 3, H, W) RGB, 0 to 255."""
    return sample_images(tuple(shape), batch)


def network_of(subject: Subject, shape: tuple[int, int]) -> Deployed:
    """The network that a subject's file is written from, and compared with, in torch.

    Raises:
        ConfigError: a subject that is neither a config nor one of this toolkit's backbones.
    """
    if subject.source not in ('config', 'backbone'):
        raise ConfigError(f'{subject.name}: configs and mmvitlin: backbones are exported on the '
                          'way; write others yourself and give the file')
    torch.manual_seed(0)  # the same weights in every process
    built = Built(replace(subject, runtime='', reference=None), shape)
    return deployed(built).eval()


def write(subject: dict, shape: tuple[int, int], path: str) -> dict:
    """Write a subject's ONNX file of one image size; in a process of its own."""
    net = network_of(Subject(**subject), tuple(shape))
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    # random weights enlarge differences; rows say how many labels are equal
    size = net.windows[0] if takes_windows(net, shape) else tuple(shape)
    net.windows = net.windows if takes_windows(net, shape) else None
    export(net, path, 'onnx', size, dynamic=False, tolerance=1e-3,
           label_tolerance=0.01)
    return dict(status='written')


class BuiltFile:
    """An exported file with the interface of :class:`mmvitlin.benchmark.subjects.Built`.

    Args:
        subject: With ``file`` and ``runtime``.
        shape: (height, width).
        precision: Of the computing.
        threads: Of the CPU.

    Raises:
        ConfigError: the file takes another size, or cannot be run so.
    """
    is_model = compiled = False

    def __init__(self, subject: Subject, shape: tuple[int, int], precision: str, threads: int):
        self.subject, self.shape, self.device = subject, tuple(shape), torch.device('cpu')
        self.precision, self.threads = precision, threads
        if subject.runtime == 'torch':
            self.meta, self._run = _open_pt2(subject.file)
            return
        runtime = open_file(subject.file, subject.runtime, precision, threads)
        self.meta, self.runtime = runtime.meta, runtime
        self._run = lambda images: list(runtime.run(images.numpy()).values())
        if runtime.size not in (None, self.shape):
            if not self.meta.get('stride'):
                raise ConfigError(f'{subject.file} takes only images of {runtime.size}')
            self._run = partial(_in_windows, ExportedModel(runtime, resize=False))

    def call(self, part: str, images: torch.Tensor, *_, **__) -> Callable[[], object]:
        """What to run to time it.

        Raises:
            ConfigError: the file holds another part of a network.
        """
        whole = self.meta.get('task') in ('segmentation', 'classification')
        expected = 'labels' if whole else 'backbone'
        if self.meta and part != expected:
            raise ConfigError(f'{self.subject.name} holds a '
                              f"{'whole network' if whole else 'backbone'}: time it with --part "
                              f'{expected}')
        images = images.float().cpu().contiguous()  # as a user has them, also of a GPU's runtime

        def run():
            with torch.inference_mode():
                return self._run(images)
        return run

    def agreement(self) -> dict | None:
        """How its result differs from that of torch in float32 on the same image: 'labels', the
        share that is equal, or 'error', the largest difference over the largest value."""
        reference = self.subject.reference or (
            None if self.subject.source == 'exported' else self.subject.as_dict())
        if reference is None:
            return None
        images = plain_images(1, self.shape)
        net = network_of(Subject(**reference), self.shape)
        with torch.inference_mode():
            expected, *_ = to_labels(net, images)()
            actual, *_ = self._run(images)
        expected, actual = np.asarray(expected), np.asarray(actual)
        if 'labels' in net.outputs:
            return dict(labels=round(float((expected == actual).mean()), 5))
        return dict(error=float(f'{np.abs(expected - actual).max() / np.abs(expected).max():.2e}'))

    def process_mib(self) -> float | None:
        """Peak memory of a process that runs the file on one image and has no torch."""
        if self.subject.runtime == 'torch':
            return None
        size = '{}x{}'.format(*self.shape)
        done = subprocess.run(
            [sys.executable, '-m', 'mmvitlin.deploy', self.subject.file, '--memory', size,
             '--runtime', self.subject.runtime, '--precision', self.precision, '--threads',
             str(self.threads)], capture_output=True, text=True)
        return json.loads(done.stdout)['peak_mib'] if done.returncode == 0 else None


def _in_windows(model: ExportedModel, images: torch.Tensor) -> list[np.ndarray]:
    """Labels of images that are larger than the file's, as ``mmvitlin deploy`` finds them."""
    pictures = images.numpy().round().clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
    return [np.stack([model(np.ascontiguousarray(picture)).labels for picture in pictures])]


def _open_pt2(path: str) -> tuple[dict, Callable]:
    """Description and function of a ``torch.export`` programme or a compiled package.

    Raises:
        ConfigError: it is neither.
    """
    about = {f'{META}.json': ''}
    try:
        run = torch.export.load(path, extra_files=about).module()
        text = about[f'{META}.json']
    except Exception:  # a package of compiled code has no programme in it
        from torch._inductor import aoti_load_package
        try:
            run = aoti_load_package(path)
            text = run.get_metadata().get(META, '')
        except Exception as error:
            raise ConfigError(f'{path} is no programme of torch.export and no compiled package: '
                              f'{str(error).splitlines()[0][:200]}') from error
    return (json.loads(text) if text else {}), run
