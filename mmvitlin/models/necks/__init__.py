"""Necks."""
from mmvitlin.models.necks.simple_fpn import SimpleFPN

__all__ = ['SimpleFPN']
