"""Triton kernels of other packages, counted without a GPU."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from types import SimpleNamespace
from unittest.mock import patch

import torch
from torch import Tensor

from mmvitlin.models.layers import mamba2
from mmvitlin.ops import packages
from mmvitlin.ops.launch import meta_as_gpu

H100 = SimpleNamespace(multi_processor_count=132, major=9, minor=0)


@contextmanager
def counted_launches(add: Callable[[str, int], None]) -> Iterator[None]:
    """Within the context each Triton kernel that is launched is counted, and not run, and meta
    tensors may go to any package.

    The tensors of a launch are taken as read or written once as a whole; of what a kernel would be
    tuned over the first setting is taken, on a device like an H100.

    Args:
        add: Takes a kernel's name and its bytes.
    """
    from triton.runtime.autotuner import Autotuner
    from triton.runtime.jit import JITFunction

    def run(kernel, *args, grid=None, warmup=False, **options) -> None:
        tensors = {id(t): t for t in (*args, *options.values()) if isinstance(t, Tensor)}
        add(kernel.fn.__name__, sum(t.numel() * t.element_size() for t in tensors.values()))

    def run_tuned(tuner, *args, **options):
        config = tuner.best_config = tuner.configs[0]
        options.update(config.all_kwargs())
        if config.pre_hook is not None:
            config.pre_hook({**dict(zip(tuner.arg_names, args, strict=False)), **options})
        return tuner.fn.run(*args, **options)

    with ExitStack() as stack:
        stack.enter_context(meta_as_gpu('fla-core', 'mamba-ssm'))
        for owner, name, value in (
                (JITFunction, 'run', run), (Autotuner, 'run', run_tuned),
                (torch.cuda, 'device', lambda *_: nullcontext()),
                (torch.cuda, 'get_device_properties', lambda *_: H100)):
            stack.enter_context(patch.object(owner, name, value))
        yield


@contextmanager
def counted_mixer(add: Callable[[str, int], None]) -> Iterator[None]:
    """As :func:`counted_launches`, with mamba-ssm's mixer as one node wherever it fits.

    causal-conv1d's kernels, which are CUDA, are counted by what they are given: the backward pass
    reads the input and the gradient and writes a gradient.
    """
    def forward(x, weight, bias, seq_idx, initial_states, final_states_out, silu):
        out = torch.empty_like(x)
        add('causal_conv1d', _size(x, weight, bias, out))
        return out

    def backward(x, weight, bias, dout, seq_idx, initial_states, dfinal_states, dx,
                 return_dinitial_states, silu):
        gradients = torch.empty_like(weight), torch.empty_like(bias)
        add('causal_conv1d_backward', _size(x, weight, bias, dout, dx, *gradients))
        return dx, *gradients, None

    with (counted_launches(add), patch.object(mamba2, 'mixer_problem', lambda *_: None),
          patch.multiple(packages.mamba_scans(), causal_conv1d_fwd_function=forward,
                         causal_conv1d_bwd_function=backward)):
        yield


def _size(*tensors: Tensor) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)
