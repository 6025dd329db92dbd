"""Files of other runtimes from a network, each with its description."""
from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

import mmvitlin
from mmvitlin.apis.symbolic import SymbolicSizes
from mmvitlin.deploy.runtimes import META, open_file
from mmvitlin.models.layers import Mamba2, Mamba2Attention, PlainMamba2
from mmvitlin.utils.errors import CheckpointError, UserError

OPSET = 20


class ExportError(UserError):
    """A network could not be written in a format, or what was written computes something else."""


def sample_images(size: tuple[int, int], batch: int = 1) -> Tensor:
    """Smooth pictures with noise, RGB, 0 to 255."""
    draw = torch.Generator().manual_seed(size[0] * 10007 + size[1])
    coarse = torch.rand(batch, 3, 8, 8, generator=draw)
    smooth = F.interpolate(coarse, size=size, mode='bicubic').clamp(0, 1)
    return (255 * (0.8 * smooth + 0.2 * torch.rand(smooth.shape, generator=draw))).round()


def is_mask2former(net: nn.Module) -> bool:
    """Whether a segmentor has mmseg's Mask2Former head, whose library may not be installed."""
    return type(getattr(net, 'decode_head', None)).__name__ == 'Mask2FormerHead'


def _dynamic_shapes(dynamic: bool) -> dict | None:
    if not dynamic:
        return None
    return dict(images={0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC,
                        3: torch.export.Dim.DYNAMIC})


def _programme(net: nn.Module, size: tuple[int, int], dynamic: bool
               ) -> torch.export.ExportedProgram:
    # a dimension of size 1 while tracing, a batch or the chunks of a scan, becomes a constant
    traced, batch = ([max(n, 17 * 16) + 5 for n in size], 2) if dynamic else (size, 1)
    with torch.no_grad(), SymbolicSizes():
        return torch.export.export(net, (sample_images(traced, batch), ),
                                   dynamic_shapes=_dynamic_shapes(dynamic), strict=False)


def runner(path: Path, runtime: str | None = None) -> Callable[[Tensor], list[Tensor]]:
    """A file of onnxruntime or OpenVINO as a function of torch's tensors."""
    opened = open_file(path, runtime)
    return lambda images: [torch.from_numpy(a) for a in opened.run(images.numpy()).values()]


def _write_onnx(net: nn.Module, size: tuple[int, int], dynamic: bool, path: Path, about: dict,
                runtime: str = 'onnxruntime') -> Callable:
    try:
        __import__(runtime)
        import onnxscript  # noqa: F401  torch's exporter needs it
    except ImportError as error:
        raise ExportError(f'writing for {runtime} needs onnx, onnxscript and {runtime}: '
                          f"pip install 'mmvitlin[export]' {runtime}") from error
    if is_mask2former(net.net):
        _write_traced(net, size, path, about)
        return runner(path, runtime)
    names = {0: 'batch', 2: 'height', 3: 'width'}
    written = torch.onnx.export(
        _programme(net, size, dynamic), (), dynamo=True, input_names=['images'],
        output_names=list(net.outputs), opset_version=OPSET, verbose=False, optimize=False)
    _simplify(written)
    if dynamic:
        for axis, name in names.items():
            written.model.graph.inputs[0].shape[axis] = name
    written.model.metadata_props[META] = json.dumps(about)
    written.save(path, external_data=False)
    return runner(path, runtime)


def _simplify(written: torch.onnx.ONNXProgram) -> None:
    """Constants in the place of what computes them, then torch's optimisation.

    Its time grows with the square of the operators, and it keeps unused ones until its end: a focal
    ViT-B of 1024×2048 took 16 minutes.
    """
    from onnxscript import optimizer
    optimizer.fold_constants(written.model)
    optimizer.remove_unused_nodes(written.model)
    written.optimize()


