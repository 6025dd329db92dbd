"""Data sets of a config, moved to another folder."""
from __future__ import annotations

from mmengine.config import Config

from mmvitlin.engine.rules.context import datasets_of, warn


def move_data(cfg: Config, root: str, those: set[str] | None = None) -> None:
    """Give data sets another root, and move the evaluators' files from the old ones to it. A root
    below one that moves stays below it.

    Args:
        cfg: Is changed.
        root: The new one.
        those: Roots of the data sets that move; None for all.
    """
    datasets = [dataset for _, dataset in datasets_of(cfg)]
    before = {str(dataset['data_root'] or '').rstrip('/') for dataset in datasets}
    roots = before if those is None else {r.rstrip('/') for r in those}
    for dataset in datasets:
        old = str(dataset['data_root'] or '').rstrip('/')
        above = min((r for r in roots if r and old.startswith(f'{r}/')), key=len, default=None)
        if above is not None:
            dataset['data_root'] = f"{root.rstrip('/')}{old[len(above):]}"
        elif old in roots:
            dataset['data_root'] = root
    for key in ('val_evaluator', 'test_evaluator'):
        evaluators = cfg.get(key) or []
        for evaluator in evaluators if isinstance(evaluators, (list, tuple)) else [evaluators]:
            for name in ('ann_file', 'seg_prefix'):
                value = evaluator.get(name)
                old = next((r for r in sorted(roots - {''}, key=len)
                            if isinstance(value, str) and value.startswith(f'{r}/')), None)
                if old is not None:
                    evaluator[name] = f"{root.rstrip('/')}{value[len(old):]}"


def roots_to_move(cfg: Config, own: object) -> set[str] | None:
    """Of a config whose data sets have several roots its own; None for all."""
    roots = {str(d['data_root'] or '').rstrip('/') for _, d in datasets_of(cfg)}
    own = str(own or '').rstrip('/')
    others = sorted(r for r in roots if r != own and not r.startswith(f'{own}/'))
    if not own or own not in roots or not others:
        return None
    warn(f'--cfg-options data_root moves the data sets at {own}; those at {", ".join(others)} stay')
    return {own}
