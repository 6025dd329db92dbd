"""Imported once by the process that measuring processes are forked from."""
import mmvitlin.benchmark.measuring_process
import mmvitlin.models
import mmvitlin.models.decode_heads
import mmvitlin.models.segmentors  # noqa: F401
