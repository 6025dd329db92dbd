"""What a measured time depends on, as a digest that a row keeps beside it."""
from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import mmvitlin
from mmvitlin.benchmark.subjects import Subject
from mmvitlin.engine.runner.config import load_config
from mmvitlin.utils.machine import machine
from mmvitlin.utils.paths import locate


@cache
def _digest_of(*patterns: str) -> str:
    """Digest of files below the package."""
    root, digest = Path(mmvitlin.__file__).parent, hashlib.blake2b(digest_size=8)
    for pattern in patterns:
        for path in sorted(root.glob(pattern)):
            digest.update(path.read_bytes())
    return digest.hexdigest()


@cache
def libraries() -> dict[str, str]:
    """Versions of everything that runs networks."""
    versions = {}
    for name in ('torch', 'torchvision', 'timm', 'triton', 'mamba-ssm', 'fla-core', 'onedl-mmcv',
                 'onedl-mmengine', 'onedl-mmsegmentation', 'onedl-mmdetection',
                 'onedl-mmpretrain', 'mmcv', 'mmsegmentation', 'mmdet', 'mmpretrain',
                 'onnxruntime', 'openvino'):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _without_weights(node):
    """A model's config without its initial weights, which no time depends on."""
    if isinstance(node, dict):
        return {k: _without_weights(v) for k, v in node.items()
                if k not in ('init_cfg', 'checkpoint', 'pretrained')}
    return [_without_weights(v) for v in node] if isinstance(node, (list, tuple)) else node


def made_of(subject: Subject, device: str, threads: int) -> str:
    """Digest of what a time depends on: network, code, libraries, machine."""
    inputs = dict(libraries=libraries(), device=machine(device, threads),
                  measuring=_digest_of('benchmark/measuring_process.py', 'benchmark/latency.py',
                                       'benchmark/subjects.py', 'benchmark/deployed.py',
                                       'utils/machine.py',
                                       'ops/cpu/fast_linear.py'),
                  materialised=subject.materialised, source=subject.source)
    if subject.runtime:
        inputs.update(runtime=subject.runtime, deploy=_digest_of(
            'deploy/*.py', 'apis/export.py', 'apis/writers.py', 'apis/symbolic.py',
            'benchmark/exported.py'))
    if subject.source == 'exported':
        inputs['file'] = _content(subject.file)
        if subject.reference:  # its results are compared with those of that network
            inputs['reference'] = made_of(Subject(**subject.reference), device, threads)
        return _digest(inputs)
    if subject.source in ('timm', 'torchvision'):
        inputs['what'] = subject.what
    else:
        inputs['code'] = _digest_of('models/**/*.py', 'ops/**/*.py', 'compat/*.py')
    if subject.source == 'config':
        cfg = load_config(subject.what, subject.options)
        inputs.update(config=_without_weights(cfg.model.to_dict()),
                      weights=_content(cfg.get('load_from')))
    elif subject.source == 'backbone':
        inputs['cfg'] = _without_weights(subject.cfg)
    elif subject.source == 'python':
        file = Path(find_spec(subject.what.split(':')[0]).origin)
        inputs.update(what=subject.what, file=_content(file))
    return _digest(inputs)


def _content(path: str | Path | None) -> str | None:
    """Digest of a file, with the ``.bin`` that holds the weights of an OpenVINO's; a URL as it
    is."""
    if path is None or '://' in str(path):
        return path
    digest, path = hashlib.blake2b(), locate(path)
    for part in (path, path.with_suffix('.bin')) if path.suffix == '.xml' else (path, ):
        with open(part, 'rb') as file:
            while block := file.read(2**24):
                digest.update(block)
    return digest.hexdigest()


def _digest(inputs: dict) -> str:
    return hashlib.blake2b(json.dumps(inputs, sort_keys=True, default=str).encode(),
                           digest_size=8).hexdigest()