def _write_traced(net: nn.Module, size: tuple[int, int], path: Path, about: dict) -> None:
    """Write the operators of one call as ONNX, in which all sizes are constants.

    For what ``torch.export`` cannot follow: mmdet's heads compute with sizes in tensors.
    """
    import onnx
    norm = 'aten::rms_norm', OPSET
    torch.onnx.register_custom_op_symbolic(norm[0], _rms_norm, norm[1])
    try:
        with torch.no_grad(), SymbolicSizes(), warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of every size that becomes a constant, as meant
            torch.onnx.export(net, (sample_images(size), ), path, dynamo=False,
                              input_names=['images'], output_names=list(net.outputs),
                              opset_version=OPSET)
    finally:
        torch.onnx.unregister_custom_op_symbolic(*norm)
    written = onnx.load(path)
    written.metadata_props.add(key=META, value=json.dumps(about))
    onnx.save(written, path)


def _rms_norm(g, x, shape, weight, eps):
    """``F.rms_norm`` over the last axis as operators of ONNX, for the exporter of traces."""
    axes = g.op('Constant', value_t=torch.tensor([-1]))
    mean = g.op('ReduceMean', g.op('Mul', x, x), axes, keepdims_i=1)
    return g.op('Mul', g.op('Div', x, g.op('Sqrt', g.op('Add', mean, eps))), weight)


def _write_openvino(net: nn.Module, size: tuple[int, int], dynamic: bool, path: Path, about: dict
                    ) -> Callable:
    _write_onnx(net, size, dynamic, path.with_suffix('.onnx'), about, 'openvino')
    to_openvino(path.with_suffix('.onnx'), path)
    return runner(path)


def to_openvino(source: Path, target: Path) -> None:
    """Write an ONNX file as OpenVINO's .xml and .bin, every weight in the type it has there.

    Args:
        source: With the description of the network.
        target: The .xml; the .bin is put beside it.
    """
    import openvino
    model = openvino.Core().read_model(str(source))
    model.set_rt_info(model.get_rt_info(['framework', META]).astype(str), [META, 'meta'])
    openvino.save_model(model, str(target), compress_to_fp16=False)


def _write_torch(net: nn.Module, size: tuple[int, int], dynamic: bool, path: Path, about: dict
                 ) -> Callable:
    torch.export.save(_programme(net, size, dynamic), path,
                      extra_files={f'{META}.json': json.dumps(about)})
    return torch.export.load(path).module()


def _write_aot(net: nn.Module, size: tuple[int, int], dynamic: bool, path: Path, about: dict
               ) -> Callable:
    from torch._inductor import aoti_compile_and_package, aoti_load_package
    aoti_compile_and_package(_programme(net, size, dynamic), package_path=str(path),
                             inductor_configs={'aot_inductor.metadata': {META: json.dumps(about)}})
    return aoti_load_package(str(path))


@contextmanager
def in_plain_operators(deployed: nn.Module) -> Iterator[None]:
    """Within this context scans use only operators that every runtime has."""
    mixers = [m for m in deployed.modules() if isinstance(m, (Mamba2, Mamba2Attention))]
    before = [m.backend for m in mixers]
    places = [(parent, name, child) for parent in deployed.modules()
              for name, child in parent.named_children() if type(child) is Mamba2]
    try:
        for mixer in mixers:
            mixer.backend = 'plain'
        for parent, name, mixer in places:
            setattr(parent, name, PlainMamba2(mixer).eval())
        yield
    finally:
        for parent, name, mixer in places:
            setattr(parent, name, mixer)
        for mixer, backend in zip(mixers, before, strict=True):
            mixer.backend = backend


def write_weights(deployed: nn.Module, path: Path, kind: str) -> None:
    """Write only the weights, as a checkpoint or safetensors, and read them back.

    Args:
        deployed: A :class:`mmvitlin.apis.export.Deployed`.
        path: File to write.
        kind: 'checkpoint' or 'safetensors'.

    Raises:
        CheckpointError: they do not read back.
    """
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


WRITERS = {'onnx': _write_onnx, 'openvino': _write_openvino, 'torch': _write_torch,
           'aot': _write_aot}
