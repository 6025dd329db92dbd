"""Muon for matrices and AdamW for everything else, as one optimiser."""
from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim import AdamW, Optimizer

from mmvitlin.registry import OPTIMIZERS
from mmvitlin.utils.errors import ConfigError

_ADAMW = dict(lr=4e-4, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.)


@OPTIMIZERS.register_module()
class MuonWithAdamW(Optimizer):
    """``torch.optim.Muon`` for parameters of two dimensions, ``torch.optim.AdamW`` for the others.

    Each group of parameters is split in two: schedulers, checkpoints and rates of layers see the
    groups of an ordinary optimiser. A group whose rate is a factor times ``lr`` (layer decay) has
    the same factor on AdamW's rate; a group without weight decay has none in either part. Other
    options of a group stand over those given here; ``betas`` and ``eps`` are AdamW's.

    Args:
        params: Parameters, or groups of them.
        lr: Rate of Muon.
        weight_decay: Of Muon.
        momentum: Of Muon.
        nesterov: Of Muon.
        ns_steps: Newton–Schulz iterations of Muon.
        adjust_lr_fn: How Muon's rate follows a matrix's shape, see torch.
        adamw: Options of AdamW: ``lr``, ``betas``, ``eps``, ``weight_decay``.

    Raises:
        ConfigError: torch has no Muon, parameters are sharded, an unknown option of AdamW, or
            groups have shares of a weight decay of 0.

    Source: Muon (Jordan et al., 2024), as torch 2.9 and newer have it.
    """

    def __init__(self, params: Iterable, lr: float = 1e-2, weight_decay: float = 0.05,
                 momentum: float = 0.95, nesterov: bool = True, ns_steps: int = 5,
                 adjust_lr_fn: str | None = None, adamw: dict | None = None):
        if not hasattr(torch.optim, 'Muon'):
            raise ConfigError('optim_wrapper.optimizer: Muon needs torch 2.9 or newer; take '
                              "type='AdamW'")
        if unknown := sorted(set(adamw or {}) - set(_ADAMW)):
            raise ConfigError(f'optim_wrapper.optimizer.adamw: {unknown} are none of '
                              f'{sorted(_ADAMW)}')
        of_muon = dict(lr=lr, weight_decay=weight_decay, momentum=momentum, nesterov=nesterov,
                       ns_steps=ns_steps, adjust_lr_fn=adjust_lr_fn)
        of_adamw = {**_ADAMW, **(adamw or {})}
        # each takes the options that it needs from the groups of the whole
        unused = [torch.nn.Parameter(torch.empty(1, 1))]
        self._parts = {True: torch.optim.Muon(unused, **of_muon), False: AdamW(unused, **of_adamw)}
        split = [part for group in _as_groups(params)
                 for part in _split(group, of_muon, of_adamw)]
        super().__init__(split, dict(lr=lr))  # mmengine schedules and logs it beside the groups
        for group in self.param_groups:
            for name, value in self._parts[group['matrices']].defaults.items():
                group.setdefault(name, value)

    @torch.no_grad()
    def step(self, closure=None):
        """Update all parameters; see torch."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for matrices, part in self._parts.items():
            part.state = self.state
            part.param_groups = [g for g in self.param_groups if g['matrices'] is matrices]
            part.step()
        return loss


def _as_groups(params: Iterable) -> list[dict]:
    params = list(params)
    return params if params and isinstance(params[0], dict) else [dict(params=params)]


def _split(group: dict, of_muon: dict, of_adamw: dict) -> list[dict]:
    """A group's matrices, and what else it has, each with the rate and decay of its optimiser."""
    params = list(group['params']) if not isinstance(group['params'], Tensor) else [group['params']]
    if any(hasattr(p, 'full_tensor') for p in params):
        raise ConfigError('optim_wrapper.optimizer: Muon works on whole matrices and these are '
                          "sharded; leave the strategy out, or take type='AdamW'")
    rest = {k: v for k, v in group.items() if k not in ('params', 'lr', 'weight_decay', 'names')}
    factor = group.get('lr', of_muon['lr']) / of_muon['lr'] if of_muon['lr'] else 1.
    decay, usual = (of.get('weight_decay', of_muon['weight_decay']) for of in (group, of_muon))
    if not usual and of_adamw['weight_decay'] and 'weight_decay' in group:
        raise ConfigError('optim_wrapper.optimizer.weight_decay is 0, and which parameters have '
                          "AdamW's own is told by their share of it; give it a number above 0, or "
                          'leave out adamw.weight_decay')
    share = decay / usual if usual else 1.
    parts = []
    for matrices, options in ((True, of_muon), (False, of_adamw)):
        at = [n for n, p in enumerate(params) if (p.ndim == 2) is matrices]
        if not at:
            continue
        own = {k: v for k, v in rest.items() if not matrices or k not in _ADAMW}
        part = dict({**options, **own}, params=[params[n] for n in at], matrices=matrices)
        part['lr'] = factor * options['lr']
        part['weight_decay'] = share * options['weight_decay']
        if 'names' in group:
            part['names'] = [group['names'][n] for n in at]
        parts.append(part)
    return parts
