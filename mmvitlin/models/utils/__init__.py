"""Loading of weights."""
from mmvitlin.models.utils.checkpoint import (
    LoadReport,
    fit_state_dict,
    load_backbone,
    read_state_dict,
)
from mmvitlin.models.utils.convert import adventurer_config, convert_released

__all__ = [
    'LoadReport', 'adventurer_config', 'convert_released', 'fit_state_dict', 'load_backbone',
    'read_state_dict'
]
