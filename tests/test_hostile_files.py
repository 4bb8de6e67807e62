"""Files made to hurt: each parser refuses them, by name, in little time and memory, or reads what is truly there."""

from __future__ import annotations

import os
import random
import socket
import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load as split_tensors

import cnnlib
from cnnlib import images, serialize
from cnnlib.datasets.idx import read_idx
from cnnlib.errors import CNNError, DataNotFoundError, FileAccessError, FileFormatError
from cnnlib.layers import Tanh, registered
from cnnlib.model import Model
from tests import hostile
from tests.hostile import MODELS, PARSERS, accepts
from tests.mutations import mutated_file, mutated_json

STRUCTURED = {
    "architecture": lambda data, rng: mutated_json(data.decode(), rng).encode(),
    **dict.fromkeys(("tensors", "model", "state_dict", "checkpoint"), mutated_file),
}
# What a parser may take beyond a multiple of its input: buffers of gzip, zlib and Pillow, a small model's plan.
SLACK, SECONDS = 8 << 20, 10


def guarded(name: str, data: bytes) -> bool:
    """Whether a parser accepts `data`, after checking the time and the memory that it takes."""
    tracemalloc.start()
    start = time.process_time()
    try:
        accepted = accepts(PARSERS[name][0], data)
        assert time.process_time() - start < SECONDS
        assert tracemalloc.get_traced_memory()[1] < 200 * len(data) + SLACK
    finally:
        tracemalloc.stop()
    return accepted


def test_right_files_are_accepted_and_the_models_have_every_layer() -> None:
    for name, (_, seeds) in PARSERS.items():
        accepted = [guarded(name, seed) for seed in seeds]
        assert accepted.count(False) == (name == "npz"), name  # one is packed in a way that NumPy never uses
    assert {type(layer).__name__ for model in MODELS for layer in model.layers.values()} >= set(registered()) - {
        name for name, layer in registered().items() if not layer.__module__.startswith("cnnlib.")
    }


@pytest.mark.parametrize(
    ("name", "where", "what", "wrong"),
    [
        ("idx", hostile, "parse_idx", lambda *arguments, **options: np.zeros(3, np.uint8)),
        ("tensors", safetensors.numpy, "load", lambda data: {k: v + 1 for k, v in split_tensors(data).items()}),
        ("model", Model, "load_state_dict", lambda self, state: None),
        ("architecture", serialize, "registered", lambda: {**registered(), "ReLU": Tanh}),
        ("state_dict", Model, "load_state_dict", lambda self, state: None),
        ("npy", images, "_grey", lambda pixels, name: pixels.astype(np.float32)),
        ("picture", images, "resize", lambda pixels, size: np.full(size, np.nan)),
    ],
)
def test_the_checks_see_a_parser_that_is_wrong(
    monkeypatch: pytest.MonkeyPatch, name: str, where: Any, what: str, wrong: Any
) -> None:
    """Otherwise the tests below would pass for a parser that takes anything for anything."""
    monkeypatch.setattr(where, what, wrong)
    with pytest.raises(AssertionError):
        guarded(name, PARSERS[name][1][-1 if name == "state_dict" else 0])


@given(data=st.data())
@settings(max_examples=250)
@pytest.mark.parametrize("name", PARSERS)
def test_changed_files_are_refused_or_read_right(name: str, data: st.DataObject) -> None:
    seeds = PARSERS[name][1]
    content = bytearray(data.draw(st.sampled_from(seeds)))
    if name in STRUCTURED and data.draw(st.booleans()):
        content = bytearray(STRUCTURED[name](bytes(content), random.Random(data.draw(st.integers(0, 2**32)))))
    else:
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(0, max(len(content) - 1, 0)))
            match data.draw(st.sampled_from(["flip", "number", "insert", "cut", "drop", "splice"])):
                case "flip" if content:
                    content[at] ^= 1 << data.draw(st.integers(0, 7))
                case "number":
                    value, form = (
                        data.draw(st.sampled_from([0, 1, 255, 2**31, 2**32 - 1])),
                        data.draw(st.sampled_from("<>")),
                    )
                    content[at : at + 4] = struct.pack(form + "I", value)
                case "insert":
                    content[at:at] = data.draw(st.binary(min_size=1, max_size=8))
                case "cut":
                    del content[at:]
                case "drop":
                    del content[at : at + data.draw(st.integers(1, 16))]
                case "splice":
                    other = data.draw(st.sampled_from(seeds))
                    content[at:] = other[data.draw(st.integers(0, len(other) - 1)) :]
    guarded(name, bytes(content))


@given(content=st.binary(max_size=200))
@example(content=b"")
@pytest.mark.parametrize("name", PARSERS)
def test_any_bytes(name: str, content: bytes) -> None:
    guarded(name, content)
    seed = PARSERS[name][1][0]
    guarded(name, seed[: len(content) % len(seed)] + content)


