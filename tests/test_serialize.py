"""Files: what is saved comes back bit by bit; what is damaged, lies or is something else is refused by name."""

from __future__ import annotations

import json
import os
import stat
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnlib.errors import DataError, FileFormatError
from cnnlib.graph import Input
from cnnlib.layers import Add, AvgPool2d, Concat, Conv2d, Dropout, Flatten, Layer, Linear, MaxPool2d, ReLU, Softmax
from cnnlib.model import Model, Sequential
from cnnlib.models import lenet5
from cnnlib.serialize import load, load_state, save, save_state, write_atomically


def branched(dtype: type = np.float32) -> Model:
    a, b = Input((2, 6, 6), name="left"), Input((2, 6, 6))
    shared = Conv2d(2, 2, (3, 5), padding="same", init="he_normal", rng=0, dtype=dtype, name="twin")
    c = Concat(axis=1)(shared(a), MaxPool2d(3, 1, (1, 1))(shared(b)), ReLU()(a) + b)
    top = Linear(54, 3, bias=False, rng=1, dtype=dtype)(
        Flatten()(Dropout(0.25)(AvgPool2d(2, count_include_pad=False)(c)))
    )
    return Model([a, b], [Softmax()(top), Add()(top, top)])


@pytest.mark.parametrize("make", [branched, lambda dtype: lenet5(rng=0, dtype=dtype)], ids=["graph", "sequential"])
def test_a_model_comes_back_bit_by_bit(make: Any, dtype: type, tmp_path: Path, rng: np.random.Generator) -> None:
    model, path = make(dtype), tmp_path / "model.safetensors"
    model.save(path)
    twin = load(path)
    assert type(twin) is type(model)
    assert twin.graph.names == model.graph.names
    assert twin.graph.sources == model.graph.sources
    assert twin.summary() == model.summary()
    assert [layer.config() for layer in twin.layers.values()] == [layer.config() for layer in model.layers.values()]
    for name, array in model.state_dict().items():
        loaded = twin.state_dict()[name]
        assert (loaded.dtype, loaded.tobytes()) == (array.dtype, array.tobytes())
    xs = [rng.random((3, *model.graph.nodes[i].shape)) for i in model.graph.inputs]
    given = xs if len(xs) > 1 else xs[0]
    for y, expected in zip(np.atleast_1d(twin.forward(given)), np.atleast_1d(model.forward(given)), strict=True):
        np.testing.assert_array_equal(y, expected)
    # And it goes on learning: its arrays are its own and writable.
    twin.initialize(3)


def test_settings_of_numpys_integers_can_be_saved(tmp_path: Path) -> None:
    three, path = np.int64(3), tmp_path / "model"
    layers = Conv2d(np.int32(1), three, (three, 3), padding=np.int8(1), rng=0), MaxPool2d(three), Flatten()
    Sequential(*layers, Linear(three, three), input_shape=np.array([1, 3, 3])).save(path)
    assert [repr(layer) for layer in load(path).layers.values()] == [
        "Conv2d(1, 3, (3, 3), padding=1)",
        "MaxPool2d(3)",
        "Flatten()",
        "Linear(3, 3)",
    ]


def test_other_programs_can_read_the_weights(tmp_path: Path) -> None:
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    model, path = lenet5(rng=0), tmp_path / "model.safetensors"
    model.save(path)
    arrays = load_file(path)
    assert arrays.keys() == model.state_dict().keys()
    np.testing.assert_array_equal(arrays["0.weight"], model.state_dict()["0.weight"])
    with safe_open(path, "numpy") as file:
        assert file.metadata()["format"] == "cnnlib"
    save_file(arrays, tmp_path / "plain.safetensors")
    state, metadata = load_state(tmp_path / "plain.safetensors")
    assert metadata == {}
    lenet5(rng=1).load_state_dict(state)
    with pytest.raises(FileFormatError, match=r"plain\.safetensors: .*without cnnlib's architecture.*load_weights"):
        load(tmp_path / "plain.safetensors")


