"""Data: datasets and transforms for the OpenMMLab libraries (``registered``), and the
generator of the built-in street scenes (``streets``), which needs none of them."""
