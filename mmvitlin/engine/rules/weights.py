"""Networks that would keep random weights."""
from __future__ import annotations

from mmvitlin.compat.kinds import kind_of
from mmvitlin.engine.rules.context import Context, as_list
from mmvitlin.utils.errors import ConfigError

_ALLOW = 'allow_random_weights=True allows it'


def has_weights(network: dict) -> bool:
    """Whether a network's config says where its weights come from."""
    return bool(network.get('checkpoint') or network.get('pretrained') or any(
        isinstance(init, dict) and kind_of(init) == 'Pretrained' and init.get('checkpoint')
        for init in as_list(network.get('init_cfg'))))


def given(context: Context) -> None:
    """A network that is run has a checkpoint.

    Raises:
        ConfigError: it has none.
    """
    if not context.checkpoint:
        raise ConfigError(f'checkpoint is {context.checkpoint!r}, so the network would have random '
                          'weights; give the file that training with this config wrote')


def random_teacher(context: Context) -> None:
    """A teacher has been trained.

    Raises:
        ConfigError: nothing says where its weights come from.
    """
    teacher = context.model.get('teacher')
    if context.purpose != 'train' or not isinstance(teacher, dict) or _allowed(context):
        return
    network = teacher.get('model') or teacher.get('backbone') or {}
    if not has_weights(teacher) and not has_weights(network):
        key = 'checkpoint' if 'model' in teacher else 'checkpoint (or backbone.pretrained=True)'
        raise ConfigError(f'model.teacher.{key} is not given, so the student would learn from '
                          f'random weights; give the file that trained the teacher. {_ALLOW}')


def random_parts(context: Context) -> None:
    """Parts that are not trained have been trained before.

    Raises:
        ConfigError: a frozen backbone, or an alignment's student, has random weights.
    """
    model = context.model
    backbone = model.get('backbone')
    if context.purpose != 'train' or not isinstance(backbone, dict) or _allowed(context):
        return
    if has_weights(backbone) or has_weights(model) or context.cfg.get('load_from'):
        return
    if kind_of(model) in ('AttentionAlignment', 'FeatureAlignment') and not model.get(
            'inherit', kind_of(model) == 'AttentionAlignment'):
        before = ('' if kind_of(model) == 'AttentionAlignment' else
                  "model.backbone.init_cfg=dict(type='Pretrained', checkpoint=<the student.pth of "
                  "the first stage>, prefix='backbone.'), or ")
        raise ConfigError(f'model.backbone starts from random weights, which {kind_of(model)} '
                          f'only aligns; give {before}model.inherit=True. {_ALLOW}')
    if frozen := _frozen_by(context.cfg, backbone):
        raise ConfigError(f'{frozen} freezes a backbone of random weights; give model.backbone.'
                          f"init_cfg=dict(type='Pretrained', checkpoint=…). {_ALLOW}")


def _allowed(context: Context) -> bool:
    return bool(context.cfg.get('allow_random_weights'))


def _frozen_by(cfg, backbone: dict) -> str | None:
    """The key that keeps a backbone from being trained."""
    stages = backbone.get('frozen_stages')
    if isinstance(stages, int) and not isinstance(stages, bool) and stages >= 1:
        return f'model.backbone.frozen_stages={stages}'
    for name in ('frozen', 'freeze'):
        if backbone.get(name) is True:
            return f'model.backbone.{name}=True'
    paramwise = (cfg.get('optim_wrapper') or {}).get('paramwise_cfg') or {}
    for name, settings in (paramwise.get('custom_keys') or {}).items():
        if name.rstrip('.') == 'backbone' and isinstance(settings, dict) \
                and settings.get('lr_mult') == 0:
            return f"optim_wrapper.paramwise_cfg.custom_keys['{name}'].lr_mult=0"
    return 'optim_wrapper.paramwise_cfg.backbone_lr_mult=0' \
        if paramwise.get('backbone_lr_mult') == 0 else None
