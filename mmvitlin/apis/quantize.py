"""Exported files of lower precision, calibrated on the user's images, and what they lose."""
from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mmvitlin.apis.description import describe
from mmvitlin.apis.export import Deployed, ExportError, export, move, size_of
from mmvitlin.apis.writers import META, to_openvino
from mmvitlin.deploy.model import ExportedModel, as_batch
from mmvitlin.deploy.runtimes import Runtime
from mmvitlin.deploy.windows import starts
from mmvitlin.utils.errors import ConfigError

PRECISIONS = ('fp32', 'fp16', 'int8')
MOST_LOST = 1.  # mIoU, in points, or percent of other labels, from which the report warns
_PRODUCTS = ('MatMul', 'Gemm', 'Conv')


class TorchRuntime(Runtime):
    """The network itself with a file's interface, so that both get the same images."""
    name, needs = 'torch', 'torch'

    def __init__(self, deployed: Deployed, size: tuple[int, int], dynamic: bool):
        self.deployed, self.path = deployed, Path(type(deployed.net).__name__)
        self.meta = describe(deployed, size, dynamic)
        self.outputs, self.size = deployed.outputs, None if dynamic else tuple(size)

    def load(self) -> None:
        """It is loaded."""

    @torch.inference_mode()
    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """See :meth:`mmvitlin.deploy.Runtime.run`."""
        outputs = self.deployed(torch.from_numpy(images))
        return {name: t.numpy() for name, t in zip(self.outputs, outputs, strict=True)}


@dataclass
class Reduced:
    """A file of lower precision beside the network in torch, in float32.

    Attributes:
        path: The file.
        precision: 'fp16' or 'int8'.
        images: That both were run on.
        equal: Share of labels, of pixels or of images, that are the same.
        miou: Of torch and of the file, in percent, where labels were given.
    """
    path: Path
    precision: str
    images: int
    equal: float
    miou: tuple[float, float] | None = None

    @property
    def lost(self) -> float | None:
        """Points of mIoU that the file loses."""
        return None if self.miou is None else self.miou[0] - self.miou[1]

    def __str__(self) -> str:
        text = (f"{self.path}: {self.precision}, {100 * self.equal:.2f}% of torch's labels on "
                f'{self.images} images')
        if self.miou is not None:
            text += f', mIoU {self.miou[0]:.2f} in torch and {self.miou[1]:.2f} in the file'
        return text

    def warning(self) -> str | None:
        """Warning that it loses more than :data:`MOST_LOST`, or may."""
        remedy = 'calibrate on more images of the kind it will see, or take another precision'
        if self.lost is not None:
            return None if self.lost <= MOST_LOST else (
                f'{self.precision} loses {self.lost:.2f} mIoU, more than {MOST_LOST:g}; {remedy}')
        if 100 * (1 - self.equal) > MOST_LOST:
            return (f'{self.precision} changes {100 * (1 - self.equal):.1f}% of the labels, and '
                    f'without true labels nobody knows whether for the worse; {remedy}')
        return None


