"""Every parser of files as a function of bytes that knows what must come of them; for tests and for `tools/fuzz.py`.

A function returns True if the bytes were accepted, after checking what was made of them by another way, and False if
they were refused by an error of cnnlib that names the file. All else is a finding.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import load as load_by_package
from safetensors.numpy import save as to_bytes

from cnnlib import checkpoint, images, layers, serialize
from cnnlib.callbacks import Callback, EarlyStopping
from cnnlib.datasets.idx import idx_digest, parse_idx
from cnnlib.errors import CNNError, DataError, MissingExtraError
from cnnlib.graph import Input
from cnnlib.losses import CrossEntropyLoss
from cnnlib.model import Model, Sequential
from cnnlib.optim import SGD
from cnnlib.tensor_file import NUMBERS
from cnnlib.trainer import Trainer
from tests.helpers import Array
from tests.rows import ROWS

NAME = "hostile"


class Refused(Exception):
    """The bytes were refused as they should be."""


@contextmanager
def refusing(name: str = NAME) -> Iterator[None]:
    """Turn cnnlib's errors into `Refused`, after a look at their text: short, and naming the file."""
    try:
        yield
    except MissingExtraError:
        raise
    except CNNError as error:
        text = str(error)
        assert name in text, text
        assert len(text) < 2000, text[:2000]
        raise Refused from error


def accepts(check: Callable[[bytes], None], data: bytes) -> bool:
    try:
        check(data)
    except Refused:
        return False
    return True


# Models


def every_layer(dtype: type = np.float32) -> Model:
    """Return a small graph in which each registered layer has its place."""
    a, b = Input((2, 6, 6), "left"), Input((2, 6, 6), "right")
    options: dict[str, Any] = {"rng": 0, "dtype": dtype}
    twin = layers.Conv2d(2, 2, (3, 5), padding="same", name="twin", **options)
    pooled = layers.MaxPool2d(3, 1, (1, 1))(layers.LeakyReLU(0.1)(twin(b)))
    normed = layers.BatchNorm2d(2, dtype=dtype)(layers.PReLU(2, dtype=dtype)(twin(a)))
    x = layers.Concat(axis=1)(normed, pooled, layers.ReLU()(a) + b, layers.Standardize((2, 6, 6), per_channel=True)(a))
    x = layers.Dropout2d(0.5, rng=0)(layers.AvgPool2d(2, count_include_pad=False)(x))
    small = layers.AdaptiveAvgPool2d(2)(x)
    top = layers.Linear(32, 3, bias=False, **options)(layers.Dropout(0.25, rng=0)(layers.Flatten()(small)))
    top = layers.BatchNorm1d(3, dtype=dtype)(layers.Tanh()(top))
    gate = layers.Sigmoid()(layers.Linear(8, 3, **options)(layers.GlobalAvgPool2d()(x)))
    mixed = (2 * top - gate) * gate / (1.5 + gate) + 3 / (gate + 1)
    return Model([a, b], {"classes": layers.Softmax()(mixed), "raw": top})


def others() -> Model:
    """Return the layers that have no place there, each by itself, as outputs of one model."""
    known = {type(layer).__name__ for layer in every_layer().layers.values()}
    inputs: list[Any] = []
    outputs: dict[str, Any] = {}
    for row in ROWS.values():
        layer = row.make(dtype=np.float32) if row.parameters else row.make()
        kind = type(layer).__name__
        if kind not in known | set(outputs):
            own = [Input(shape, f"{kind}_{i}") for i, shape in enumerate(row.shapes)]
            inputs += own
            outputs[kind] = layer(*own)
    return Model(inputs, outputs)


def chain() -> Sequential:
    return Sequential(
        layers.Conv2d(1, 2, 3, rng=0),
        layers.ReLU(),
        layers.MaxPool2d(2),
        layers.Flatten(),
        layers.Linear(8, 3, rng=1),
        input_shape=(1, 6, 6),
    )


def saved(model: Model) -> tuple[dict[str, Array], dict[str, str]]:
    """Return what a model's file holds."""
    return model.state_dict(), serialize.describe(model)


def file_of(state: dict[str, Array], metadata: dict[str, str]) -> bytes:
    return bytes(to_bytes(state, metadata))


MODELS = [every_layer(), chain(), others()]
FILES = [file_of(*saved(model)) for model in MODELS]
# Parameters of all models by the names of their layers, so that any architecture finds those that it asks for.
STATE = {name: array for model in MODELS for name, array in model.state_dict().items()}
_MOST_WORK = 10_000_000


