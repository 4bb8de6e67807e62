"""Named tensors from a safetensors file: a length, a header in JSON, then the tensors' bytes, end to end.

The package safetensors checks and splits what was read. Here stands what it leaves open: files are read, not mapped
into memory, where reading past the end of one that somebody shortens meanwhile kills the process; the header is
bounded, no name is there twice, and the dtypes are those that were asked for.

Source: https://github.com/huggingface/safetensors, "Format".
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from cnnlib.files import parse_json

__all__ = ["MAX_HEADER", "NUMBERS", "read_tensors"]

Array = NDArray[Any]

#: Bytes of the longest header that is read, or written: some 20,000 layers.
MAX_HEADER = 1 << 23
#: What other files begin with, and what to do with them.
_OTHERS = {
    b"PK\x03\x04": "a zip archive, as PyTorch and Keras write: save weights by safetensors there",
    b"\x89HDF": "an HDF5 file, as Keras writes: save weights by safetensors there",
}
#: The dtypes of arrays of numbers, by the format's names.
NUMBERS: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("|b1"),
    **{f"{kind}{8 * size}": np.dtype(f"<{kind.lower()}{size}") for kind in "UI" for size in (1, 2, 4, 8)},
    **{f"F{8 * size}": np.dtype(f"<f{size}") for size in (2, 4, 8)},
}


def read_tensors(file: BinaryIO, size: int, dtypes: Collection[str]) -> tuple[dict[str, Array], dict[str, str]]:
    """Return the arrays of a file of `size` bytes, and its metadata; `dtypes` are the names of those that are taken.

    Raises ValueError, saying what is wrong, if the file is anything but that.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    start = file.read(8)
    if start[:4] in _OTHERS:
        raise ValueError(f"it is {_OTHERS[start[:4]]}")
    if start[:1] == b"\x08" and start[2:3] == b"\x12":  # a version below 128, then a name
        raise ValueError("it may be an ONNX file: use cnnlib.onnx.load")
    length = int.from_bytes(start, "little")
    if size < 8 or length > size - 8:
        raise ValueError(f"a header of {length:,} bytes in a file of {size:,}")
    if length > MAX_HEADER:
        raise ValueError(f"a header of {length:,} bytes, at most {MAX_HEADER:,} are read")
    file.seek(0)
    data = file.read(size)
    entries = parse_json(data[8 : 8 + length].decode())
    if not isinstance(entries, dict):
        raise ValueError("the header is no JSON object")
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("the metadata are no strings by name")
    for name, entry in entries.items():
        dtype = entry.get("dtype") if isinstance(entry, dict) else None
        if not isinstance(dtype, str) or dtype not in dtypes:
            raise ValueError(f"{name!r} has dtype {dtype}, expected {' or '.join(dtypes)}")
    # Where memory ends, the package panics, which is no exception that anybody expects: so see that there is enough.
    room = np.empty(size + len(entries) * 8192 + (1 << 20), np.uint8)
    del room
    try:
        arrays = load(data)
    except SafetensorError as error:
        raise ValueError(str(error)) from None
    for name, array in arrays.items():
        if array.dtype == bool and array.size and array.view(np.uint8).max() > 1:
            raise ValueError(f"{name!r} has truth values that are neither 0 nor 1")
    return {name: arrays[name] for name in entries}, metadata
