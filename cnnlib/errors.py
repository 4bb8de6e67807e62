"""Exceptions: each says what was wrong, where, what was expected, and what to do.

Every exception that cnnlib raises on purpose derives from :class:`CNNError` and also from the built-in
that Python programmers would expect, so both ``except CNNError`` and ``except ValueError`` work.
"""

from __future__ import annotations

__all__ = [
    "CNNError",
    "ConfigError",
    "DTypeError",
    "DataError",
    "DataNotFoundError",
    "FileAccessError",
    "FileFormatError",
    "GraphError",
    "MissingExtraError",
    "NonFiniteError",
    "ShapeError",
    "TrainingError",
    "UnsupportedError",
]


class CNNError(Exception):
    """Base of all exceptions that cnnlib raises on purpose."""


class ShapeError(CNNError, ValueError):
    """An array, or a layer's input, has a shape that cannot work."""


class DTypeError(CNNError, TypeError):
    """An array has an element type that is not supported where it was given."""


class GraphError(CNNError, ValueError):
    """The graph is malformed: a cycle, a node of another graph, a missing input."""


class ConfigError(CNNError, ValueError):
    """A setting (argument, environment variable) has a value that cannot be used."""


class DataError(CNNError, ValueError):
    """Data have impossible values: labels out of range, an empty batch, mismatched lengths."""


class FileFormatError(DataError):
    """A file is truncated, lies about its size, or is not of the format it should be."""


class TrainingError(CNNError, RuntimeError):
    """A training step cannot be done: backward before forward, a loss that is NaN or infinite."""


class NonFiniteError(TrainingError):
    """A loss or a gradient became NaN or infinite.

    name: what did, ``"loss"`` or a parameter's name; "" where only the `parameter` is known. epoch, batch: when, from
    1; 0 outside of ``fit``. samples: where in the data the samples are, where the data tell.
    """

    def __init__(
        self,
        message: str,
        *,
        name: str = "",
        parameter: object = None,
        epoch: int = 0,
        batch: int = 0,
        samples: tuple[int, ...] = (),
    ) -> None:
        super().__init__(message)
        self.name, self.parameter, self.epoch, self.batch, self.samples = name, parameter, epoch, batch, samples


class DataNotFoundError(CNNError, FileNotFoundError):
    """A data set is neither on disk nor could it be fetched; the message says where to put which files."""


class FileAccessError(CNNError, OSError):
    """The operating system refuses to open or to read a file: rights, a loop of links, a disk that fails."""


class MissingExtraError(CNNError, ImportError):
    """An optional package is needed; the message names the extra that installs it."""

    def __init__(self, package: str, extra: str, purpose: str, more: str = "") -> None:
        super().__init__(f"{purpose} needs the package {package!r}: pip install 'cnnlib[{extra}]'{more}")


class UnsupportedError(CNNError, NotImplementedError):
    """A file asks for something that exists but that cnnlib does not have; the message lists what."""
