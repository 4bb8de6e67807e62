"""Models out of ONNX files: they are what was put in, train on, fold and fuse, and say what is wrong with a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cnnlib
from cnnlib import layers, models
from cnnlib.errors import (
    CNNError,
    ConfigError,
    DataNotFoundError,
    FileFormatError,
    MissingExtraError,
    UnsupportedError,
)
from cnnlib.graph import Input
from cnnlib.losses import CrossEntropyLoss, MSELoss
from cnnlib.lowering import lower
from cnnlib.model import Model, Sequential
from cnnlib.optim import SGD
from cnnlib.trainer import Trainer
from tests.rows import ROWS

onnx = pytest.importorskip("onnx")

from cnnlib.onnx import load, supported_operators  # noqa: E402

Array = Any


def through(model: Model, path: Path) -> Model:
    model.export_onnx(path)
    return load(path)


def files(
    path: Path, nodes: list[Any], *, opset: int = 17, inputs: Any = None, outputs: Any = None, **stored: Any
) -> Path:
    """Write an ONNX file of nodes, from input x to output y."""
    helper = onnx.helper
    inputs = inputs or [helper.make_tensor_value_info("x", 1, ["N", 3, 8, 8])]
    outputs = outputs or [helper.make_tensor_value_info("y", 1, [])]
    arrays = [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in stored.items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, arrays)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    path.write_bytes(proto.SerializeToString())
    return path


def node(kind: str, inputs: str, outputs: str = "y", **attributes: Any) -> Any:
    return onnx.helper.make_node(kind, inputs.split(), outputs.split(), name=f"{kind}_0", **attributes)


@pytest.mark.parametrize("name", models.MODELS)
def test_every_model_comes_back(name: str, tmp_path: Path) -> None:
    model = models.MODELS[name](rng=0)
    again = through(model, tmp_path / "m.onnx")
    x = np.random.default_rng(1).random((4, 1, 28, 28)).astype(np.float32)
    assert np.allclose(again.predict(x), model.predict(x), rtol=1e-5, atol=1e-6)
    assert set(again.state_dict()) == set(model.state_dict())


@pytest.mark.parametrize("name", ROWS)
def test_every_layer_comes_back(name: str, tmp_path: Path) -> None:
    row = ROWS[name]
    inputs = [Input(shape, f"in{i}") for i, shape in enumerate(row.shapes)]
    model = Model(inputs, row.make()(*inputs))
    rng = np.random.default_rng(0)
    for parameter in model.parameters().values():
        parameter.data[...] = rng.normal(size=parameter.data.shape)
    xs = [rng.normal(size=(3, *shape)).astype(np.float32) for shape in row.shapes]
    given = xs if len(xs) > 1 else xs[0]
    model.export_onnx(tmp_path / "m.onnx")
    operators = {one.op_type for one in onnx.load(str(tmp_path / "m.onnx")).graph.node}
    if strange := operators - set(supported_operators()):
        # Written with operators that are no layers of nets.
        with pytest.raises(UnsupportedError, match=min(strange)):
            load(tmp_path / "m.onnx")
        return
    again = load(tmp_path / "m.onnx")
    assert np.allclose(again.predict(given), model.predict(given), rtol=1e-4, atol=1e-5, equal_nan=True)


def test_a_loaded_net_trains_as_the_original(tmp_path: Path) -> None:
    model = models.lenet5(rng=0)
    again = through(model, tmp_path / "m.onnx")
    rng = np.random.default_rng(2)
    data = rng.random((96, 1, 28, 28)).astype(np.float32), rng.integers(10, size=96)
    losses = []
    for one in (model, again):
        history = Trainer(one, CrossEntropyLoss(), SGD(0.05, momentum=0.9)).fit(
            data, epochs=2, batch_size=32, seed=3, verbose=0
        )
        losses.append(history["loss"])
    assert losses[0] == losses[1]
    again.save(tmp_path / "m.cnn")
    x = data[0][:5]
    assert np.array_equal(cnnlib.load(tmp_path / "m.cnn").predict(x), again.predict(x))


def test_batch_norm_is_folded(tmp_path: Path) -> None:
    model = Sequential(
        layers.Conv2d(3, 16, 3, rng=0),
        layers.BatchNorm2d(16),
        layers.ReLU(),
        layers.MaxPool2d(2),
        input_shape=(3, 8, 8),
    )
    again = through(model, tmp_path / "m.onnx")
    # One step is left of four: the ReLU and the pool are the convolution's, too.
    (conv,) = lower(again.graph, 64, np.dtype(np.float32), False).tasks
    assert [type(layer).__name__ for layer in conv.layers] == ["Conv2d", "BatchNorm2d"]


def test_scales_after_batch_norm_become_its_own(tmp_path: Path) -> None:
    """What converters from Caffe write; where somebody else reads what lies between, it stays."""
    rng = np.random.default_rng(0)
    gamma, beta = (rng.random((3, 1, 1)).astype(np.float32) for _ in range(2))
    stored = {name: rng.random(3).astype(np.float32) + 0.5 for name in ("w", "b", "m", "v")}
    nodes = [node("BatchNormalization", "x w b m v", "n"), node("Mul", "n gamma", "s"), node("Add", "s beta", "y")]
    x = rng.random((2, 3, 8, 8)).astype(np.float32)
    w, b, m, v = (array.reshape(3, 1, 1) for array in stored.values())
    normed = (x - m) / np.sqrt(v + 1e-5) * w + b
    model = load(files(tmp_path / "m.onnx", nodes, gamma=gamma, beta=beta, **stored))
    assert [type(layer).__name__ for layer in model.layers.values()] == ["BatchNorm2d"]
    np.testing.assert_allclose(model.predict(x), normed * gamma + beta, rtol=1e-5)
    more = [*nodes[:2], node("Add", "s n", "y")]
    model = load(files(tmp_path / "m.onnx", more, gamma=gamma, **stored))
    np.testing.assert_allclose(model.predict(x), normed * gamma + normed, rtol=1e-5)


def test_shapes_that_exporters_compute(tmp_path: Path) -> None:
    """What PyTorch writes for x.view(x.size(0), -1) and x.view(n, groups, c // groups, h, w)."""
    path = files(
        tmp_path / "m.onnx",
        [
            node("Shape", "x", "s"),
            node("Gather", "s zero", "n", axis=0),
            node("Unsqueeze", "n axes", "n1"),
            node("Concat", "n1 rest", "groups", axis=0),
            node("Reshape", "x groups", "g"),
            node("Transpose", "g", "t", perm=[0, 2, 1, 3, 4]),
            node("Concat", "n1 all", "flat", axis=0),
            node("Reshape", "t flat", "y"),
        ],
        inputs=[onnx.helper.make_tensor_value_info("x", 1, ["batch", 4, 2, 3])],
        zero=np.array(0),
        axes=np.array([0]),
        rest=np.array([2, 2, 2, 3]),
        all=np.array([-1]),
    )
    x = np.arange(48, dtype=np.float32).reshape(2, 4, 2, 3)
    expected = x.reshape(2, 2, 2, 2, 3).transpose(0, 2, 1, 3, 4).reshape(2, -1)
    assert np.array_equal(load(path).predict(x), expected)


def test_broadcasts_and_constants(tmp_path: Path) -> None:
    """A gate on channels, a scale for each, a constant that is subtracted from and divided."""
    rng = np.random.default_rng(0)
    scale, offset = rng.random((3, 1, 1)).astype(np.float32), rng.random((1, 3, 8, 8)).astype(np.float32)
    path = files(
        tmp_path / "m.onnx",
        [
            node("GlobalAveragePool", "x", "p"),
            node("Sigmoid", "p", "gate"),
            node("Mul", "x gate", "a"),
            node("Mul", "scale a", "b"),
            node("Sub", "offset b", "c"),
            node("Div", "two c", "y"),
        ],
        scale=scale,
        offset=offset,
        two=np.array(2, np.float32),
    )
    model = load(path)
    x = rng.random((2, 3, 8, 8)).astype(np.float32) - 3
    gate = 1 / (1 + np.exp(-x.mean((2, 3), keepdims=True)))
    assert np.allclose(model.predict(x), 2 / (offset - scale * x * gate), rtol=1e-4)
    loss = Trainer(model, MSELoss(), SGD(1e-3))
    first = loss.train_step(x, np.zeros_like(x))
    assert loss.train_step(x, np.zeros_like(x)) < first


def test_several_outputs_and_open_sizes(tmp_path: Path) -> None:
    value = onnx.helper.make_tensor_value_info
    path = files(
        tmp_path / "m.onnx",
        [node("Relu", "x", "a"), node("MaxPool", "a", "b", kernel_shape=[2, 2])],
        inputs=[value("x", 1, ["N", 3, "height", "width"])],
        outputs=[value("a", 1, []), value("b", 1, [])],
    )
    with pytest.raises(UnsupportedError, match=r"'x' is N × 3 × height × width: only the batch.*shapes=\{'x'"):
        load(path)
    with pytest.raises(ConfigError, match="for the inputs x"):
        load(path, shapes={"z": (1, 3)})
    outputs = load(path, shapes={"x": (1, 3, 4, 6)}).predict(np.ones((2, 3, 4, 6), np.float32))
    assert {name: array.shape for name, array in outputs.items()} == {"a": (2, 3, 4, 6), "b": (2, 3, 3, 5)}


def test_all_missing_operators_are_listed_at_once(tmp_path: Path) -> None:
    path = files(tmp_path / "m.onnx", [node("Erf", "x", "a"), node("Sin", "a", "b"), node("Sin", "b", "y")])
    with pytest.raises(UnsupportedError, match=r"m.onnx: .*Erf \(1×, first 'Erf_0' \(Erf\)\), Sin \(2×"):
        load(path)
    with pytest.raises(UnsupportedError, match=r"version 5.*version_converter"):
        load(files(path, [node("Relu", "x")], opset=5))


def test_what_exporters_write_besides(tmp_path: Path) -> None:
    nodes = [node("Neg", "x", "n"), node("Abs", "n", "a"), node("Sqrt", "a", "s"), node("Pow", "s three", "p")]
    nodes += [node("Reciprocal", "p", "r"), node("GlobalMaxPool", "r", "g"), node("Expand", "g shape", "y")]
    path = files(tmp_path / "m.onnx", nodes, three=np.array(3, np.float32), shape=np.array([1, 3, 2, 5]))
    x = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    expected = np.broadcast_to((np.abs(x) ** -1.5).max((2, 3), keepdims=True), (2, 3, 2, 5))
    np.testing.assert_allclose(load(path).predict(x), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("nodes", "stored", "message"),
    [
        ([node("Transpose", "x", perm=[1, 0, 2, 3])], {}, "axis 0"),
        ([node("Concat", "x x", axis=0)], {}, "axis 0"),
        ([node("Softmax", "x", axis=0)], {}, "axis 0"),
        ([node("Conv", "x x")], {}, "'x'.* must be a constant"),
        ([node("Conv", "x w")], {"w": np.ones((2, 5, 3, 3), np.float32)}, "weight of shape"),
        ([node("Conv", "x w")], {"w": np.ones((2, 3, 2, 2, 2), np.float32)}, "3 dimensions"),
        ([node("Conv", "x w", strides=[0, 1])], {"w": np.ones((2, 3, 2, 2), np.float32)}, "stride"),
        ([node("Conv", "x w", strides=[1])], {"w": np.ones((2, 3, 2, 2), np.float32)}, "do not all have 2 axes"),
        ([node("Conv", "x w")], {"w": np.ones((2, 3, 9, 9), np.float32)}, "9"),
        ([node("MaxPool", "x", kernel_shape=[2, 2], pads=[5, 0, 0, 0])], {}, "padding"),
        ([node("Reshape", "x s")], {"s": np.array([0, 7])}, "cannot have the shape"),
        ([node("Reshape", "x s")], {"s": np.array([0, 7, -1, 0, 0, 0])}, "shape"),
        ([node("Add", "x c")], {"c": np.ones((5, 8), np.float32)}, "do not broadcast"),
        ([node("Add", "x c")], {"c": np.ones((2, 1, 1, 1), np.float32)}, "N × 3 × 8 × 8 and 2 × 1 × 1 × 1 do not"),
        ([node("Gemm", "x w")], {"w": np.ones((3, 4), np.float32)}, "Gemm"),
        ([node("Cast", "x", to=7)], {}, "Cast of computed numbers to INT64"),
        ([node("Resize", "x r s", mode="cubic")], {"r": np.zeros(0), "s": np.ones(4, np.float32) * 2}, "cubic"),
        ([node("ConstantOfShape", "s", "c"), node("Add", "x c")], {"s": np.array([2**31, 2**31])}, "numbers"),
        ([node("ConstantOfShape", "s", "c"), node("Add", "x c")], {"s": np.array([-1])}, "numbers"),
        ([node("Identity", "s", "y")], {"s": np.ones(3, np.float32)}, "does not depend on an input"),
        ([node("Slice", "x a b", "c"), node("Relu", "c")], {"a": np.array([9, 9]), "b": np.array([1, 1])}, "Relu"),
        ([node("Split", "x", "y z", axis=9)], {}, "Split_0.*settings"),
        ([node("BatchNormalization", "x w w w w")], {"w": np.ones(4, np.float32)}, "4 channels"),
    ],
)
def test_what_cannot_be_read_is_named(nodes: list[Any], stored: dict[str, Array], message: str, tmp_path: Path) -> None:
    path = files(tmp_path / "m.onnx", nodes, **stored)
    with pytest.raises(CNNError, match=message) as error:
        load(path)
    assert "m.onnx" in str(error.value)
    assert isinstance(error.value, (FileFormatError, UnsupportedError))


def test_files_that_are_no_models(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError):
        load(tmp_path / "none.onnx")
    for data in (b"", b"\x08", b"not a model at all", bytes(range(256)) * 9):
        (tmp_path / "m.onnx").write_bytes(data)
        with pytest.raises((FileFormatError, UnsupportedError), match=r"m\.onnx"):
            load(tmp_path / "m.onnx")


def test_damaged_files_end_in_one_of_our_errors(tmp_path: Path) -> None:
    models.lenet5(rng=0).export_onnx(tmp_path / "m.onnx")
    data = bytearray((tmp_path / "m.onnx").read_bytes())
    rng = np.random.default_rng(0)
    structure = [*range(len(data) - 1500, len(data)), *range(300)]
    refused = 0
    for _ in range(150):
        damaged = bytearray(data)
        for place in rng.choice(structure, size=3):
            damaged[place] = int(rng.integers(256))
        length = int(rng.integers(1, len(data))) if rng.random() < 0.2 else len(data)
        (tmp_path / "d.onnx").write_bytes(bytes(damaged[:length]))
        try:
            load(tmp_path / "d.onnx")
        except CNNError:
            refused += 1
    assert refused > 50


def test_the_message_without_onnx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import builtins

    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.split(".")[0] == "onnx":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"pip install 'cnnlib\[onnx\]'"):
        load(tmp_path / "m.onnx")
