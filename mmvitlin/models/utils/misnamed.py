"""Why a checkpoint's tensors do not fit: names with something in front, numbers of another kind."""
from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

from mmvitlin.utils.errors import CheckpointError

_COMPILED = '_orig_mod.'  # which torch.compile puts into names, anywhere


def without_a_part(own: Iterable[str], there: Iterable[str]) -> str:
    """A remedy, as text, where most of a network's names are in a file but for something in front;
    '' where not.

    Args:
        own: Names of the network's tensors.
        there: Those in the file.
    """
    own, there = set(own), list(there)
    parts = {_COMPILED} if any(_COMPILED in key for key in there) else set()
    for key in there:
        first, _, rest = key.partition('.')
        parts |= {f'{first}.', f'{first}.{rest.partition(".")[0]}.'}
    count = {part: sum(_cut(key, part) in own for key in there) for part in parts}
    best = max(sorted(count), key=count.get, default='')
    if not best or 2 * count[best] <= len(own) or count[best] <= len(own & set(there)):
        return ''
    cut = f"k.replace('{best}', '')" if best == _COMPILED else f"k.removeprefix('{best}')"
    return (f" Without '{best}' in them {count[best]} of its names are right: write the state dict "
            f"that it holds anew, torch.save({{{cut}: v for k, v in state.items()}}, 'new.pth')")


def _cut(key: str, part: str) -> str:
    return key.replace(part, '') if part == _COMPILED else key.removeprefix(part)


def refuse_whole_numbers(own: Mapping[str, Tensor], state: Mapping[str, Tensor], path: str) -> None:
    """Refuse quantised weights (whole numbers, float8), which torch would take without their
    scales.

    Args:
        own: Tensors of the network.
        state: Those of the file.
        path: Of the file.

    Raises:
        CheckpointError: names the first, and its type.
    """
    for key, value in state.items():
        if key in own and own[key].is_floating_point() and (
                not value.is_floating_point() or value.dtype.itemsize == 1):
            kind = str(value.dtype).removeprefix('torch.')
            raise CheckpointError(f'{path}: {key} holds numbers of type {kind}, which the network '
                                  'would take as they stand; quantised weights cannot be loaded, '
                                  'give those that they were made from')
