"""IDX files, the format of MNIST: a strict reader, a writer, and the digest that names a file's content.

Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database", http://yann.lecun.com/exdb/mnist/, section "File formats".
"""

from __future__ import annotations

import math
import os
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from cnnlib.errors import DataError, DTypeError, FileFormatError
from cnnlib.files import opened

if TYPE_CHECKING:
    import gzip

__all__ = ["idx_digest", "read_idx", "write_idx"]

# The third byte of the magic number; multi-byte elements are big-endian.
DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
CODES = {np.dtype(name): code for code, name in DTYPES.items()}
MAX_DIMS = 8
MAX_BYTES = 1 << 30
GZIP_MAGIC = b"\x1f\x8b"
# Deflate's best is 2 bits for a match of 258 bytes (zlib's "Technical Details"), so a longer promise is a lie.
MAX_DEFLATE_RATIO = 1032
CHUNK = 1 << 20


def read_idx(path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES) -> npt.NDArray[Any]:
    """Read one array from an IDX file, plain or gzipped.

    The file is a header (two zero bytes, element code, number of dimensions, each dimension as a big-endian uint32)
    and then exactly ``product of dimensions × element size`` bytes. Nothing else is accepted. The header is checked
    against the file's size and ``max_bytes`` before memory is taken, and a gzipped file is unpacked no further than the
    header promises (and one byte, to see that it ends there).

    Returns a new C-contiguous array in the machine's byte order. Raises :class:`FileFormatError` for a file that is
    not exactly this or no plain file, :class:`DataNotFoundError` if there is none, :class:`FileAccessError` where the
    operating system refuses.

    >>> import tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "labels-idx1-ubyte.gz")
    >>> write_idx(path, np.array([5, 0, 4], np.uint8))
    >>> read_idx(path)
    array([5, 0, 4], dtype=uint8)
    """
    with opened(path) as (file, size):
        return parse_idx(file, size, Path(path), max_bytes)


def parse_idx(file: BinaryIO, size: int, path: Path, max_bytes: int = MAX_BYTES) -> npt.NDArray[Any]:
    """Read one array from an open file of `size` bytes, whose errors name it `path`; else as `read_idx`."""
    zipped = file.read(2) == GZIP_MAGIC
    file.seek(0)
    if path.suffix == ".gz" and not zipped:
        found = "is empty" if size == 0 else "does not start with gzip's bytes 1f 8b"
        raise FileFormatError(
            f"{path}: expected a gzip file, but it {found}. "
            "Download it again, or drop the .gz from its name if it is unpacked already."
        )
    if not zipped:
        return _read(file, path, size, size, max_bytes)
    import gzip

    try:
        with gzip.GzipFile(fileobj=file, mode="rb") as unpacked:
            return _read(unpacked, path, None, size * MAX_DEFLATE_RATIO, max_bytes)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FileFormatError(f"{path}: truncated or damaged gzip file ({error}). Download it again.") from error


def _read(file: BinaryIO | gzip.GzipFile, path: Path, size: int | None, limit: int, max_bytes: int) -> npt.NDArray[Any]:
    """Parse an unpacked stream of ``size`` bytes; ``None``: unknown, but at most ``limit``."""

    def damaged(found: str, expected: str) -> FileFormatError:
        return FileFormatError(
            f"{path}: {found}; expected {expected}. It is damaged or no IDX file: download it again."
        )

    magic = file.read(4)
    if len(magic) < 4:
        raise damaged(f"only {len(magic)} bytes", "a magic number of 4")
    if magic[:2] != b"\0\0" or magic[2] not in DTYPES:
        codes = " ".join(f"{code:02x}" for code in DTYPES)
        raise damaged(f"magic number {magic.hex(' ')}", f"00 00, an element code of {codes}, a number of dimensions")
    dtype, ndim = np.dtype(DTYPES[magic[2]]), magic[3]
    if not 1 <= ndim <= MAX_DIMS:
        raise damaged(f"{ndim} dimensions", f"1 to {MAX_DIMS}")
    raw = file.read(4 * ndim)
    if len(raw) < 4 * ndim:
        raise damaged(f"the header ends after {4 + len(raw)} bytes", f"{4 + 4 * ndim} for {ndim} dimensions")
    shape = struct.unpack(f">{ndim}I", raw)
    if 0 in shape:
        raise damaged(f"dimensions {_times(shape)}", "each to be at least 1")
    header, wanted = 4 + 4 * ndim, math.prod(shape) * dtype.itemsize
    promise = f"{wanted:,} for {_times(shape)} elements of {dtype.itemsize} bytes"
    if size is not None and size - header != wanted:
        raise damaged(f"{size - header:,} bytes of data", promise)
    if wanted > limit:
        raise damaged(f"at most {limit:,} bytes of data", promise)
    if wanted > max_bytes:
        raise FileFormatError(
            f"{path}: the header promises {wanted:,} bytes, more than max_bytes={max_bytes:,}. "
            "Pass a larger max_bytes if that is right."
        )
    array = np.empty(shape, dtype)
    target, filled = array.reshape(-1).view(np.uint8).data, 0
    while filled < wanted:
        got = file.readinto(target[filled : filled + CHUNK])  # type: ignore[union-attr]
        if not got:
            raise damaged(f"the data end after {filled:,} bytes", promise)
        filled += got
    # At its end a gzip stream also checks its CRC.
    if file.read(1):
        raise damaged("more data than the header promises", promise)
    native = dtype.newbyteorder("=")
    return array if native == dtype else array.byteswap(inplace=True).view(native)


def write_idx(path: str | os.PathLike[str], array: npt.NDArray[Any]) -> None:
    """Write an array as an IDX file, gzipped if the name ends in ``.gz`` (with no time in it: same array, same file).

    Takes uint8, int8, int16, int32, float32 and float64 of 1 to 8 dimensions, none of them empty; raises
    :class:`DTypeError` and :class:`DataError` for others.

    >>> import tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "images-idx3-ubyte")
    >>> write_idx(path, np.zeros((2, 28, 28), np.uint8))
    >>> os.path.getsize(path)
    1584
    """
    import gzip

    path = Path(path)
    content = _header(array) + array.astype(array.dtype.newbyteorder(">")).tobytes()
    path.write_bytes(gzip.compress(content, 9, mtime=0) if path.suffix == ".gz" else content)


def idx_digest(array: npt.NDArray[Any]) -> str:
    """SHA-256 (hex) of the unpacked IDX file that holds ``array``; IDX has one spelling per array.

    >>> idx_digest(np.zeros(1, np.uint8))[:16]
    'dd6678dd4d4a6518'
    """
    import hashlib

    digest = hashlib.sha256(_header(array))
    digest.update(np.ascontiguousarray(array, array.dtype.newbyteorder(">")).data)
    return digest.hexdigest()


def _header(array: npt.NDArray[Any]) -> bytes:
    code = CODES.get(array.dtype.newbyteorder(">"))
    if code is None:
        names = ", ".join(np.dtype(name).name for name in DTYPES.values())
        raise DTypeError(f"IDX holds {names}, got {array.dtype}: convert it with .astype(...)")
    if not 1 <= array.ndim <= MAX_DIMS or array.size == 0 or max(array.shape) >= 1 << 32:
        raise DataError(f"IDX holds 1 to {MAX_DIMS} dimensions of 1 to 2³² - 1 each, got shape {array.shape}")
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)


def _times(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
