"""Loading of weights."""
from mmvitlin.models.utils.checkpoint import (
    LoadReport,
    fit_state_dict,
    load_backbone,
    read_state_dict,
)
from mmvitlin.models.utils.convert import convert_released, released_config
from mmvitlin.models.utils.key_mapping import layout_of, to_timm

__all__ = [
    'LoadReport', 'convert_released', 'fit_state_dict', 'layout_of', 'load_backbone',
    'read_state_dict', 'released_config', 'to_timm'
]
