"""Parts of mmdet's detectors that lose boxes in half precision, or read maps in another layout."""
from __future__ import annotations

from collections.abc import Iterator

from mmvitlin.compat.kinds import kind_of
from mmvitlin.engine.rules.context import Context, dicts_below, warn
from mmvitlin.utils.errors import ConfigError

_EXTRACTORS = frozenset(('SingleRoIExtractor', 'GenericRoIExtractor'))
_FLOAT32 = frozenset(('AnchorGenerator', 'DeltaXYWHBBoxCoder', 'DistancePointBBoxCoder',
                      'FCOSHead', 'MlvlPointGenerator', 'SingleRoIExtractor'))


def _of_mmdet(context: Context, names: frozenset[str]) -> Iterator[tuple[str, dict]]:
    """(key, config) of the parts of the model with these names that are mmdet's own."""
    if 'mmdet' not in (context.cfg.get('default_scope'), context.model.get('_scope_')):
        return
    for key, part in dicts_below(context.model, 'model'):
        if kind_of(part) in names and part['type'] in (kind_of(part), f'mmdet.{kind_of(part)}'):
            yield key, part


def layout(context: Context) -> None:
    """RoIs are cut from maps in the layout that mmcv's RoIAlign assumes.

    Raises:
        ConfigError: a backbone of mmvitlin, whose maps are channels-last views, without a neck that
            copies them.
    """
    kind = str((context.model.get('backbone') or {}).get('type', ''))
    if not kind.startswith('mmvitlin.') or kind_of(context.model.get('neck')) == 'SimpleFPN':
        return
    for key, part in _of_mmdet(context, _EXTRACTORS):
        raise ConfigError(f"{key} is mmdet's {kind_of(part)}, whose RoIAlign reads the channels-"
                          f"last maps of {kind} as if they were contiguous; take {key}.type="
                          'mmvitlin.SingleRoIExtractor')


def half_precision(context: Context) -> None:
    """Warns where mmdet rounds boxes to bfloat16 or float16."""
    wrapper = context.cfg.get('optim_wrapper') or {}
    if not kind_of(wrapper).endswith('AmpOptimWrapper'):
        return
    if keys := {kind_of(part): key for key, part in _of_mmdet(context, _FLOAT32)}:
        warn(f'{kind_of(wrapper)}: {", ".join(sorted(keys))} of mmdet round boxes to the type of '
             'the maps, which in bfloat16 counts pixels beyond 512 by fours; mmvitlin has them in '
             f"float32: type='mmvitlin.{min(keys)}' and so on (such as {keys[min(keys)]})")
