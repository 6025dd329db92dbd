"""Loading of weights."""
from mmvitlin.models.utils.checkpoint import LoadReport, load_backbone, read_state_dict
from mmvitlin.models.utils.convert import adventurer_config, convert_released

__all__ = [
    'LoadReport', 'adventurer_config', 'convert_released', 'load_backbone', 'read_state_dict'
]
