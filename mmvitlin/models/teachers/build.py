"""Builds the teacher of a config."""
from __future__ import annotations

from mmvitlin.models.teachers.cached_teacher import CachedTeacher
from mmvitlin.models.teachers.frozen_teacher import FrozenTeacher
from mmvitlin.models.teachers.sharded_teacher import ShardedTeacher
from mmvitlin.registry import MODELS


def is_frozen_teacher(config: dict) -> bool:
    """Whether a config is of :class:`FrozenTeacher` or a class of it, whose precision can be set
    later."""
    kind = config.get('type', 'FrozenTeacher')
    kind = MODELS.get(kind) if isinstance(kind, str) else kind
    return isinstance(kind, type) and issubclass(kind, FrozenTeacher)


def build_teacher(config: dict) -> FrozenTeacher:
    """A teacher by its config.

    Args:
        config: Arguments of :class:`FrozenTeacher`. ``cache=…`` makes it a :class:`CachedTeacher`
            and ``shard=True`` a :class:`ShardedTeacher`; ``type`` may name a class of one's own.

    Raises:
        ValueError: cached and sharded; and what the class raises.
    """
    options = dict(config)
    kind = options.pop('type', 'FrozenTeacher')
    if not isinstance(kind, str) or kind.rsplit('.', 1)[-1] != 'FrozenTeacher':
        return MODELS.build(config)
    shard, cache = options.pop('shard', False), options.pop('cache', None)
    if shard and cache:
        raise ValueError('teacher: shard=True is for a teacher that is not cached; take one of '
                         'shard and cache')
    if cache:
        return CachedTeacher(**options, cache=cache)
    return (ShardedTeacher if shard else FrozenTeacher)(**options)
