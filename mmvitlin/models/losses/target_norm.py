"""The teacher's features brought to a common scale."""
from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce
from torch import Tensor

from mmvitlin.models.utils.exact_buffers import ExactBuffers
from mmvitlin.ops import equal_variance_rotation
from mmvitlin.ops.precision import no_autocast
from mmvitlin.utils.errors import ConfigError
from mmvitlin.utils.numbers import number

KINDS = ('layer_norm', 'standardize', 'phi_s')


def target_norm_cfg(cfg: bool | str | dict) -> dict | None:
    """Full config of an objective's ``normalize_target``; None for no normalisation.

    Raises:
        ConfigError: an unknown kind or option.
    """
    if not cfg:
        return None
    if not isinstance(cfg, (bool, str, Mapping)):
        raise ConfigError(f'normalize_target={cfg!r}: take False, True (layer norm), one of '
                          f"{KINDS}, or dict(type='phi_s', num_batches=16, both=False)")
    full = dict(type='layer_norm' if cfg is True else cfg) if isinstance(cfg, (bool, str)) else \
        dict(cfg)
    options = set() if full.get('type') == 'layer_norm' else {'num_batches', 'both'}
    if full.get('type') not in KINDS or full.keys() - options != {'type'}:
        raise ConfigError(f'normalize_target={cfg!r}: take False, True (layer norm), one of '
                          f"{KINDS}, or dict(type='phi_s', num_batches=16, both=False)")
    return full


def layer_norm(target: Tensor) -> Tensor:
    """Each token to mean zero and variance one over its channels, (..., C)."""
    return F.layer_norm(target, target.shape[-1:])


class TargetStandardizer(ExactBuffers):
    """Standardises features by statistics of the first batches of training.

    With mean μ and covariance Σ = U Λ Uᵀ of the teacher's tokens::

        standardize   y_c = (x_c − μ_c) / √Σ_cc
        phi_s         y   = H Uᵀ (x − μ) / φ,    φ² = tr Σ / C

    where H is a Hadamard matrix over √C (:func:`mmvitlin.ops.equal_variance_rotation`). Either
    way every channel has mean 0 and variance 1; PHI-S keeps the angles and relative distances of
    features, while a scale for each channel amplifies the noise of small channels.

    Until ``num_batches`` batches are seen, mean and scale (one for all channels in 'phi_s'; 1 for a
    single token) are those of the batches so far, and 'phi_s' does not rotate yet; after that
    nothing changes any more. Statistics are of all processes together, and in the checkpoint.

    Args:
        dims: C.
        kind: 'standardize' or 'phi_s'.
        num_batches: Batches that statistics are taken from.
        both: Transform the prediction as well, which then stays in the teacher's own space: for a
            student that inherits the teacher's weights and has no projector.

    Raises:
        ConfigError: less than one batch.

    Source: PHI-S (arXiv 2410.01680).
    """

    def __init__(self, dims: int, kind: str = 'phi_s', num_batches: int = 16, both: bool = False):
        super().__init__()
        number('normalize_target.num_batches', num_batches, least=1, whole=True)
        self.kind, self.num_batches, self.both = kind, num_batches, both
        square = (dims, dims) if kind == 'phi_s' else (dims, )
        self.register_buffer('batches', torch.zeros((), dtype=torch.int64))
        self.register_buffer('count', torch.zeros((), dtype=torch.float64))
        self.register_buffer('total', torch.zeros(dims, dtype=torch.float64))
        self.register_buffer('squares', torch.zeros(square, dtype=torch.float64))
        self.register_buffer('mean', torch.zeros(dims))
        self.register_buffer('scale', torch.ones(() if kind == 'phi_s' else dims))
        if kind == 'phi_s':
            self.register_buffer('rotation', torch.eye(dims))
        self._complete: bool | None = None  # None: read the buffer, for which the host waits

    def _load_from_state_dict(self, *args, **kwargs):
        super()._load_from_state_dict(*args, **kwargs)
        self.buffers_restored()

    def buffers_restored(self) -> None:
        """See :class:`ExactBuffers`."""
        self._complete = None

    def complete(self) -> bool:
        """Whether enough batches were seen."""
        if self._complete is None:
            self._complete = int(self.batches) >= self.num_batches
            if self._complete and self.kind == 'phi_s' and self._unrotated():
                self._settle()  # of a run that was to see more batches
        return self._complete

    def _unrotated(self) -> bool:
        return torch.equal(self.rotation, torch.eye(len(self.rotation)).to(self.rotation))

    @torch.no_grad()
    def observe(self, target: Tensor) -> None:
        """Take a batch (..., C) into the statistics, if they are not complete."""
        if not self.training or self.complete():
            return
        x = target.detach().flatten(0, -2).double()
        squares = x.mT @ x if self.kind == 'phi_s' else x.square().sum(0)
        sums = torch.cat([x.new_tensor([len(x)]), x.sum(0), squares.flatten()])
        all_reduce(sums)
        if not torch.isfinite(sums).all():
            return  # a NaN of the teacher would never leave the sums
        dims = len(self.total)
        self.count += sums[0]
        self.total += sums[1:dims + 1]
        self.squares += sums[dims + 1:].view_as(self.squares)
        self.batches += 1
        self._complete = None
        self._settle()

    @torch.no_grad()
    def _settle(self) -> None:
        """Mean, scale and rotation from the sums."""
        mean = self.total / self.count
        self.mean.copy_(mean)
        if self.kind == 'standardize':
            variance = self.squares / self.count - mean.square()
        else:
            covariance = self.squares / self.count - torch.outer(mean, mean)
            variance = covariance.diagonal().mean()
            if self.complete():
                self.rotation.copy_(equal_variance_rotation(covariance))
        floor = (1e-8 * variance.mean()).clamp_min(1e-12)  # a dead channel is not scaled up
        scale = torch.maximum(variance, floor).rsqrt()
        self.scale.copy_(torch.where(self.count > 1, scale, torch.ones_like(scale)))

    def forward(self, prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Prediction and target, (..., C), as they are to be compared, float32."""
        with no_autocast(target):
            first = self._transform(prediction.float()) if self.both else prediction
            return first, self._transform(target.float())

    def _transform(self, x: Tensor) -> Tensor:
        x = (x - self.mean) * self.scale
        return x @ self.rotation.mT if self.kind == 'phi_s' else x