def check_model(model: Model, text: str) -> None:
    """A model that was accepted must be what the text says, describe itself so that it comes back, and predict."""
    nodes = json.loads(text)["nodes"]
    told = {node["name"]: node for node in nodes}
    for name, node, sources in zip(model.graph.names, model.graph.nodes, model.graph.sources, strict=True):
        said = told[name]
        assert [model.graph.names[i] for i in sources] == [nodes[i]["name"] for i in said.get("inputs", [])]
        if "same_layer_as" not in said:
            assert said.get("layer") == (type(node.layer).__name__ if node.layer else None)
    twin = serialize.rebuild(*saved(model), NAME)
    assert serialize.describe(twin) == serialize.describe(model)
    graph = model.graph
    shapes = [[graph.nodes[source].shape for source in sources] for sources in graph.sources]
    work = sum(prod(node.shape) for node in graph.nodes)
    for node, inputs in zip(graph.nodes, shapes, strict=True):
        work += node.layer.multiply_adds(*inputs) if node.layer else 0
    if work > _MOST_WORK or len(graph.nodes) > 1000:
        return
    xs = [np.full((2, *graph.nodes[i].shape), 0.5, np.float32) for i in graph.inputs]
    ys = model.predict(xs if len(xs) > 1 else xs[0])
    ys = list(ys.values()) if isinstance(ys, dict) else ys if isinstance(ys, tuple) else [ys]
    assert [y.shape for y in ys] == [(2, *graph.nodes[i].shape) for i in graph.outputs]


# Parsers


def idx(data: bytes) -> None:
    with refusing():
        array = parse_idx(io.BytesIO(data), len(data), Path(NAME), max_bytes=1 << 20)
    plain = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    assert idx_digest(array) == hashlib.sha256(plain).hexdigest()  # IDX has one spelling an array
    assert array.flags.carray


def idx_gzip(data: bytes) -> None:
    """The first byte says whether the others are the gzip file or what is in it, which chance alone never spells."""
    rest = gzip.compress(data[1:], 1) if data[:1] < b"\x80" else data[1:]
    with refusing():
        array = parse_idx(io.BytesIO(rest), len(rest), Path(NAME + ".gz"), max_bytes=1 << 20)
    assert idx_digest(array) == hashlib.sha256(gzip.decompress(rest)).hexdigest()


def tensors(data: bytes) -> None:
    with refusing():
        arrays, _ = serialize.parse_state(io.BytesIO(data), len(data), NAME, NUMBERS)
    expected = load_by_package(data)
    assert arrays.keys() == expected.keys()
    for name, array in arrays.items():
        assert (array.dtype, array.shape) == (expected[name].dtype, expected[name].shape)
        assert array.tobytes() == expected[name].tobytes()


def model(data: bytes) -> None:
    with refusing():
        state, metadata = serialize.parse_state(io.BytesIO(data), len(data), NAME, NUMBERS)
        loaded = serialize.rebuild(state, metadata, NAME)
    assert {name: array.tobytes() for name, array in loaded.state_dict().items()} == {
        name: array.tobytes() for name, array in state.items()
    }
    check_model(loaded, metadata["architecture"])


def architecture(data: bytes) -> None:
    text = data.decode(errors="replace")
    try:
        names = {node["name"] for node in json.loads(text)["nodes"] if "layer" in node}
    except (ValueError, TypeError, KeyError, RecursionError):
        names = set()
    state = {name: array for name, array in STATE.items() if name.rpartition(".")[0] in names}
    with refusing():
        loaded = serialize.rebuild(state, {"format": "cnnlib", "format_version": "1", "architecture": text}, NAME)
    check_model(loaded, text)


def state_dict(data: bytes) -> None:
    """A file's tensors, taken into a model that is there."""
    own = MODELS[1]
    before = own.state_dict()
    with refusing():
        state, _ = serialize.parse_state(io.BytesIO(data), len(data), NAME)
    try:
        own.load_state_dict(state)
    except DataError:
        assert all(np.array_equal(own.state_dict()[name], before[name]) for name in before)
        raise Refused from None
    for name, array in own.state_dict().items():
        np.testing.assert_array_equal(array, state[name].astype(np.float32))
    own.load_state_dict(before)


class _Resume(Callback):
    """Goes on from a state, as `Checkpoint` does from that of a file."""

    def __init__(self) -> None:
        self.state: dict[str, Any] | None = None
        self.taken: dict[str, Any] = {}

    def on_fit_begin(self, trainer: Trainer) -> None:
        if self.state is not None:
            trainer.load_state_dict(self.state, NAME)

    def on_batch_end(self, trainer: Trainer, batch: int, loss: float) -> None:
        if trainer.position.step == 3:
            self.taken = deepcopy(trainer.state_dict())


def trained(state: dict[str, Any] | None = None) -> dict[str, Any]:
    """Train a small net for two epochs of two batches, or the rest of them; return its state after the third."""
    net = Sequential(
        layers.Linear(2, 3, rng=0),
        layers.BatchNorm1d(3),
        layers.Dropout(0.5, rng=1),
        layers.Linear(3, 2, rng=2),
        input_shape=2,
    )
    resume = _Resume()
    resume.state = state
    trainer = Trainer(net, CrossEntropyLoss(), SGD(0.1, momentum=0.9), callbacks=[resume, EarlyStopping("loss")])
    data = np.arange(8, dtype=np.float32).reshape(4, 2) / 8, np.array([0, 1, 1, 0])
    trainer.fit(data, epochs=2, batch_size=2, seed=5, verbose=0)
    return resume.taken


