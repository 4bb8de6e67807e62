"""Files in, believed in nothing: opened without waiting, measured before they are read, JSON without surprises."""

from __future__ import annotations

import io
import json
import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from cnnlib.errors import CNNError, ConfigError, DataNotFoundError, FileAccessError, FileFormatError

__all__ = ["PathLike", "brief", "file_path", "opened", "parse_json"]

PathLike = str | os.PathLike[str]

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
_LONGEST_TEXT = 500
# Python reads numbers of thousands of digits, in a time that grows with their square; a generator's state has 39.
_MOST_DIGITS = 40


@contextmanager
def opened(path: PathLike) -> Iterator[tuple[BinaryIO, int]]:
    """Open a regular file to read its bytes; the value is (file, size).

    Raises DataNotFoundError if it is not there, FileFormatError for a folder, a pipe or a device, which could keep a
    reader waiting for ever, and FileAccessError for whatever else the operating system refuses, while reading too.
    """
    try:
        name = Path(path)
        # Without O_NONBLOCK a pipe would wait here for somebody to write.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
        descriptor = os.open(name, flags)
    except FileNotFoundError:
        raise DataNotFoundError(f"{path}: there is no such file") from None
    except OSError as error:
        raise FileAccessError(f"{path}: cannot be opened: {error.strerror}") from error
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{path!r}: expected a file's name: {error}") from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise FileFormatError(f"{path}: {_KINDS.get(stat.S_IFMT(status.st_mode), 'something else')}, expected a file")
    with open(descriptor, "rb") as file:
        try:
            # What says that it is empty and is not, as in /proc, can keep a reader waiting too.
            yield file if status.st_size else io.BytesIO(), status.st_size
        except CNNError:
            raise
        except OSError as error:
            raise FileAccessError(f"{path}: cannot be read: {error.strerror}") from error


def file_path(path: Any, name: str) -> Path:
    """Return a setting that is the name of a file or folder; raises ConfigError, naming it, for anything else."""
    try:
        return Path(path)
    except TypeError:
        raise ConfigError(f"{name} = {path!r}: expected a file's or a folder's name") from None


def brief(text: object, most: int = _LONGEST_TEXT) -> str:
    """Return a text that may quote a file as one that can be printed: of bounded length, control characters escaped.

    >>> print(brief("red: \x1b[31m"))
    red: \\x1b[31m
    """
    shown = "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in str(text)[:most])
    return shown if len(str(text)) <= most else f"{shown} …"


def parse_json(text: str, finite: bool = True) -> Any:
    """Return what a JSON text holds: no key twice, no endless number, nothing that is not Unicode, and, if numbers are
    to be `finite`, no NaN or infinity.

    Raises ValueError, saying what is wrong. Takes up to about thirty times the memory of the text.

    >>> parse_json('{"a": 1, "a": 2}')
    Traceback (most recent call last):
    ValueError: the key 'a' is there twice
    """
    number = _finite if finite else float
    try:
        tree = json.loads(
            text, object_pairs_hook=_object, parse_int=_integer, parse_float=number, parse_constant=number
        )
        if "\\u" in text:  # half a surrogate pair is a Python string, but cannot be printed or saved
            json.dumps(tree, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return tree


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in found if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} is there twice")
    return found


def _integer(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:_MOST_DIGITS]} is not finite")
    return number
