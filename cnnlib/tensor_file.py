"""Named tensors from a safetensors file: a length, a header in JSON, then the tensors' bytes, end to end.

Read here rather than by the package that writes them, so that all is checked against the file's size first, no more
memory is taken than the file has bytes, and a file that somebody shortens meanwhile is an error: that package maps
files into memory, where reading past the new end kills the process.

Source: https://github.com/huggingface/safetensors, "Format".
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from cnnlib.files import parse_json
from cnnlib.shapes import MOST_ELEMENTS

__all__ = ["MAX_HEADER", "NUMBERS", "read_tensors"]

Array = NDArray[Any]

#: Bytes of the longest header that is read, or written: some 20,000 layers.
MAX_HEADER = 1 << 23
#: The dtypes of arrays of numbers, by the format's names.
NUMBERS: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("|b1"),
    **{f"{kind}{8 * size}": np.dtype(f"<{kind.lower()}{size}") for kind in "UI" for size in (1, 2, 4, 8)},
    **{f"F{8 * size}": np.dtype(f"<f{size}") for size in (2, 4, 8)},
}
_MOST_DIMENSIONS = 32


def read_tensors(file: BinaryIO, size: int, dtypes: Collection[str]) -> tuple[dict[str, Array], dict[str, str]]:
    """Return the arrays of a file of `size` bytes, and its metadata; `dtypes` are the names of those that are taken.

    Raises ValueError, saying what is wrong, if the file is anything but that.
    """
    if size < 8:
        raise ValueError(f"only {size} bytes")
    length = int.from_bytes(file.read(8), "little")
    if length > size - 8:
        raise ValueError(f"a header of {length:,} bytes in a file of {size:,}")
    if length > MAX_HEADER:
        raise ValueError(f"a header of {length:,} bytes, at most {MAX_HEADER:,} are read")
    text = file.read(length)
    if not text.startswith(b"{"):
        raise ValueError("the header is no JSON object")
    header = parse_json(text.decode())
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("the metadata are no strings by name")
    spans = sorted((*_span(name, entry, dtypes), name) for name, entry in header.items())
    end = 0
    for start, stop, name in spans:
        if start != end:
            raise ValueError(f"the data of {name!r} start at {start:,}, those before end at {end:,}")
        end = stop
    if 8 + length + end != size:
        raise ValueError(f"{8 + length + end:,} bytes are described, the file has {size:,}")
    return {name: _read(file, header[name], name) for _, _, name in spans}, metadata


def _span(name: str, entry: Any, dtypes: Collection[str]) -> tuple[int, int]:
    """Return where a tensor's data start and stop, after checking that its description is complete and adds up."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{name!r} is not described by dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in dtypes:
        raise ValueError(f"{name!r} has dtype {dtype}, expected {' or '.join(dtypes)}")
    if not _sizes(shape) or len(shape) > _MOST_DIMENSIONS or math.prod(max(n, 1) for n in shape) > MOST_ELEMENTS:
        raise ValueError(f"{name!r} has shape {shape}, expected up to {_MOST_DIMENSIONS} sizes")
    if not _sizes(offsets) or len(offsets) != 2:
        raise ValueError(f"{name!r} has data_offsets {offsets}, expected where its data start and stop")
    start, stop = offsets
    if stop - start != math.prod(shape) * NUMBERS[dtype].itemsize:
        raise ValueError(f"{name!r} has {stop - start:,} bytes for {dtype} of shape {shape}")
    return start, stop


def _sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


def _read(file: BinaryIO, entry: dict[str, Any], name: str) -> Array:
    array: Array = np.empty(entry["shape"], NUMBERS[entry["dtype"]])
    data = array.reshape(-1).view(np.uint8).data
    filled = 0
    while filled < len(data):
        got = file.readinto(data[filled:])  # type: ignore[attr-defined]
        if not got:
            raise ValueError(f"the file ends within {name!r}")
        filled += got
    if array.dtype == bool and array.size and array.view(np.uint8).max() > 1:
        raise ValueError(f"{name!r} has truth values that are neither 0 nor 1")
    return array.astype(array.dtype.newbyteorder("="), copy=False)
