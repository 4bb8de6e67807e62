"""Bombs: small files that announce, or unpack to, what no memory or time suffices for."""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import cnnlib
from tests.hostile import file_of


def architecture(layer: str, input_shape: list[int], **config: Any) -> bytes:
    nodes = [{"name": "in", "shape": input_shape}, {"name": "0", "layer": layer, "config": config, "inputs": [0]}]
    return described({"type": "Model", "nodes": nodes, "outputs": [1]})


def described(tree: Any) -> bytes:
    text = tree if isinstance(tree, str) else json.dumps(tree)
    return file_of(
        {"0.weight": np.ones(3, np.float32)}, {"format": "cnnlib", "format_version": "1", "architecture": text}
    )


def doubling(times: int) -> bytes:
    """Return a chain of concatenations, each twice as wide as the one before."""
    nodes: list[dict[str, Any]] = [{"name": "in", "shape": [8]}]
    for i in range(times):
        nodes.append({"name": str(i), "layer": "Concat", "config": {"axis": 1}, "inputs": [i, i]})
    return described({"type": "Model", "nodes": nodes, "outputs": [times]})


def container(header: bytes, tensors: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + tensors


def zeros(count: int, before: bytes = b"") -> bytes:
    """Return the gzip file of `before` and so many zeros, made without making them at once."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    parts = [packer.compress(before)]
    parts += [packer.compress(bytes(1 << 20)) for _ in range(count >> 20)]
    return b"".join([*parts, packer.flush()])


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    made = b"\x89PNG\r\n\x1a\n"
    for kind, body in ((b"IHDR", header), *chunks, (b"IDAT", zlib.compress(bytes(1 << 20))), (b"IEND", b"")):
        made += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return made


def many_scans() -> bytes:
    """Return a progressive JPEG whose last scan, a few bytes that take as long as all pixels, stands there often."""
    stream = io.BytesIO()
    Image.new("L", (4096, 4096)).save(stream, "JPEG", progressive=True)
    data = stream.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * 3000 + data[-2:]


def zipped(method: int, content: bytes, names: int = 1) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for i in range(names):
            archive.writestr(f"{i}.npy", content)
    return stream.getvalue()


def npy(shape: tuple[int, ...], content: bytes = b"") -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return stream.getvalue() + content


BOMBS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "idx, a promise": ("idx", lambda: b"\0\0\x0e\x04" + b"\xff" * 16 + bytes(99)),
    "idx, unpacked": ("gz", lambda: zeros(450 << 20, b"\0\0\x08\x01\0\0\0\x02")),
    "idx, as promised": ("gz", lambda: gzip.compress(b"\0\0\x08\x01\x45\0\0\0" + os.urandom(2 << 20), 1)),
    "idx, gzip in gzip": ("gz", lambda: gzip.compress(zeros(100 << 20))),
    "tensors, a header as long as can be": ("safetensors", lambda: struct.pack("<Q", 2**64 - 1) + b"{}"),
    "tensors, a long header": ("safetensors", lambda: container(b"{" + b" " * (9 << 20) + b"}")),
    "tensors, many lists": ("safetensors", lambda: container(b'{"a":[[]' + b",[]" * 2_600_000 + b"]}")),
    "tensors, deep": ("safetensors", lambda: container(b'{"a":' * 1_000_000)),
    "tensors, a long number": ("safetensors", lambda: container(b'{"a":' + b"9" * 8_000_000 + b"}")),
    "tensors, a shape": (
        "safetensors",
        lambda: container(b'{"a":{"dtype":"F32","shape":[0,%s],"data_offsets":[0,0]}}' % (b"9" * 15)),
    ),
    "model, wide": (
        "safetensors",
        lambda: architecture("Conv2d", [1, 9, 9], in_channels=1, out_channels=10**12, kernel_size=3),
    ),
    "model, a large filter": (
        "safetensors",
        lambda: architecture("Conv2d", [1, 9, 9], in_channels=1, out_channels=1, kernel_size=10**5, padding=10**5),
    ),
    "model, 4 GB": ("safetensors", lambda: architecture("Linear", [9], in_features=32_000, out_features=32_000)),
    "model, ones": ("safetensors", lambda: architecture("BatchNorm2d", [9, 9, 9], num_features=10**10)),
    "model, buffers": ("safetensors", lambda: architecture("Standardize", [10**5, 10**5], shape=[10**5, 10**5])),
    "model, padding": (
        "safetensors",
        lambda: architecture("MaxPool2d", [1, 9, 9], kernel_size=2**31 - 1, padding=2**30 - 1),
    ),
    "model, an input": ("safetensors", lambda: architecture("ReLU", [2**31 - 1] * 4)),
    "model, doubling": ("safetensors", lambda: doubling(100)),
    "model, many nodes": (
        "safetensors",
        lambda: described(
            {"type": "Model", "nodes": [{"name": str(i), "shape": [1]} for i in range(150_000)], "outputs": [0]}
        ),
    ),
    "model, many inputs": (
        "safetensors",
        lambda: described(
            {
                "type": "Model",
                "nodes": [
                    {"name": "in", "shape": [2**40]},
                    {"name": "0", "layer": "Concat", "config": {}, "inputs": [0] * 2_000_000},
                ],
                "outputs": [1],
            }
        ),
    ),
    "model, deep": ("safetensors", lambda: described("[" * 1_000_000)),
    "model, deep settings": (
        "safetensors",
        lambda: described(
            '{"nodes":[{"name":"0","layer":"Conv2d","inputs":[],"config":{"kernel_size":'
            + "[" * 900
            + "]" * 900
            + "}}]}"
        ),
    ),
    "picture, large": ("png", lambda: png(60_000, 60_000)),
    "picture, long": ("png", lambda: png(1 << 20, 1)),
    "picture, text": ("png", lambda: png(9, 9, *[(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 20)))] * 70)),
    "picture, profile": ("png", lambda: png(1 << 20, 1, (b"iCCP", b"a\0\0" + zlib.compress(bytes(100 << 20))))),
    "picture, scans": ("jpg", many_scans),
    "picture, plain text": ("ppm", lambda: b"P2 100000 100000 255 " + b"1 " * 100_000),
    "array, a promise": ("npy", lambda: npy((1 << 40,))),
    "array, negative sizes": ("npy", lambda: npy((-2, -2), bytes(4))),
    "array, long": ("npy", lambda: npy((1 << 20, 1), bytes(1 << 20))),
    "archive, bzip2": ("npz", lambda: zipped(zipfile.ZIP_BZIP2, npy((1 << 27,), bytes(1 << 27)))),
    "archive, many": ("npz", lambda: zipped(zipfile.ZIP_DEFLATED, npy((1 << 25,), bytes(1 << 25)), 4)),
    "archive, very many": ("npz", lambda: zipped(zipfile.ZIP_STORED, b"", 20_000)),
}

READ_ALL = """
import resource, sys, time
from pathlib import Path
import PIL.Image
import cnnlib
from cnnlib import images, serialize
from cnnlib.datasets.idx import read_idx

for line in Path("/proc/self/status").read_text().splitlines():
    if line.startswith("VmSize"):
        room = (int(line.split()[1]) << 10) + (400 << 20)
        resource.setrlimit(resource.RLIMIT_AS, (room, room))


def read(path):
    suffix = path.suffix
    if suffix == ".safetensors":
        return serialize.load(path)
    if suffix in ("", ".gz"):
        return read_idx(path)
    for image in images.read_images(path):
        images.fit(image, (28, 28), box=None)


for path in map(Path, sys.argv[1:]):
    start = time.process_time()
    try:
        read(path)
        print(f"{path.name}: ACCEPTED")
    except cnnlib.errors.CNNError as error:
        seconds = time.process_time() - start
        print(f"{path.name}: refused" + (f", but after {seconds} s" if seconds > 5 else "") + f"|{error}")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS bounds memory on Linux")
def test_bombs_do_not_go_off(tmp_path: Path) -> None:
    """All read in one process that may take 400 MB more than it has once all is imported."""
    names = {}
    for i, (name, (suffix, make)) in enumerate(BOMBS.items()):
        names[f"{i}.{suffix}"] = name
        (tmp_path / f"{i}.{suffix}").write_bytes(make())
    done = subprocess.run(
        [sys.executable, "-c", READ_ALL, *map(str, sorted(tmp_path.iterdir()))],
        env={**os.environ, "PYTHONPATH": str(Path(cnnlib.__file__).parent.parent), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = dict(
        line.split(": ", 1) for line in done.stdout.splitlines() if ": refused" in line or ": ACCEPTED" in line
    )
    wrong = {names[file]: verdict for file, verdict in found.items() if not verdict.startswith("refused|")}
    assert not wrong
    assert found.keys() == names.keys()
