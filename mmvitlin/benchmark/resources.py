"""Registers, spills and shared memory of Triton kernels, compiled without a GPU."""
from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from mmvitlin.ops.launch import Launch

TARGETS = (80, 86, 89, 90)  # compute capabilities: A100; RTX 30; RTX 40 and L40; H100
SHARED_BYTES = {80: 166912, 86: 101376, 89: 101376, 90: 232448}  # most that a program may have
_TYPES = {torch.float32: 'fp32', torch.bfloat16: 'bf16', torch.float16: 'fp16',
          torch.int32: 'i32'}


class Resources(NamedTuple):
    """What ptxas reports about one kernel for one target.

    Attributes:
        registers: Of a thread.
        spilled: Bytes of a thread that are spilled to memory because registers ran out.
        shared: Bytes of shared memory of a program.
    """
    registers: int
    spilled: int
    shared: int


def find_ptxas() -> str | None:
    """The assembler that Triton ships with, or one of an installed CUDA."""
    try:
        import triton
    except ImportError:
        return None
    shipped = Path(triton.__file__).parent / 'backends' / 'nvidia' / 'bin' / 'ptxas'
    return str(shipped) if shipped.is_file() else shutil.which('ptxas')


def _signature(launch: Launch) -> tuple[dict, dict, dict]:
    """Types, constants and known multiples of 16 as Triton takes them from a launch."""
    names = launch.kernel.arg_names
    types, constants, multiples = {}, {}, {}
    for place, (name, value) in enumerate(zip(names, launch.args, strict=False)):
        if isinstance(value, Tensor):
            types[name] = f'*{_TYPES[value.dtype]}'
            multiples[place, ] = [['tt.divisibility', 16]]
        elif isinstance(value, float):
            types[name] = 'fp32'
        elif value == 1:  # Triton makes it a constant
            types[name], constants[name] = 'constexpr', 1
        else:
            types[name] = 'i32'
            if value % 16 == 0:
                multiples[place, ] = [['tt.divisibility', 16]]
    for name in names[len(launch.args):]:
        types[name], constants[name] = 'constexpr', launch.options[name]
    return types, constants, multiples


def compile_for(launch: Launch, capability: int):
    """Compile a launch's kernel as it would be for such tensors on a GPU of this capability."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource
    types, constants, multiples = _signature(launch)
    options = {k: v for k, v in launch.options.items() if k not in constants}
    source = ASTSource(fn=launch.kernel, signature=types, constexprs=constants, attrs=multiples)
    return triton.compile(source, target=GPUTarget('cuda', capability, 32), options=options)


def resources(launch: Launch, capability: int) -> Resources:
    """Registers, spilled bytes and shared memory of a launch on a compute capability.

    Args:
        launch: With tensors of any device, meta too.
        capability: Such as 80 for 8.0.

    Raises:
        RuntimeError: there is no ptxas.
    """
    ptxas = find_ptxas()
    if ptxas is None:
        raise RuntimeError('ptxas is missing; it comes with pip install triton')
    compiled = compile_for(launch, capability)
    name = f"sm_{capability}{'a' if capability >= 90 else ''}"
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / 'kernel.ptx'
        source.write_text(compiled.asm['ptx'])
        report = subprocess.run([ptxas, '-v', f'--gpu-name={name}', '-o', f'{folder}/kernel.cubin',
                                 str(source)], capture_output=True, text=True, check=True).stderr
    registers = re.search(r'Used (\d+) registers', report)
    spilled = re.search(r'(\d+) bytes spill stores', report)
    return Resources(int(registers.group(1)), int(spilled.group(1)), compiled.metadata.shared)