def checkpoint_file(state: dict[str, Any]) -> bytes:
    arrays: dict[str, Array] = {}
    text = json.dumps(checkpoint._packed(state, "", arrays))
    return file_of(arrays, {"format": "cnnlib-checkpoint", "format_version": "1", "state": text})


def check_checkpoint(data: bytes) -> None:
    """What has the right checksum, which chance never gives, is taken up by a training."""
    with refusing():
        arrays, metadata = serialize.parse_state(io.BytesIO(data), len(data), NAME, NUMBERS)
        state = checkpoint.unpack(arrays, metadata | {"sha256": serialize.checksum(arrays, metadata)}, NAME)
    again: dict[str, Array] = {}
    assert str(checkpoint._unpacked(checkpoint._packed(state, "", again), again)) == str(state)
    with refusing(""), np.errstate(all="ignore"):
        trained(state)


def picture(data: bytes, suffix: str = ".png") -> None:
    with refusing():
        found = images.parse_images(io.BytesIO(data), len(data), Path(NAME + suffix))
    assert found
    for image in found[:3]:
        assert image.pixels.dtype == np.float32
        assert image.pixels.ndim == 2
        assert image.pixels.min() >= 0
        assert image.pixels.max() <= 1
        for box in (None, 20):
            with refusing(""):
                fitted = images.fit(image, (28, 28), box=box)
            assert fitted.pixels.shape == (28, 28)
            assert np.isfinite(fitted.pixels).all()


def npy(data: bytes) -> None:
    picture(data, ".npy")


def npz(data: bytes) -> None:
    picture(data, ".npz")


def _idx_seeds() -> list[bytes]:
    header = struct.pack(">BBBBIII", 0, 0, 8, 3, 2, 3, 4)
    return [header + bytes(range(24)), b"\0\0\x0d\x01\0\0\0\x02" + bytes(8), b"\0\0\x0c\x02\0\0\0\x01\0\0\0\x01abcd"]


def _picture_seeds() -> list[bytes]:
    grey = np.arange(30, dtype=np.uint8).reshape(5, 6) * 8
    made = []
    for form, mode, options in (
        ("PNG", "L", {}),
        ("PNG", "RGBA", {}),
        ("PNG", "P", {"transparency": 0}),
        ("PNG", "1", {}),
        ("PNG", "I;16", {}),
        ("JPEG", "L", {"progressive": True}),
        ("JPEG", "RGB", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"}),
        ("GIF", "L", {}),
        ("BMP", "L", {}),
        ("BMP", "RGB", {}),
        ("PPM", "L", {}),
        ("PPM", "RGB", {}),
    ):
        stream = io.BytesIO()
        Image.fromarray(grey).convert(mode).save(stream, form, **options)
        made.append(stream.getvalue())
    return [*made, b"P2\n2 2\n255\n0 10\n20 30\n", b"P1\n2 2\n0 1 1 0\n", b"P5\n2 2\n65535\n" + bytes(8)]


def _array_seeds() -> list[Array]:
    grey = np.arange(30).reshape(5, 6)
    return [grey.astype(np.uint8), (grey / 30).astype(np.float32)[None, None], np.asfortranarray(grey > 3), grey[None]]


def _npy_seeds() -> list[bytes]:
    made = []
    for array in _array_seeds():
        stream = io.BytesIO()
        np.save(stream, array)
        made.append(stream.getvalue())
    return made


def _npz_seeds() -> list[bytes]:
    made = []
    for save in (np.savez, np.savez_compressed):
        stream = io.BytesIO()
        save(stream, *_array_seeds()[:2])  # type: ignore[operator]
        made.append(stream.getvalue())
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a.npy", _npy_seeds()[0])
    return [*made, stream.getvalue()]


def _architectures() -> list[bytes]:
    return [serialize.describe(model)["architecture"].encode() for model in MODELS]


def _numbers() -> dict[str, Array]:
    """Return an array of each dtype, one of them a number, one of them empty."""
    arrays = {name: np.ones((2, 3), dtype.newbyteorder("=")) for name, dtype in NUMBERS.items()}
    return {**arrays, "one": np.array(2.5), "none": np.zeros((0, 2), np.float32)}


def _other(model: Model) -> dict[str, Array]:
    return {name: array.astype(np.float64) + 1 for name, array in model.state_dict().items()}


#: Name → (the parser with its checks, files that are right).
PARSERS: dict[str, tuple[Callable[[bytes], None], list[bytes]]] = {
    "idx": (idx, _idx_seeds()),
    "idx_gzip": (
        idx_gzip,
        [*(b"\0" + seed for seed in _idx_seeds()), *(b"\xff" + gzip.compress(seed) for seed in _idx_seeds())],
    ),
    "tensors": (tensors, [*FILES, to_bytes(_numbers(), {"k": "v"})]),
    "model": (model, FILES),
    "architecture": (architecture, _architectures()),
    "state_dict": (state_dict, [FILES[1], file_of(*saved(chain())), to_bytes(_other(chain()))]),
    "checkpoint": (check_checkpoint, [checkpoint_file(trained())]),
    "picture": (picture, _picture_seeds()),
    "npy": (npy, _npy_seeds()),
    "npz": (npz, _npz_seeds()),
}
