"""Students of :func:`mmvitlin.distill`, their objectives, and the stages that train them."""
from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mmvitlin.utils.errors import ConfigError

ARCHS = ('tiny', 'small', 'base', 'large')
INHERITING = ('linear', 'focal', 'mamba2')
OBJECTIVES = {  # of students from random weights: what of a distiller's config
    'phi_s': dict(
        mask_ratio=0.,
        objectives=dict(feature=dict(
            type='mmvitlin.FeatureAlignmentLoss', layers=[0.25, 0.5, 0.75, 1.0],
            projector='linear', normalize_target=dict(type='phi_s', num_batches=16)))),
    'linearizer': dict(
        mask_ratio=0.75,
        objectives=dict(
            activation=dict(type='mmvitlin.ActivationMatchingLoss', num_stages=4, scope='visible'),
            mask=dict(type='mmvitlin.MaskedPredictionLoss'))),
    'l2': dict(
        mask_ratio=0.,
        objectives=dict(feature=dict(
            type='mmvitlin.FeatureAlignmentLoss', normalize_target=True)))}


def check_student(student: str | Mapping, objective: str | None) -> None:
    """Refuse a student, or an objective of it, that is not known.

    Raises:
        ConfigError: lists the names.
    """
    names = [*(f'adventurer-{a}' for a in ARCHS), *INHERITING]
    known = 'type' in student if isinstance(student, Mapping) else \
        student in names or student in ARCHS
    if not known:
        raise ConfigError(f'student: {student!r} is none of {names}, nor the config of a backbone '
                          '(dict(type=…))')
    if objective is not None and objective not in list(OBJECTIVES):
        raise ConfigError(f'objective: {objective!r} is none of {list(OBJECTIVES)}')
    if objective is not None and student in INHERITING:
        raise ConfigError(f"objective: student='{student}' inherits the teacher's weights and is "
                          "aligned by ViT-AdaLA's two; leave it out")


def stages_of(student: str | Mapping, objective: str | None, teacher: dict, patch: int,
              size: tuple[int, int], work_dir: Path) -> list[tuple[str, dict, float]]:
    """Name, model and learning rate of each stage.

    Raises:
        ConfigError: a student that inherits, of a teacher that is no :class:`TimmViT`.
    """
    arch = student.removeprefix('adventurer-') if isinstance(student, str) else None
    if isinstance(student, Mapping) or arch in ARCHS:
        backbone = dict(student) if isinstance(student, Mapping) else dict(
            type='mmvitlin.Adventurer', arch=arch, img_size=size, patch_size=patch)
        return [('distill', dict(type='mmvitlin.ViTLinearizer', backbone=backbone, teacher=teacher,
                                 **OBJECTIVES[objective or 'phi_s']), 5e-4)]
    if teacher['backbone'].get('type') != 'mmvitlin.TimmViT':
        raise ConfigError(f"student='{student}' inherits the weights of a mmvitlin.TimmViT, and "
                          f"the teacher is {teacher['backbone'].get('type')}")
    backbone = {k: v for k, v in teacher['backbone'].items() if k not in ('pretrained',
                                                                         'init_cfg')}
    backbone['attention'] = student
    if student in ('linear', 'mamba2'):  # as measured: docs/results
        key = f'{student}_cfg'
        backbone[key] = {'feature_map': 'hedgehog', **(backbone.get(key) or {})}
    start = dict(type='Pretrained', checkpoint=str(work_dir / 'align_attention' / 'student.pth'),
                 prefix='backbone.')
    attention = dict(attention=dict(type='mmvitlin.AttentionAlignmentLoss', relative=True))
    return [('align_attention', dict(type='mmvitlin.AttentionAlignment', backbone=backbone,
                                     teacher=teacher, objectives=attention),
             5e-5 if student == 'focal' else 4e-4),  # focal attention starts near its goal
            ('align_features', dict(type='mmvitlin.FeatureAlignment', teacher=teacher,
                                    backbone=dict(backbone, init_cfg=start)), 1e-4)]
