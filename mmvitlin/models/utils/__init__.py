"""Loading of weights."""
from mmvitlin.models.utils.checkpoint import LoadReport, load_backbone, read_state_dict

__all__ = ['LoadReport', 'load_backbone', 'read_state_dict']
