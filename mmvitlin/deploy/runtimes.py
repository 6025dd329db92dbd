"""What runs an exported file: onnxruntime and OpenVINO behind one call."""
from __future__ import annotations

import ctypes
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from mmvitlin.utils.errors import ConfigError, UnreadableFileError

META = 'mmvitlin'  # the key of the description in a file


class Runtime(ABC):
    """A file, loaded and ready to run.

    Args:
        path: The file.
        precision: Of the inference, see :func:`open_file`.
        threads: Of the CPU; None for the runtime's own choice.

    Attributes:
        path: The file.
        meta: What the export wrote about it: 'task', 'classes', 'palette', …
        outputs: Names of what :meth:`run` gives.
        size: (height, width) that it takes; None for any.
    """
    name: str
    needs: str

    def __init__(self, path: Path, precision: str, threads: int | None):
        self.path, self.precision, self.threads = path, precision, threads
        self.meta: dict = {}
        self.outputs: tuple[str, ...] = ()
        self.size: tuple[int, int] | None = None
        self.load()

    @abstractmethod
    def load(self) -> None:
        """Read the file and set the attributes."""

    @abstractmethod
    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Outputs by name, of images (B, 3, H, W), float32, RGB, 0 to 255."""

    def _take(self, meta: str, shape: list[int | None], outputs: list[str]) -> None:
        self.meta = json.loads(meta) if meta else {}
        self.outputs = tuple(outputs)
        height, width = shape[2:] if len(shape) == 4 else (None, None)
        self.size = (height, width) if height and width else None


class OnnxRuntime(Runtime):
    """onnxruntime on the CPU, or through another of its providers.

    Its threads sleep while they wait; if they spun they would take the cores from other processes.
    """
    name, needs = 'onnxruntime', 'onnxruntime'
    providers: tuple = ('CPUExecutionProvider', )
    precisions: tuple = ('fp32', )

    def load(self) -> None:
        """See :meth:`Runtime.load`."""
        import onnxruntime
        if self.precision not in self.precisions:
            raise ConfigError(f'{self.name} runs a file in the precision that it was written in; '
                              'write one with `mmvitlin export --precision`, or take '
                              f"'openvino' for {self.precision}")
        missing = {p if isinstance(p, str) else p[0] for p in self.providers} - set(
            onnxruntime.get_available_providers())
        if missing:
            raise ConfigError(f'this onnxruntime has no {sorted(missing)[0]}; install '
                              'onnxruntime-gpu and, for TensorRT, its libraries')
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads or 0
        options.add_session_config_entry('session.intra_op.allow_spinning', '0')
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(self.path), options,
                                                     providers=list(self.providers))
        first = next(p if isinstance(p, str) else p[0] for p in self.providers)
        if first not in self._session.get_providers():  # onnxruntime itself only logs it
            raise ConfigError(f'onnxruntime could not start its {first} and took '
                              f'{self._session.get_providers()[0]} instead; check the versions of '
                              'CUDA, cuDNN and TensorRT that it needs')
        image, *_ = self._session.get_inputs()
        self._input = image.name
        shape = [n if isinstance(n, int) else None for n in image.shape]
        self._take(self._session.get_modelmeta().custom_metadata_map.get(META, ''), shape,
                   [o.name for o in self._session.get_outputs()])

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """See :meth:`Runtime.run`."""
        outputs = self._session.run(None, {self._input: images})
        return dict(zip(self.outputs, outputs, strict=True))


class OnnxRuntimeCuda(OnnxRuntime):
    """onnxruntime on an NVIDIA GPU."""
    name = 'onnxruntime-cuda'
    providers = ('CUDAExecutionProvider', 'CPUExecutionProvider')


class TensorRT(OnnxRuntime):
    """TensorRT through onnxruntime; what TensorRT has no operator for runs on CUDA."""
    name, precisions = 'tensorrt', ('fp32', 'fp16')

    def load(self) -> None:
        """See :meth:`Runtime.load`."""
        options = dict(trt_fp16_enable=self.precision == 'fp16')
        self.providers = (('TensorrtExecutionProvider', options), 'CUDAExecutionProvider',
                          'CPUExecutionProvider')
        super().load()


class _SignalStack(ctypes.Structure):
    _fields_ = [('base', ctypes.c_void_p), ('flags', ctypes.c_int), ('size', ctypes.c_size_t)]


@contextmanager
def kept_signal_stack() -> Iterator[None]:
    """Restore the thread's alternate signal stack.

    OpenVINO 2026.4 registers memory that it frees as this thread's alternate signal stack when it
    first queries the processor. Signals that Python handles are delivered there, so that Ctrl-C, or
    the end of a loader's worker, would end the process with a segmentation fault.
    """
    call = getattr(ctypes.CDLL(None), 'sigaltstack', None) if os.name == 'posix' else None
    before = _SignalStack()
    known = call is not None and call(None, ctypes.byref(before)) == 0
    try:
        yield
    finally:
        if known:
            call(ctypes.byref(before), None)


class OpenVino(Runtime):
    """OpenVINO on the CPU, from its own files or from ONNX."""
    name, needs = 'openvino', 'openvino'
    _HINTS = {'fp32': ('f32', 'FP32'), 'bf16': ('bf16', 'BF16'), 'fp16': ('f16', 'FP16')}

    @kept_signal_stack()
    def load(self) -> None:
        """See :meth:`Runtime.load`."""
        import openvino
        core = openvino.Core()
        hint, capability = self._HINTS[self.precision]
        if capability not in core.get_property('CPU', 'OPTIMIZATION_CAPABILITIES'):
            raise ConfigError(f'this processor has no instructions for {self.precision}; run the '
                              'file in fp32')
        model = core.read_model(str(self.path))
        settings = dict(INFERENCE_PRECISION_HINT=hint, PERFORMANCE_HINT='LATENCY')
        if self.threads:
            settings['INFERENCE_NUM_THREADS'] = self.threads
        compiled = core.compile_model(model, 'CPU', settings)
        self._request = compiled.create_infer_request()
        place = [META, 'meta'] if self.path.suffix == '.xml' else ['framework', META]
        meta = model.get_rt_info(place).astype(str) if model.has_rt_info(place) else ''
        shape = [None if n.is_dynamic else n.get_length() for n in model.inputs[0].partial_shape]
        self._take(meta, shape, [o.get_any_name() for o in model.outputs])

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """See :meth:`Runtime.run`."""
        outputs = self._request.infer([images])
        return {name: outputs[n].copy() for n, name in enumerate(self.outputs)}


#: Name → :class:`Runtime`, as ``--runtime`` takes them.
RUNTIMES = {r.name: r for r in (OnnxRuntime, OpenVino, OnnxRuntimeCuda, TensorRT)}
PRECISIONS = tuple(OpenVino._HINTS)
GPU_RUNTIMES = (OnnxRuntimeCuda.name, TensorRT.name)
RUNTIME_PRECISIONS = {OpenVino.name: PRECISIONS, TensorRT.name: TensorRT.precisions}


def open_file(path: str | Path, runtime: str | None = None, precision: str = 'fp32',
              threads: int | None = None) -> Runtime:
    """Load an exported file.

    Args:
        path: ``.onnx``, or ``.xml`` of OpenVINO with its ``.bin`` beside it.
        runtime: One of :data:`RUNTIMES`; None for OpenVINO of its own files and onnxruntime else.
        precision: 'fp32', or 'bf16' or 'fp16' where OpenVINO and the processor can. Of what the
            computing is done in; a file of int8 weights stays one.
        threads: Of the CPU; None for the runtime's own choice.

    Raises:
        ConfigError: a runtime that is not known, not installed, or not for such a file, or no
            threads.
        UnreadableFileError: the file cannot be read.
    """
    path = Path(path)
    runtime = runtime or ('openvino' if path.suffix == '.xml' else 'onnxruntime')
    if runtime not in RUNTIMES:
        raise ConfigError(f"no runtime '{runtime}'; take one of {list(RUNTIMES)}")
    if precision not in PRECISIONS:
        raise ConfigError(f"no precision '{precision}'; take one of {list(PRECISIONS)}")
    if threads is not None and threads < 1:
        raise ConfigError(f'threads must be at least 1, got {threads}')
    if not path.is_file():
        raise UnreadableFileError(f'no file {path}')
    if path.suffix not in (('.onnx', '.xml') if runtime == 'openvino' else ('.onnx', )):
        raise ConfigError(f'{runtime} runs no {path.suffix or "such"} files: {path}')
    try:
        return RUNTIMES[runtime](path, precision, threads)
    except ImportError as error:
        needs = RUNTIMES[runtime].needs
        raise ConfigError(f'{runtime} is not installed: pip install {needs}') from error
    except ConfigError:
        raise
    except Exception as error:
        words = (str(error).strip().splitlines() or [''])[0]
        raise UnreadableFileError(f'{path}: {runtime} cannot read it: {words[:300]}') from error