def test_states_come_back(tmp_path: Path) -> None:
    state = {"scalar": np.array(2.5), "none": np.zeros((0, 3), np.float32), "f": np.asfortranarray(np.eye(3))}
    save_state(state, tmp_path / "s", {"epoch": "3"})
    loaded, metadata = load_state(tmp_path / "s")
    assert metadata == {"epoch": "3"}
    for name, array in state.items():
        np.testing.assert_array_equal(loaded[name], array)
        assert loaded[name].shape == array.shape


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_writes_are_atomic(step: str, error: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model"
    write_atomically(path, b"old")

    def fails(*arguments: object) -> None:
        raise error("disk full")

    monkeypatch.setattr(os, step, fails)
    with pytest.raises(error, match="disk full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["model"]
    monkeypatch.undo()
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    if os.name == "posix":
        plain = tmp_path / "plain"
        plain.touch()
        assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    model, path = Sequential(Linear(2, 1, rng=0), input_shape=2), tmp_path / "cut"
    save(model, tmp_path / "whole")
    data = (tmp_path / "whole").read_bytes()
    for size in range(len(data)):
        path.write_bytes(data[:size])
        with pytest.raises(FileFormatError, match="cut: "):
            load(path)
    path.write_bytes(data + b"\0")
    with pytest.raises(FileFormatError, match="cut: "):
        load(path)


def container(header: Any, tensors: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + tensors


def tensor(shape: list[Any], first: Any, last: Any, dtype: str = "F32") -> dict[str, Any]:
    return {"w": {"dtype": dtype, "shape": shape, "data_offsets": [first, last]}}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        struct.pack("<Q", 2**63) + b"{}",
        container(b"[1, 2, 3]"),
        container(b"\xff\xfe\xfd"),
        container(b"[" * 100_000),
        container(b'{"__metadata__":' * 100_000),
        container({"__metadata__": {"format": 1}}),
        container({"w": 3}),
        container({"w": {}}),
        container(tensor([2], 0, 8)),
        container(tensor([3], 0, 8), bytes(8)),
        container(tensor([2], 4, 12), bytes(12)),
        container(tensor([2**62, 2**62], 0, 8), bytes(8)),
        container(tensor([-1, -2], 0, 8), bytes(8)),
        container(tensor([2.0], 0, 8), bytes(8)),
        container(tensor([2], "0", 8), bytes(8)),
        container({**tensor([2], 0, 8), "v": tensor([2], 0, 8)["w"]}, bytes(8)),
    ],
)
def test_files_that_are_no_safetensors_are_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(data)
    with pytest.raises(FileFormatError, match=r"bad\.safetensors: damaged or not a safetensors file"):
        load(path)


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(container(tensor([1], 0, 8, "I64"), bytes(8)))
    with pytest.raises(FileFormatError, match=r"bad\.safetensors: .*'w' has dtype I64, expected F32 or F64"):
        load_state(path)
    path.write_bytes(container({}))
    with pytest.raises(FileFormatError, match=r"bad\.safetensors: .*without cnnlib's architecture"):
        load(path)
    with pytest.raises(FileFormatError, match="a folder, expected a file"):
        load(tmp_path)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nowhere")


def edited(path: Path, change: Any) -> None:
    """Save a small model to `path` with its architecture changed."""
    model = Sequential(Linear(2, 3, rng=0), ReLU(), input_shape=2)
    model.save(path)
    state, metadata = load_state(path)
    architecture = json.loads(metadata["architecture"])
    change(architecture, metadata, state)
    save_state(state, path, {**metadata, "architecture": json.dumps(architecture)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a, m, s: m.update(format_version="2"), "format version 2, this cnnlib"),
        (lambda a, m, s: a.pop("nodes"), "key 'nodes' is missing"),
        (lambda a, m, s: a.update(nodes=7), "cannot be used"),
        (lambda a, m, s: a.update(nodes=[]), "cannot be used"),
        (lambda a, m, s: a["nodes"][1].update(layer="os.system"), "unknown layer 'os.system'"),
        (lambda a, m, s: a["nodes"][1].update(layer=["Linear"]), "cannot be used"),
        (lambda a, m, s: a["nodes"][1]["config"].update(evil=1), "evil"),
        (
            lambda a, m, s: a["nodes"][1]["config"].update(in_features=3),
            r"0\.weight should be float32 \(3, 3\), .*\(3, 2\)",
        ),
        (
            lambda a, m, s: a["nodes"][1]["config"].update(in_features=10**5, out_features=10**6),
            "more numbers than the file",
        ),
        (lambda a, m, s: a["nodes"][1]["config"].update(in_features=10**12, out_features=10**12), "cannot be used"),
        (lambda a, m, s: a["nodes"][1]["config"].update(dtype="float64"), r"should be float64"),
        (lambda a, m, s: a["nodes"][1]["config"].update(dtype="object"), "expected float32 or float64"),
        (lambda a, m, s: a["nodes"][1].update(inputs=[1]), "node 1 is referred to before"),
        (lambda a, m, s: a["nodes"][1].update(inputs=[-1]), "node -1 is referred to"),
        (lambda a, m, s: a["nodes"][1].update(inputs=[]), "reads nothing"),
        (lambda a, m, s: a["nodes"][1].update(same_layer_as=0), "shares the layer of an input"),
        (lambda a, m, s: a["nodes"][0].update(shape=[3]), r"Linear\(2, 3\)"),
        (lambda a, m, s: a["nodes"][0].update(shape=[-2]), "positive ints"),
        (lambda a, m, s: a["nodes"][0].update(name=None), "a node has no name"),
        (lambda a, m, s: a.update(outputs=[9]), "node 9 is referred to"),
        (lambda a, m, s: a["nodes"][2].update(name="0"), "two nodes are named '0'"),
        (lambda a, m, s: a["nodes"][2].update(inputs=[0]), "not a chain"),
        (lambda a, m, s: a["nodes"][2].update(name="7"), "not a chain"),
        (lambda a, m, s: a.update(outputs=[1]), "not a chain"),
        (lambda a, m, s: a.update(outputs=[1, 2]), "not a chain"),
        (lambda a, m, s: s.pop("0.bias"), r"0\.bias should be .* the file holds nothing"),
        (lambda a, m, s: s.update(extra=np.zeros(2)), "not in the model: extra"),
        (
            lambda a, m, s: s.update({"0.bias": np.zeros(3)}),
            r"0\.bias should be float32 \(3,\), the file holds float64",
        ),
    ],
)
def test_architectures_that_cannot_be_are_refused(change: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.safetensors"
    edited(path, change)
    with pytest.raises(FileFormatError, match=rf"(?s)bad\.safetensors: .*{message}"):
        load(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a["nodes"][1]["config"].update(in_features=30_000, out_features=30_000),
        lambda a: a.update(nodes=a["nodes"][:1] + a["nodes"][1:2] * 10_000),
        lambda a: a["nodes"][0].update(shape=[2**31 - 1] * 3),
    ],
    ids=["a-layer-of-4-GB", "one-layer-often", "input"],
)
def test_what_a_file_announces_takes_no_memory(change: Any, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    path = tmp_path / "bad.safetensors"
    Sequential(Linear(300, 300, rng=0), input_shape=300).save(path)
    state, metadata = load_state(path)
    architecture = json.loads(metadata["architecture"])
    change(architecture)
    save_state(state, path, {**metadata, "architecture": json.dumps(architecture)})

    def peak() -> int:
        kilobytes: int = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return kilobytes >> (10 if sys.platform == "darwin" else 0)

    before = peak()
    with pytest.raises(FileFormatError):
        load(path)
    assert peak() - before < 200_000


def test_a_layer_that_is_not_registered_cannot_be_saved(tmp_path: Path) -> None:
    class Mine(Layer):
        def output_shape(self, x: tuple[int, ...]) -> tuple[int, ...]:
            return x

    with pytest.raises(DataError, match="Mine is not registered: decorate it with @register"):
        Sequential(Mine(), input_shape=3).save(tmp_path / "mine")
