"""Teachers: plain, cached and sharded ones, pretrained ones by name, networks of any shape."""
from mmvitlin.models.teachers.build import build_teacher
from mmvitlin.models.teachers.cached_teacher import CachedTeacher
from mmvitlin.models.teachers.fetch import DEFAULT, TEACHERS, PinnedTeacher, fetch
from mmvitlin.models.teachers.frozen_teacher import FrozenNetwork, FrozenTeacher
from mmvitlin.models.teachers.sharded_teacher import ShardedTeacher
from mmvitlin.models.teachers.timm_features import TimmFeatures, tokens_on_grid

__all__ = [
    'DEFAULT', 'TEACHERS', 'CachedTeacher', 'FrozenNetwork', 'FrozenTeacher', 'PinnedTeacher',
    'ShardedTeacher', 'TimmFeatures', 'build_teacher', 'fetch', 'tokens_on_grid'
]
