"""A network's weights from an ONNX file, with the names they had in its modules."""
from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from mmvitlin.utils.errors import CheckpointError, ConfigError

_ANONYMOUS = re.compile(r'onnx::|.*/|val_\d+$|\d+$')
_QUANTISED = {'MatMulInteger', 'QLinearMatMul', 'DequantizeLinear', 'DynamicQuantizeLinear',
              'MatMulNBits', 'ConvInteger', 'QLinearConv'}
_LAYOUT_ONLY = {'Reshape', 'Transpose', 'Resize', 'Cast', 'Identity', 'Unsqueeze', 'Squeeze'}
_AFFINE = {'Conv', 'LayerNormalization', 'Gemm'}  # inputs: x, weight, bias


def read_onnx(path: str | Path) -> dict[str, Tensor]:
    """Parameters of the network in an ONNX file, float32, by their names in PyTorch.

    Exporters keep the names of most parameters, but fold the transposition of a linear layer's
    matrix and leave the result without one (``onnx::MatMul_1966``). Such a matrix gets the name of
    the bias that is added to its product or, without a bias of its own, of the module in whose
    scope the product is taken, and is transposed back. Other constants without a name get it by
    their scope too. Learned positions that the graph resizes are put together from the class
    token's and the patches'.

    Args:
        path: The file; its external data, if any, lies beside it.

    Returns:
        Name → tensor. Layouts are not converted, see :func:`mmvitlin.models.utils.to_timm`.

    Raises:
        ConfigError: the package ``onnx`` is not installed.
        CheckpointError: the file is damaged, or its weights are quantised.
    """
    require_onnx(path)
    import onnx
    try:
        graph = onnx.load(str(path)).graph
        if not graph.node:
            raise ValueError('it has no graph')
    except Exception as error:  # protobuf's DecodeError, missing external data, …
        reason = (str(error).splitlines() or [''])[0]
        raise CheckpointError(f'{path} is not a readable ONNX file, or is cut short '
                              f'({type(error).__name__}: {reason}). Copy or download it again.'
                              ) from error
    if quantised := sorted({node.op_type for node in graph.node} & _QUANTISED):
        raise CheckpointError(f'{path}: its weights are quantised ({quantised[0]}); take the file '
                              'in floating point')
    return _Graph(graph).state_dict()


