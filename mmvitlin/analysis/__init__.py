"""Measuring: time, memory, figures. The command lines in ``tools`` are thin over this."""