def export_reduced(deployed: Deployed,
                   target: str | Path,
                   precision: str,
                   samples: Iterable[tuple[np.ndarray, np.ndarray | None]],
                   calibration: Sequence[np.ndarray] = (),
                   size: tuple[int, int] | None = None,
                   dynamic: bool | None = None,
                   tolerance: float = 1e-4,
                   label_tolerance: float = 1e-3,
                   data: str = 'given images') -> Reduced:
    """Write a network as ONNX or for OpenVINO in lower precision, and say what that cost.

    fp16: weights of linear layers and convolutions and their products; everything between them,
    decays, sums and normalisations above all, stays float32, as do inputs and outputs. int8: the
    same products, weights by channel and activations calibrated, in onnxruntime's QDQ form, which
    OpenVINO runs fast. What is written is what is compared: ``.onnx`` in onnxruntime, ``.xml`` in
    OpenVINO.

    Args:
        deployed: From :func:`mmvitlin.apis.export.load_trained`, a segmentor or a classifier.
        target: ``.onnx`` or ``.xml``.
        precision: 'fp16' or 'int8'.
        samples: (image (H, W, 3) uint8 RGB, labels (H, W) with 255 for what does not count, or
            None) that it is compared with torch on.
        calibration: Images like those it will see; of int8.
        size: See :func:`mmvitlin.apis.export.export`.
        dynamic: Likewise.
        tolerance: Likewise, of the file in float32 that it is made from.
        label_tolerance: Likewise.
        data: What ``samples`` are, for the description in the file.

    Raises:
        ConfigError: nothing to calibrate or to compare with, another suffix, or a bare backbone.
        ExportError: it cannot be written.
    """
    target = Path(target)
    if target.suffix not in ('.onnx', '.xml'):
        raise ConfigError(f'{target}: {precision} is written as .onnx or .xml')
    if precision == 'int8' and not len(calibration):
        raise ConfigError('int8 is calibrated on images like those it will see: give --calibration '
                          'FOLDER')
    target.parent.mkdir(parents=True, exist_ok=True)
    size, dynamic = size_of(deployed, size, dynamic)
    torch_model = ExportedModel(TorchRuntime(deployed, size, dynamic))
    with tempfile.TemporaryDirectory(dir=target.parent) as name:
        folder = Path(name)
        export(deployed, folder / 'float.onnx', 'onnx', size, dynamic, tolerance,
               label_tolerance)
        if precision == 'int8':
            shown = _as_network_sees(torch_model, calibration)
            _to_int8(folder / 'float.onnx', folder / 'written.onnx', shown)
        else:
            _to_fp16(folder / 'float.onnx', folder / 'written.onnx')
        written = folder / f'written{target.suffix}'
        _describe(folder / 'written.onnx', precision=precision)
        if written.suffix == '.xml':
            to_openvino(folder / 'written.onnx', written)
        report = compare(torch_model, ExportedModel(written), samples, precision)
        report.path = target
        _describe(folder / 'written.onnx', precision=precision, verified=dict(
            data=data, runtime='openvino' if written.suffix == '.xml' else 'onnxruntime',
            images=report.images, equal_labels=report.equal, miou_torch_and_file=report.miou))
        if written.suffix == '.xml':
            to_openvino(folder / 'written.onnx', written)
        move(written, target)
    return report


def compare(torch_model: ExportedModel, file: ExportedModel,
            samples: Iterable[tuple[np.ndarray, np.ndarray | None]], precision: str) -> Reduced:
    """Labels of both on the same images.

    Raises:
        ConfigError: there are no images, or labels of another size.
    """
    classes = len(torch_model.classes)
    pixels = equal = images = labelled = 0
    confusions = np.zeros((2, classes, classes), np.int64)
    for image, truth in samples:
        images += 1
        a, b = (_labels(model(image)) for model in (torch_model, file))
        pixels, equal = pixels + a.size, equal + int((a == b).sum())
        if truth is None:
            continue
        if truth.shape != a.shape:
            raise ConfigError('the labels of image {} are {}x{}, and the image is {}x{} as it is '
                              'read; they are not of it'.format(images, *truth.shape, *a.shape))
        counted = truth < classes
        labelled += bool(counted.any())
        for confusion, labels in zip(confusions, (a, b), strict=True):
            places = truth[counted].astype(np.int64) * classes + labels[counted]
            confusion += np.bincount(places, minlength=classes**2).reshape(classes, classes)
    if not images:
        raise ConfigError('there are no images to compare the file with torch on: give --images '
                          "FOLDER, or a config whose test set is there")
    miou = tuple(map(mean_iou, confusions)) if labelled else None
    return Reduced(Path(file.runtime.path), precision, images, equal / pixels, miou)


def mean_iou(confusion: np.ndarray) -> float:
    """Mean intersection over union in percent, of classes that are in labels or predictions."""
    both = np.diag(confusion)
    union = confusion.sum(0) + confusion.sum(1) - both
    return float(100 * np.mean(both[union > 0] / union[union > 0]))


def _labels(prediction) -> np.ndarray:
    return prediction.labels if prediction.labels is not None else prediction.scores.argmax(
        keepdims=True)