def require_onnx(subject: str | Path) -> None:
    """Check that the package ``onnx`` is installed.

    Args:
        subject: What needs it, for the message.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise ConfigError(f'{subject}: reading weights out of an ONNX file needs the package onnx; '
                          "pip install 'mmvitlin[export]'") from error


class _Graph:
    """Constants of a graph and the nodes that use them."""

    def __init__(self, graph):
        self.nodes = list(graph.node)
        self.producer = {name: node for node in self.nodes for name in node.output}
        self.consumers: dict[str, list] = {}
        for node in self.nodes:
            for name in node.input:
                self.consumers.setdefault(name, []).append(node)
        self.constants = dict(self._constants(graph))
        self._tensors: dict[str, Tensor] = {}

    def _constants(self, graph) -> Iterator[tuple[str, object]]:
        """Name → TensorProto of everything in floating point that is known before the images."""
        from onnx import TensorProto
        floating = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16,
                    TensorProto.DOUBLE}
        protos = {proto.name: proto for proto in graph.initializer}
        for node in self.nodes:
            if node.op_type == 'Constant':
                for attribute in node.attribute:
                    if attribute.name == 'value':
                        protos[node.output[0]] = attribute.t
            elif node.op_type == 'Identity' and node.input[0] in protos:  # equal parameters, merged
                protos[node.output[0]] = protos[node.input[0]]
        for name, proto in protos.items():
            if proto.data_type in floating and len(proto.dims) > 0:
                yield name, proto

    def tensor(self, name: str) -> Tensor:
        """A constant in float32."""
        from onnx import numpy_helper
        if name not in self._tensors:
            values = numpy_helper.to_array(self.constants[name]).astype('float32')
            self._tensors[name] = torch.from_numpy(values.copy())
        return self._tensors[name]

    def state_dict(self) -> dict[str, Tensor]:
        """All parameters by name."""
        state = {name: self.tensor(name) for name in self.constants if not _ANONYMOUS.match(name)}
        for node in self.nodes:
            for name, value in self._parameters_of(node):
                state.setdefault(name, value)
        return state

    def _parameters_of(self, node) -> Iterator[tuple[str, Tensor]]:
        """Name and value of what a node multiplies with, adds or concatenates."""
        constant = [name in self.constants for name in node.input]
        if node.op_type == 'MatMul' and constant == [False, True]:
            value = self.tensor(node.input[1])
            if value.ndim == 2:
                yield f'{self._linear_layer(node)}.weight', value.T.contiguous()
        elif node.op_type in _AFFINE:
            yield from self._weight_and_bias(node)
        elif node.op_type == 'Add' and sum(constant) == 1:
            yield from self._added(node, self.tensor(node.input[constant.index(True)]))
        elif node.op_type == 'Concat' and any(constant):
            yield from self._concatenated(node)

    def _linear_layer(self, node) -> str:
        """Module of a product with a constant matrix: that of the bias added to it, or its own."""
        for consumer in self.consumers.get(node.output[0], ()):
            for name in consumer.input if consumer.op_type == 'Add' else ():
                # biases of equal value may have been merged under the name of one of them
                if name in self.constants and name.endswith('.bias') \
                        and len(self.consumers[name]) == 1:
                    return name.removesuffix('.bias')
        return _scope(node)

    def _weight_and_bias(self, node) -> Iterator[tuple[str, Tensor]]:
        for kind, name in zip(('weight', 'bias'), node.input[1:], strict=False):
            if name in self.constants and _scope(node):
                value = self.tensor(name)
                if node.op_type == 'Gemm' and kind == 'weight' and not _attribute(node, 'transB'):
                    value = value.T.contiguous()
                yield f'{_scope(node)}.{kind}', value

    @staticmethod
    def _added(node, value: Tensor) -> Iterator[tuple[str, Tensor]]:
        """A bias, or positions that were folded."""
        module = _scope(node)
        if module and value.ndim == 1 and len(value) > 1:
            yield f'{module}.bias', value
        elif module.endswith('embeddings') and value.ndim == 3 and value.shape[1] > 1:
            yield f'{module}.position_embeddings', value

    def _concatenated(self, node) -> Iterator[tuple[str, Tensor]]:
        """The class token's positions and the patches', which a graph that resizes the latter
        holds apart, or the tokens that are put before the patches."""
        module, sources = _scope(node), [self._source(name) for name in node.input]
        values = [None if name is None else _as_sequence(self.tensor(name)) for name in sources]
        if any(v is not None and (v.ndim != 3 or len(v) != 1) for v in values):
            return
        in_embeddings = module.endswith('embeddings')
        start = f'{module}.' if module else ''
        if all(v is not None for v in values):
            if in_embeddings and len({v.shape[-1] for v in values}) == 1:
                yield f'{start}position_embeddings', torch.cat(values, dim=1)
            return
        for n, value in enumerate(values):
            if value is not None and n == 0 and value.shape[1] == 1:
                yield f'{start}cls_token', value
            elif value is not None:
                yield start + ('register_tokens' if in_embeddings else 'reg_token'), value

    def _source(self, name: str) -> str | None:
        """The constant that a value is but for its shape or size, or None."""
        while name not in self.constants:
            producer = self.producer.get(name)
            if producer is None or producer.op_type not in _LAYOUT_ONLY:
                return None
            name = producer.input[0]
        return name


def _as_sequence(value: Tensor) -> Tensor:
    """(B, C, h, w), as it goes into a resize, as (B, h·w, C); anything else as it is."""
    return value.flatten(2).transpose(1, 2) if value.ndim == 4 else value


def _scope(node) -> str:
    """Dotted name of the module in which a node was traced, '' where the file does not say."""
    for entry in node.metadata_props:  # torch.export
        if entry.key == 'pkg.torch.onnx.name_scopes':
            scopes = ast.literal_eval(entry.value)
            return scopes[-2] if len(scopes) > 1 else ''
    parts = [p for p in node.name.split('/')[:-1] if p]  # /encoder/layer.0/norm1/Mul
    kept = [p for p, after in zip(parts, parts[1:], strict=False)
            if not after.startswith(f'{p}.')]  # /blocks/blocks.0 of a Sequential
    return '.'.join(kept + parts[-1:])


def _attribute(node, name: str) -> int:
    return next((a.i for a in node.attribute if a.name == name), 0)
