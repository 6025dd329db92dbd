"""Annealing of the attention masks of a head's queries during training."""
from __future__ import annotations

from collections.abc import Iterator

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from mmvitlin.registry import HOOKS
from mmvitlin.utils.errors import ConfigError


@HOOKS.register_module()
class MaskAnnealingHook(Hook):
    """Take the masks of an EoMT head's queries from all to none, layer after layer.

    The heads' ``mask_progress`` follows only from the iteration, so a resumed run continues
    exactly.

    Args:
        begin: Share of the training's iterations after which masks begin to go.
        end: Share after which there are none.

    Raises:
        ConfigError: invalid shares; no head with queries, or a backbone all of whose last
            layers take no masks, so that there is nothing to anneal.

    Source: EoMT (arXiv 2503.19108), section 3.3; from a sixth to five sixths as in its released
    settings for four layers.
    """

    def __init__(self, begin: float = 1 / 6, end: float = 5 / 6):
        if not 0 <= begin < end <= 1:
            raise ConfigError('MaskAnnealingHook: begin and end are shares of the training with '
                              f'0 <= begin < end <= 1, got {begin} and {end}')
        self.begin, self.end = begin, end

    def before_train(self, runner: Runner) -> None:
        """Check that there are masks to anneal."""
        model = _plain(runner)
        if not list(_heads(model)):
            raise ConfigError(f'MaskAnnealingHook: {type(model).__name__} has no EoMT head; take '
                              'the hook out of custom_hooks')
        backbone = model.backbone
        layers = range(backbone.first_query_layer or 0, backbone.num_layers)
        if not any(backbone.can_mask(i) for i in layers):
            kind = type(backbone).__name__
            raise ConfigError(f'MaskAnnealingHook: the layers {list(layers)} of this {kind} take '
                              'no masks of queries; take the hook out of custom_hooks')

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        """Set the progress of the training in the heads."""
        share = runner.iter / runner.max_iters
        for head in _heads(_plain(runner)):
            head.mask_progress = min(max((share - self.begin) / (self.end - self.begin), 0.), 1.)


def _plain(runner: Runner) -> nn.Module:
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def _heads(model: nn.Module) -> Iterator[nn.Module]:
    return (m for m in model.modules() if hasattr(m, 'mask_progress'))
