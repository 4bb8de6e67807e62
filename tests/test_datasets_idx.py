"""The IDX reader gives exactly what the file says, or FileFormatError."""

from __future__ import annotations

import gzip
import hashlib
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cnnlib.datasets.idx import idx_digest, read_idx, write_idx
from cnnlib.errors import DataError, DTypeError, FileFormatError

DTYPES = (np.uint8, np.int8, np.int16, np.int32, np.float32, np.float64)
IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
# By hand from the format's description, not by the writer.
PLAIN = bytes([0, 0, 8, 3]) + struct.pack(">III", 2, 3, 4) + bytes(range(24))
in_tmp_path = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)


def header(*shape: int, code: int = 8) -> bytes:
    return bytes([0, 0, code, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)


@pytest.mark.parametrize("name", ["a-idx3-ubyte", "a-idx3-ubyte.gz"])
def test_reads_a_file_written_by_hand(tmp_path, name):
    (tmp_path / name).write_bytes(gzip.compress(PLAIN) if name.endswith(".gz") else PLAIN)
    array = read_idx(str(tmp_path / name))
    np.testing.assert_array_equal(array, IMAGES)
    assert array.dtype == np.uint8
    assert array.flags.c_contiguous
    assert array.flags.writeable


def test_gzip_is_recognised_without_its_suffix(tmp_path):
    (tmp_path / "images").write_bytes(gzip.compress(PLAIN))
    np.testing.assert_array_equal(read_idx(tmp_path / "images"), IMAGES)


def test_writes_the_bytes_of_the_format_and_the_same_gzip_each_time(tmp_path):
    write_idx(tmp_path / "a", IMAGES)
    assert (tmp_path / "a").read_bytes() == PLAIN
    write_idx(tmp_path / "a.gz", IMAGES)
    write_idx(tmp_path / "b.gz", IMAGES)
    assert gzip.decompress((tmp_path / "a.gz").read_bytes()) == PLAIN
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


def test_digest_is_the_sha256_of_the_unpacked_file(tmp_path):
    assert idx_digest(IMAGES) == hashlib.sha256(PLAIN).hexdigest()
    numbers = np.array([[1.5, -2.0]], np.float32)
    write_idx(tmp_path / "a", numbers)
    assert idx_digest(numbers) == hashlib.sha256((tmp_path / "a").read_bytes()).hexdigest()


@in_tmp_path
@given(
    array=st.sampled_from(DTYPES).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=1, max_dims=4, max_side=5))
    ),
    suffix=st.sampled_from(["", ".gz"]),
)
def test_round_trip(tmp_path, array, suffix):
    path = tmp_path / f"array{suffix}"
    write_idx(path, array)
    back = read_idx(path)
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()


BROKEN = {
    "empty": (b"", "only 0 bytes"),
    "no IDX": (b"<html>404</html>", "magic number 3c 68 74 6d"),
    "unknown element code": (header(4, code=7) + bytes(4), "00 00 07 01"),
    "no dimensions": (bytes([0, 0, 8, 0, 1]), "0 dimensions"),
    "too many dimensions": (bytes([0, 0, 8, 9]) + bytes(36), "9 dimensions"),
    "cut in the header": (PLAIN[:10], "10 bytes; expected 16"),
    "a dimension of zero": (header(0, 28, 28), "0×28×28"),
    "truncated": (PLAIN[:-1], "23 bytes"),
    "trailing bytes": (PLAIN + b"\0", "25 bytes"),
    "a promise of 2¹²⁸ elements": (header(*[2**32 - 1] * 4) + bytes(24), "24 bytes"),
    "a product that is 0 modulo 2⁶⁴": (header(2**31, 2**31, 4), "0 bytes of data"),
}


@pytest.mark.parametrize(("content", "found"), BROKEN.values(), ids=BROKEN)
def test_broken_plain_file(tmp_path, content, found):
    path = tmp_path / "t10k-images-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(FileFormatError) as error:
        read_idx(path)
    message = str(error.value)
    assert str(path) in message
    assert found in message
    assert "expected" in message
    assert "download it again" in message


ZIPPED = gzip.compress(PLAIN, mtime=0)
BROKEN_GZIP = {
    "empty": (b"", "is empty"),
    "not gzipped": (PLAIN, "drop the .gz"),
    "truncated stream": (ZIPPED[:-12], "Download it again"),
    "truncated to the magic": (ZIPPED[:2], "Download it again"),
    "wrong checksum": (ZIPPED[:-8] + bytes(4) + ZIPPED[-4:], "CRC"),
    "damaged stream": (ZIPPED[:10] + b"\xff\xff" + ZIPPED[12:], "Download it again"),
    "garbage after the stream": (ZIPPED + b"garbage", "Download it again"),
    "nothing inside": (gzip.compress(b""), "only 0 bytes"),
    "data too short": (gzip.compress(PLAIN[:-1]), "data end after 23 bytes"),
    "data too long": (gzip.compress(PLAIN + b"\0"), "more data"),
    "a promise that deflate cannot keep": (gzip.compress(header(10_000, 1000)), "at most"),
}


@pytest.mark.parametrize(("content", "found"), BROKEN_GZIP.values(), ids=BROKEN_GZIP)
def test_broken_gzip_file(tmp_path, content, found):
    path = tmp_path / "images.gz"
    path.write_bytes(content)
    with pytest.raises(FileFormatError) as error:
        read_idx(path)
    assert str(path) in str(error.value)
    assert found in str(error.value)


def test_gzip_bomb_is_not_unpacked(tmp_path):
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(header(2) + bytes(100_000_000)))
    tracemalloc.start()
    try:
        with pytest.raises(FileFormatError, match="more data than the header promises"):
            read_idx(path)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_size_is_capped(tmp_path):
    write_idx(tmp_path / "a.gz", np.zeros(1001, np.uint8))
    assert read_idx(tmp_path / "a.gz", max_bytes=1001).shape == (1001,)
    with pytest.raises(FileFormatError, match="more than max_bytes=1,000"):
        read_idx(tmp_path / "a.gz", max_bytes=1000)


def test_missing_file_is_the_system_s_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_idx(tmp_path / "nothing")


def test_writer_refuses_what_idx_cannot_hold(tmp_path):
    with pytest.raises(DTypeError, match=r"int64.*\.astype"):
        write_idx(tmp_path / "a", np.arange(3, dtype=np.int64))
    for array in (np.array(1, np.uint8), np.zeros((0, 28, 28), np.uint8), np.zeros((1,) * 9, np.uint8)):
        with pytest.raises(DataError, match="shape"):
            write_idx(tmp_path / "a", array)
    assert not (tmp_path / "a").exists()
