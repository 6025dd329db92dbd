"""State space dual scan (Mamba-2): one public function, backends behind it."""
from __future__ import annotations

from torch import Tensor

from mmvitlin.ops.launch import on_gpu, warn_of_eager
from mmvitlin.ops.ssd import external
from mmvitlin.ops.ssd.chunked import ssd_chunked
from mmvitlin.ops.ssd.external import mixer_mamba_ssm, mixer_problem
from mmvitlin.ops.ssd.fused import fused_problem, ssd_fused
from mmvitlin.ops.ssd.plain import ssd_plain
from mmvitlin.ops.ssd.reference import ssd_reference

BACKENDS = {
    'mamba_ssm': (external.ssd_mamba_ssm, external.mamba_ssm_problem),
    'fused': (ssd_fused, fused_problem),
    'fla': (external.ssd_fla, external.fla_problem),
    'torch': (ssd_chunked, lambda x: None),
    'plain': (ssd_plain, lambda x: None),
    'reference': (lambda *args, chunk_size=None: ssd_reference(*args), lambda x: None),
}
_AUTO_ORDER = ('mamba_ssm', 'fused', 'fla', 'torch')


def available_backends(x: Tensor) -> list[str]:
    """Names of the backends that can run on the device of ``x``."""
    return [name for name, (_, problem) in BACKENDS.items() if problem(x) is None]


def choose(x: Tensor) -> str:
    """What 'auto' takes for ``x``: the first of mamba-ssm, our kernels and fla that can run.

    Warns, once, where a GPU is left with the eager scan. The Triton kernels take only a GPU's
    tensors, also where Triton's interpreter is on.
    """
    for name in _AUTO_ORDER:
        if (name == 'torch' or on_gpu(x)) and BACKENDS[name][1](x) is None:
            break
    if name == 'torch':
        warn_of_eager('the scan of Mamba-2', x)
    return name


def _check_shapes(x, dt, A, B, C, D) -> None:
    if x.ndim != 4 or 0 in x.shape:
        raise ValueError(f'x must be a non-empty (B, L, H, P), got {tuple(x.shape)}')
    batch, length, heads, _ = x.shape
    if B.ndim != 4 or B.shape[:2] != x.shape[:2] or heads % max(B.shape[2], 1):
        raise ValueError(f'B must be (B, L, G, N) = ({batch}, {length}, G, N) with G dividing the '
                         f'{heads} heads of x, got {tuple(B.shape)}')
    for name, tensor, shape in (('dt', dt, x.shape[:3]), ('A', A, (heads, )), ('C', C, B.shape),
                                ('D', D, (heads, ))):
        if tensor is not None and tuple(tensor.shape) != tuple(shape):
            raise ValueError(f'{name} must have shape {tuple(shape)}, got {tuple(tensor.shape)}')
    if chunk_bad := [n for n, t in (('dt', dt), ('A', A)) if not t.is_floating_point()]:
        raise TypeError(f'{", ".join(chunk_bad)} must be floating point')


def ssd(x: Tensor,
        dt: Tensor,
        A: Tensor,
        B: Tensor,
        C: Tensor,
        D: Tensor | None = None,
        *,
        chunk_size: int | None = None,
        backend: str = 'auto') -> Tensor:
    """State space dual scan of Mamba-2, linear in the number of tokens.

    Args:
        x: Values, (B, L, H, P), any L ≥ 1.
        dt: Step sizes after softplus, (B, L, H).
        A: Negative decay rates, (H,).
        B: Input matrices, (B, L, G, N); H is a multiple of G.
        C: Output matrices, (B, L, G, N).
        D: Skip weights, (H,), or None.
        chunk_size: Tokens in a chunk; None leaves it to the backend.
        backend: 'auto' (the first of 'mamba_ssm', 'fused', 'fla' and 'torch' that can run here),
            'torch' (eager), 'mamba_ssm', 'fla', 'fused' (our Triton kernels), 'plain' (ordinary
            operators only, for export) or 'reference'.

    Returns:
        (B, L, H, P), in the type of ``x``. Decays are float32 in every backend, and products are
        taken in the type of ``x``, under autocast too.

    Raises:
        ValueError: a shape does not fit, or the backend's name is not known.
        RuntimeError: the named backend cannot run here; says why and what to install.

    Source: Mamba-2 (arXiv 2405.21060), section 6.
    """
    _check_shapes(x, dt, A, B, C, D)
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f'chunk_size must be at least 1, got {chunk_size}')
    if backend == 'auto':
        backend = choose(x)
    elif backend not in BACKENDS:
        raise ValueError(f"unknown ssd backend '{backend}'; choose 'auto' or one of "
                         f'{sorted(BACKENDS)}')
    run, problem = BACKENDS[backend]
    if reason := problem(x):
        raise RuntimeError(f"ssd backend '{backend}' cannot run: {reason}")
    return run(x, dt, A, B, C, D, chunk_size=chunk_size)


__all__ = ['available_backends', 'mixer_mamba_ssm', 'mixer_problem', 'ssd', 'ssd_chunked',
           'ssd_reference']
