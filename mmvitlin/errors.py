"""Errors that a user caused and can mend; command lines print them as one line."""


class UserError(RuntimeError):
    """Bad input; the message names the file or key and the remedy."""


class ConfigError(UserError):
    """Something that a config names cannot be had or does not fit."""


class UnreadableFileError(UserError):
    """A file of the data set cannot be used."""


class NonFiniteLossError(UserError):
    """Training met a loss that is no number."""


class DiskFullError(OSError, UserError):
    """A file could not be written for want of room."""


class CheckpointError(UserError):
    """A checkpoint cannot be read or is of another model."""
