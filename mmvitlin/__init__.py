"""mmvitlin: linear-time vision models for high-resolution dense prediction.

Importing the package is light: neither torch nor any OpenMMLab library is
imported until something that needs it is asked for.
"""
__version__ = '0.1.0'