def _as_network_sees(model: ExportedModel, images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Batches of one, resized and cropped as the test pipeline says, in windows where a segmentor
    takes one size."""
    for image in images:
        shown = model.as_shown(image)
        if model.task == 'classification':
            yield as_batch(model.cropped(shown))
            continue
        if model.runtime.size is None:
            yield as_batch(shown)
            continue
        height, width = model.runtime.size
        for top in starts(shown.shape[0], height, 0.):
            for left in starts(shown.shape[1], width, 0.):
                part = shown[top:top + height, left:left + width]
                rows, columns = height - part.shape[0], width - part.shape[1]
                yield as_batch(np.pad(part, ((0, rows), (0, columns), (0, 0)), mode='edge'))


def _weighted(model) -> set[str]:
    """Names of products with a weight, which is what linear layers and convolutions are."""
    constants = {t.name for t in model.graph.initializer}
    return {node.name for node in model.graph.node if node.op_type in _PRODUCTS
            and len(node.input) > 1 and node.input[1] in constants}


def _to_fp16(source: Path, target: Path) -> None:
    """Products with a weight between two casts; onnxruntime's own converter writes names twice
    where the graph's input is needed in both types."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    model = onnx.load(source)
    graph, nodes = model.graph, []
    names, weights = _weighted(model), {t.name: t for t in model.graph.initializer}
    halves: dict[str, str] = {}  # weight → its half

    def half_of(name: str) -> str:
        if name not in halves:
            halves[name] = f'{name}_fp16'
            values = numpy_helper.to_array(weights[name]).astype(np.float16)
            graph.initializer.append(numpy_helper.from_array(values, halves[name]))
        return halves[name]

    for node in graph.node:
        if node.name not in names or any(i and i not in weights for i in node.input[1:]):
            nodes.append(node)
            continue
        inside, outside = f'{node.name}_input_fp16', f'{node.name}_output_fp16'
        nodes.append(helper.make_node('Cast', [node.input[0]], [inside], f'{node.name}_to_fp16',
                                      to=TensorProto.FLOAT16))
        node.input[:] = [inside, *(half_of(i) if i else i for i in node.input[1:])]
        result, node.output[0] = node.output[0], outside
        nodes += [node, helper.make_node('Cast', [outside], [result], f'{node.name}_to_fp32',
                                         to=TensorProto.FLOAT)]
    del graph.node[:]
    graph.node.extend(nodes)
    used = {i for node in graph.node for i in node.input}
    kept = [t for t in graph.initializer if t.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    del graph.value_info[:]  # of types that have changed
    onnx.save(model, target)


class _Reader:
    """What onnxruntime calibrates on."""

    def __init__(self, batches: Iterator[np.ndarray]):
        self._batches = batches

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self._batches, None)
        return None if batch is None else dict(images=batch)


def _to_int8(source: Path, target: Path, batches: Iterator[np.ndarray]) -> None:
    import onnx
    from onnxruntime.quantization import (
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    model = onnx.load(source)
    weights = {t.name: t.dims for t in model.graph.initializer}
    first = {n.name for n in model.graph.node if n.op_type == 'Conv' and weights.get(
        n.input[1], (0, 0))[1] == 3}  # on the image: a hundredth of the work, all of its noise
    stacked = {n.name for n in model.graph.node if n.op_type == 'MatMul' and len(weights.get(
        n.input[1], ())) > 2}  # a matrix a head: onnxruntime has no scale a channel for those
    root, level = logging.getLogger(), logging.getLogger().level
    root.setLevel(max(level, logging.WARNING))
    try:
        quantize_static(
            source, target, _Reader(batches), QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QInt8, weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            op_types_to_quantize=list(_PRODUCTS),
            nodes_to_quantize=sorted(_weighted(model) - first - stacked),
            # with zero points OpenVINO refuses products of what was concatenated (2026.4)
            extra_options=dict(CalibMovingAverage=True, WeightSymmetric=True,
                               ActivationSymmetric=True,
                               OpTypesToExcludeOutputQuantization=list(_PRODUCTS)))
    except Exception as error:
        words = (str(error).strip().splitlines() or [''])[0]
        raise ExportError(f'onnxruntime could not quantise it: {words[:300]}') from error
    finally:
        root.setLevel(level)


def _describe(path: Path, **more) -> None:
    """Add to the description in a file."""
    import onnx
    model = onnx.load(path)
    props = {p.key: p.value for p in model.metadata_props}
    props[META] = json.dumps(dict(json.loads(props[META]), **more))
    onnx.helper.set_model_props(model, props)
    onnx.save(model, path)
