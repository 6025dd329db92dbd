"""Imported once by the process that measuring processes are forked from; runs nothing."""
import mmvitlin.analysis.lab_process
import mmvitlin.models
import mmvitlin.models.heads
import mmvitlin.models.segmentors  # noqa: F401
