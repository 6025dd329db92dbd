"""Drawn street scenes with pixel-exact labels of the 19 Cityscapes classes.

Everything follows from a seed; scenes are described in metres, so the same seed at another
resolution is the same street seen sharper or coarser.
"""
from mmvitlin.datasets.streets.scene import Rendered, render_object, render_scene
from mmvitlin.datasets.streets.writer import write_streets

__all__ = ['Rendered', 'render_object', 'render_scene', 'write_streets']
