"""Errors that a user caused and can correct; command lines print them in one line."""


class UserError(RuntimeError):
    """Bad input; the message names the file or key and the remedy."""


class ConfigError(UserError):
    """Something that a config names is not available or does not fit."""


class UnreadableFileError(UserError):
    """A file of the data set cannot be used."""


class NonFiniteLossError(UserError):
    """Training met a NaN or infinite loss."""


class DiskFullError(OSError, UserError):
    """A file could not be written because the disk is full."""


class CheckpointError(UserError):
    """A checkpoint cannot be read or is of another model."""


def message_of(error: Exception) -> str:
    """Only the message: errors of data-loading workers carry a whole traceback."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    if 'Original Traceback' in text:
        _, found, said = text.rstrip().rpartition(f'{type(error).__name__}: ')
        text = said if found else said.rsplit('\n', 1)[-1]
    return text


def in_words(error: Exception) -> str:
    """The kind and message of an error of one of the libraries, without a worker's traceback."""
    text, kind = message_of(error), type(error).__name__
    return text if text.startswith(f'{kind}: ') else f'{kind}: {text}'.removesuffix(': ')
