"""Checkpoint files: what a training needs to go on after its process was ended, to the same bits.

A checkpoint is one safetensors file: every array of the state a tensor, all else JSON in the metadata, where
``{"tensor": name}`` stands for an array. A SHA-256 over both is kept with them, so that a file which was damaged is
known as such. It holds the model's architecture too, so `cnnlib.load` reads a checkpoint as a model. Writes are atomic
(`cnnlib.serialize.write_atomically`): whenever the process dies, the former checkpoints stand.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnlib._version import __version__
from cnnlib.errors import CNNError, ConfigError, FileFormatError
from cnnlib.files import PathLike, brief, parse_json
from cnnlib.serialize import CHECKPOINT_FORMAT, check_sum, checksum, load_state, save_state
from cnnlib.tensor_file import NUMBERS

__all__ = ["file_name", "newest", "paths", "prune", "read", "sweep", "write"]

Array = NDArray[Any]

FORMAT_VERSION = "1"

_NAME = re.compile(r"checkpoint-\d{8,}\.safetensors")
_UNFINISHED = re.compile(r"\.checkpoint-\d{8,}\.safetensors\.[0-9a-f]{16}\.tmp")
_TENSOR = "tensor"


def write(path: PathLike, state: Mapping[str, Any], architecture: str) -> None:
    """Write a state of nested dicts and lists of arrays, strings, numbers and None, with a model's architecture.

    Raises ConfigError, naming the place in the state, for anything else in it; OSError if the file cannot be written.
    """
    tensors: dict[str, Array] = {}
    metadata = {
        "format": CHECKPOINT_FORMAT,
        "format_version": FORMAT_VERSION,
        "cnnlib_version": __version__,
        "architecture": architecture,
        "state": json.dumps(_packed(state, "", tensors)),
    }
    save_state(tensors, path, metadata | {"sha256": checksum(tensors, metadata)})


def read(path: PathLike) -> dict[str, Any]:
    """Return the state that `write` wrote.

    Raises FileFormatError, naming the file and what is wrong, if it is damaged or no checkpoint.
    """
    return unpack(*load_state(path, NUMBERS), path)


def unpack(tensors: Mapping[str, Array], metadata: Mapping[str, str], path: PathLike) -> dict[str, Any]:
    """Return the state in the tensors and the metadata of the file `path`; raises as `read` does."""
    if metadata.get("format") != CHECKPOINT_FORMAT:
        raise FileFormatError(f"{path}: not a checkpoint of cnnlib")
    if metadata.get("format_version") != FORMAT_VERSION:
        raise FileFormatError(
            f"{path}: a checkpoint of version {brief(metadata.get('format_version'))} by cnnlib "
            f"{brief(metadata.get('cnnlib_version'))}; this cnnlib {__version__} reads version {FORMAT_VERSION}"
        )
    check_sum(path, tensors, metadata)
    try:
        state = _unpacked(parse_json(metadata["state"], finite=False), tensors)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FileFormatError(f"{path}: the state in the file cannot be read: {brief(repr(error))}") from None
    if not isinstance(state, dict):
        raise FileFormatError(f"{path}: the state in the file is a {type(state).__name__}, expected a dict")
    return state


def file_name(step: int) -> str:
    """Return the name of the checkpoint after so many steps.

    >>> file_name(312)
    'checkpoint-00000312.safetensors'
    """
    return f"checkpoint-{step:08d}.safetensors"


def paths(folder: PathLike) -> list[Path]:
    """Return the checkpoints of a folder, the newest first; none where there is no such folder."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    steps = {int(name[11:-12]): name for name in names if _NAME.fullmatch(name)}
    return [Path(folder, steps[step]) for step in sorted(steps, reverse=True)]


def newest(folder: PathLike) -> tuple[Path, dict[str, Any], list[Path]]:
    """Return the newest checkpoint that can be read, its state, and the newer ones that are damaged.

    Each of those is named in a warning. Raises FileFormatError if there is no checkpoint, or none that can be read.
    """
    damaged: list[Path] = []
    problems: list[str] = []
    for path in paths(folder):
        try:
            state = read(path)
        except CNNError as error:
            damaged.append(path)
            problems.append(str(error))
            continue
        for problem in problems:
            warnings.warn(f"{problem}; going on from {path.name} instead", RuntimeWarning, stacklevel=2)
        return path, state, damaged
    if not problems:
        raise FileFormatError(f"{folder}: there is no checkpoint in it")
    raise FileFormatError(f"{folder}: none of the checkpoints can be read:\n  " + "\n  ".join(problems))


def prune(folder: PathLike, keep: int) -> None:
    """Delete all but the newest `keep` checkpoints of a folder."""
    for path in paths(folder)[keep:]:
        with suppress(OSError):
            path.unlink()


def sweep(folder: PathLike) -> None:
    """Delete what a process that was killed in the middle of `write` left in a folder."""
    for name in os.listdir(folder):
        if _UNFINISHED.fullmatch(name):
            with suppress(OSError):
                Path(folder, name).unlink()


def _packed(value: Any, place: str, tensors: dict[str, Array]) -> Any:
    """Return `value` with its arrays moved to `tensors`, named by their places."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf" and value.dtype.itemsize <= 8:
        name = place if place not in tensors else f"{place}#{len(tensors)}"
        tensors[name] = value.astype(value.dtype.newbyteorder("="), order="C", copy=False)
        return {_TENSOR: name}
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, (list, tuple)):
        return [_packed(part, f"{place}/{i}", tensors) for i, part in enumerate(value)]
    if isinstance(value, Mapping) and set(value) != {_TENSOR} and all(isinstance(key, str) for key in value):
        return {key: _packed(part, f"{place}/{key}" if place else key, tensors) for key, part in value.items()}
    raise ConfigError(
        f"checkpoint: {place or 'the state'} is a {type(value).__name__}; a state is made of dicts with names as keys, "
        "lists, strings, numbers, None, and arrays of numbers"
    )


def _unpacked(value: Any, tensors: Mapping[str, Array]) -> Any:
    if isinstance(value, list):
        return [_unpacked(part, tensors) for part in value]
    if isinstance(value, dict):
        if set(value) == {_TENSOR}:
            return tensors[value[_TENSOR]]
        return {key: _unpacked(part, tensors) for key, part in value.items()}
    return value
