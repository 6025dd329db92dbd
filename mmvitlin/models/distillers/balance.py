"""Weights of objectives by the size of their gradients."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from mmengine.dist import all_reduce, get_world_size
from torch import Tensor

from mmvitlin.models.utils.exact_buffers import ExactBuffers
from mmvitlin.utils.errors import ConfigError
from mmvitlin.utils.numbers import number


class GradientBalance(ExactBuffers):
    """Scales losses so that each has a given share of the gradient at the student's tokens.

    With g_k the gradient of loss k with respect to the student's tokens that it reads, n_k an
    exponential average of ‖g_k‖ and s_k its share, loss k is multiplied by

        w_k = (s_k / s_1) · (n_1 / n_k)

    so the first objective keeps its size and the others follow; their ``loss_weight`` cancels out.
    One without a gradient, as with a ``loss_weight`` of 0, is left as it is, and is not the first.
    Gradients end at the tokens: the network itself is not run backwards. Norms are those of the
    batches of all processes together, and their averages are in the checkpoint.

    Args:
        names: The objectives, in order.
        shares: Name → s_k; 1 for those not named.
        momentum: Of the average.

    Raises:
        ConfigError: a share that is not positive, a momentum outside [0, 1), or, in the first
            step, an objective that reads only frozen layers.

    Source: after GradNorm (arXiv 1711.02257), with the ratio of the norms instead of learned
    weights.
    """

    def __init__(self, names: Sequence[str], shares: Mapping[str, float] | None = None,
                 momentum: float = 0.99):
        super().__init__()
        shares = dict(shares or {})
        given = [shares.get(name, 1.) for name in names]
        for name, share in zip(names, given, strict=True):
            number(f'balance.shares.{name}', share, above=0)  # an objective is dropped with None
        number('balance.momentum', momentum, least=0, below=1)
        self.names, self.momentum = tuple(names), momentum
        self.register_buffer('norms', torch.zeros(len(given)))
        self.register_buffer('shares', torch.tensor(given), persistent=False)

    def forward(self, losses: Mapping[str, Tensor], tokens: Mapping[str, Sequence[Tensor]]
                ) -> dict[str, Tensor]:
        """Name → weight, scalars without gradient.

        Args:
            losses: Name → scalar.
            tokens: Name → the student's tokens that the loss was computed from.
        """
        if self.training and torch.is_grad_enabled():
            self._update(torch.stack([_squared_norm(n, losses[n], tokens[n])
                                      for n in self.names]))
        alive = self.norms > 0
        sizes = self.norms / self.shares
        first = sizes.gather(0, alive.to(torch.int8).argmax()[None])
        weights = torch.where(alive, first / sizes.clamp_min(1e-12), torch.ones_like(sizes))
        return dict(zip(self.names, weights, strict=True))

    @torch.no_grad()
    def _update(self, squares: Tensor) -> None:
        all_reduce(squares)
        new = (squares.sqrt() / get_world_size()).to(self.norms)  # of the mean over processes
        mixed = torch.lerp(new, self.norms, self.momentum)
        # all averages start at 0 and are too small by the same factor, which cancels in ratios;
        # a NaN or infinite gradient changes nothing
        self.norms.copy_(torch.where(torch.isfinite(new).all(), mixed, self.norms))


def _squared_norm(name: str, loss: Tensor, tokens: Sequence[Tensor]) -> Tensor:
    tokens = [t for t in tokens if t.requires_grad]  # others are of frozen stages
    if not tokens:
        raise ConfigError(f"balance: objectives.{name} reads only layers of frozen stages, which "
                          'get no gradient; drop it or let it read later layers')
    scale = min(max(t.numel() for t in tokens), 2**16)  # in float16 a mean's gradients vanish
    with torch.autocast(loss.device.type, enabled=False):
        gradients = torch.autograd.grad(loss * scale, tokens, retain_graph=True, allow_unused=True)
    return sum((g.float() / scale).square().sum() for g in gradients if g is not None)