# Regression: what fuzzing found. Parser, bytes.
FINDINGS: list[tuple[str, bytes]] = [
    # More output names than outputs, of which as many differ, once made a model that could not predict.
    (
        "architecture",
        b'{"type":"Model","nodes":[{"name":"left","shape":[2]},{"name":"r","layer":"ReLU","config":{},"inputs":[0]}],'
        b'"outputs":[1],"output_names":["x","x"]}',
    ),
    # NumPy's header reader raised tokenize.TokenError.
    (
        "npy",
        b"\x93NUMPY\x01\x00\x46\x00{'descr': '|u1', 'fortran_order': False, 'shape': (5, 6), }          )\n"
        + bytes(30),
    ),
    # An archive without a member once was no images at all, and no error.
    ("npz", b"PK\5\6" + bytes(18)),
]


def changed_checkpoint(change: Callable[[dict[str, Any]], None]) -> bytes:
    """Return a checkpoint of a training whose state was changed."""
    state = hostile.trained()
    change(state)
    return hostile.checkpoint_file(state)


FINDINGS += [
    # Counts of a metric that are no numbers once came up as a TypeError after the first batch.
    ("checkpoint", changed_checkpoint(lambda s: s["run"]["mean"]["metrics"]["accuracy"].update(_samples=[1]))),
    ("checkpoint", changed_checkpoint(lambda s: s["run"]["mean"]["metrics"]["accuracy"].update(other=1))),
    # So long an epoch that the seconds to come were lost in rounding, and images per second a division by zero.
    ("checkpoint", changed_checkpoint(lambda s: s["run"].update(seconds=1e300))),
    # The message quoted all that the file said of its training.
    ("checkpoint", changed_checkpoint(lambda s: s["run"]["settings"].update(seed=["x" * 99] * 999))),
]


@pytest.mark.parametrize(("name", "data"), FINDINGS, ids=[name for name, _ in FINDINGS])
def test_what_fuzzing_found_is_refused(name: str, data: bytes) -> None:
    assert not guarded(name, data)


# Paths that lead to no plain file


def fifo(folder: Path) -> Path:
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


def loop(folder: Path) -> Path:
    (folder / "loop").symlink_to(folder / "loop")
    return folder / "loop"


def unix_socket(folder: Path) -> Path:
    here = os.getcwd()
    os.chdir(folder)  # a socket's path must be short
    try:
        with socket.socket(socket.AF_UNIX) as end:
            end.bind("socket")
    finally:
        os.chdir(here)
    return folder / "socket"


PATHS: dict[str, tuple[Callable[[Path], Any], type[CNNError]]] = {
    "missing": (lambda folder: folder / "missing", DataNotFoundError),
    "a folder": (lambda folder: folder, FileFormatError),
    "a pipe": (fifo, FileFormatError),
    "a loop": (loop, FileAccessError),
    "a socket": (unix_socket, FileAccessError),
    "below a file": (lambda folder: Path(__file__) / "x", FileAccessError),
    "a long name": (lambda folder: folder / ("x" * 5000), FileAccessError),
    "a zero in it": (lambda folder: "a\0b", cnnlib.errors.ConfigError),
    "None": (lambda folder: None, cnnlib.errors.ConfigError),
    "a number": (lambda folder: 3, cnnlib.errors.ConfigError),
    "/dev/zero": (lambda folder: Path("/dev/zero"), FileFormatError),
    "/dev/random": (lambda folder: Path("/dev/random"), FileFormatError),
    "/dev/tty": (lambda folder: Path("/dev/tty"), CNNError),
    "/proc/self/mem": (lambda folder: Path("/proc/self/mem"), CNNError),
    "/proc/kmsg": (lambda folder: Path("/proc/kmsg"), CNNError),
}
READERS: dict[str, Callable[[Any], Any]] = {
    "load": cnnlib.load,
    "load_state": serialize.load_state,
    "read_idx": read_idx,
    "read_images": images.read_images,
}


@pytest.mark.skipif(os.name != "posix", reason="pipes and devices have names on POSIX systems")
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", PATHS)
def test_paths_that_lead_to_no_file_are_refused_at_once(kind: str, reader: str, tmp_path: Path) -> None:
    make, error = PATHS[kind]
    path = make(tmp_path)
    if kind.startswith("/") and not path.exists():
        pytest.skip(f"no {kind} here")
    start = time.monotonic()
    with pytest.raises(error) as caught:
        READERS[reader](path)
    assert time.monotonic() - start < 5
    assert (repr(path) if error is cnnlib.errors.ConfigError else str(path)) in str(caught.value)
