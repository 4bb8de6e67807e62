"""Models as ONNX files: what ONNX Runtime makes of them is what cnnlib computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cnnlib
from cnnlib import layers, models
from cnnlib.cli import main
from cnnlib.errors import ConfigError, DataError, GraphError, MissingExtraError
from cnnlib.graph import Input
from cnnlib.layers import Layer, register, registered
from cnnlib.model import Model, Sequential
from cnnlib.selftest import nets
from cnnlib.shapes import PAD_MODES

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

PICTURE, SERIES, VECTOR = (6, 9, 11), (6, 11), (7,)


def run(model: Model, path: Path, *xs: Any) -> list[Any]:
    """Export, load in ONNX Runtime, run."""
    model.export_onnx(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]
    return session.run(None, dict(zip(names, xs, strict=True)))


def trained(model: Model, rng: np.random.Generator) -> Model:
    """Give every parameter and buffer numbers of its own."""
    state = model.state_dict()
    for name, array in state.items():
        state[name] = rng.normal(size=array.shape) * 0.3 + (1.5 if name.endswith(("var", "std")) else 0)
        if name.endswith(("var", "std")):
            state[name] = np.abs(state[name]) + 0.1
    model.load_state_dict(state)
    return model


def same(model: Model, path: Path, *shapes: tuple[int, ...], dtype: type = np.float32) -> None:
    """Compare at two batch sizes: the exported graph leaves N open."""
    rng = np.random.default_rng(3)
    for n in (1, 5):
        xs = [rng.normal(size=(n, *shape)).astype(dtype) for shape in shapes]
        expected = model.predict(xs[0] if len(xs) == 1 else xs)
        if isinstance(expected, dict):
            expected = tuple(expected.values())
        for ours, theirs in zip(
            expected if isinstance(expected, tuple) else (expected,), run(model, path, *xs), strict=True
        ):
            assert theirs.dtype == dtype
            assert theirs.shape == ours.shape
            assert np.abs(theirs - ours).max() <= 1e-5 * np.abs(ours).max()


LAYERS: dict[str, list[tuple[Layer, list[tuple[int, ...]]]]] = {
    "ArgMax": [(layers.ArgMax(), [VECTOR]), (layers.ArgMax(2, True, True), [PICTURE])],
    "Bias": [(layers.Bias(7), [VECTOR]), (layers.Bias((6, 1, 1)), [PICTURE])],
    "Cast": [(layers.Cast("float16"), [VECTOR]), (layers.Cast("float64"), [PICTURE])],
    "Expand": [(layers.Expand((3, 7)), [VECTOR]), (layers.Expand((2, 6, 9, 11)), [PICTURE])],
    "MatMul": [(layers.MatMul(), [PICTURE, (6, 11, 4)])],
    "Max": [(layers.Max((2, 3)), [PICTURE]), (layers.Max(1, True), [PICTURE])],
    "Mean": [(layers.Mean((2, 3)), [PICTURE]), (layers.Mean(1, True), [PICTURE])],
    "Permute": [(layers.Permute((2, 3, 1)), [PICTURE])],
    "Power": [(layers.Power(2), [PICTURE])],
    "Reshape": [(layers.Reshape((11, -1, 3)), [PICTURE])],
    "Scale": [(layers.Scale(7), [VECTOR]), (layers.Scale((6, 1, 1)), [PICTURE])],
    "Slice": [(layers.Slice([(1, 4), None, (None, None, -2)]), [PICTURE]), (layers.Slice([(-3, -1)]), [VECTOR])],
    "Take": [(layers.Take([3, 0, -1]), [PICTURE]), (layers.Take([[1, 2], [0, 0]], 3), [PICTURE])],
    "AdaptiveAvgPool2d": [(layers.AdaptiveAvgPool2d(k), [PICTURE]) for k in (3, (4, 5), 1)],
    "AdaptiveMaxPool2d": [(layers.AdaptiveMaxPool2d(k), [PICTURE]) for k in (3, (4, 5), 1)],
    "Add": [(layers.Add(), [VECTOR] * 3), (layers.Add(), [PICTURE] * 2)],
    "Affine": [(layers.Affine(2.5, -1.25), [PICTURE])],
    "AvgPool1d": [
        (layers.AvgPool1d(3, 2, 1), [SERIES]),
        (layers.AvgPool1d(4, 3, (0, 2), True, False), [SERIES]),
        (layers.AvgPool1d(3, 2, 1, True, dilation=2), [SERIES]),
    ],
    "AvgPool2d": [
        (layers.AvgPool2d(3, 2, (0, 1, 2, 0), ceil_mode=True), [PICTURE]),
        (layers.AvgPool2d(2, 3, ceil_mode=True), [PICTURE]),
        (layers.AvgPool2d(2, 3, 1, False, ceil_mode=True, dilation=(2, 3)), [PICTURE]),
        (layers.AvgPool2d(2), [PICTURE]),
        (layers.AvgPool2d((3, 2), (2, 1), (1, 0)), [PICTURE]),
        (layers.AvgPool2d(3, 2, 1, count_include_pad=False), [PICTURE]),
    ],
    "BatchNorm1d": [(layers.BatchNorm1d(7), [VECTOR]), (layers.BatchNorm1d(7, affine=False), [VECTOR])],
    "BatchNorm2d": [(layers.BatchNorm2d(6, eps=0.1), [PICTURE]), (layers.BatchNorm2d(6, affine=False), [PICTURE])],
    "Concat": [(layers.Concat(), [PICTURE, (2, 9, 11)]), (layers.Concat(axis=2), [PICTURE, (6, 3, 11)])],
    "Conv2d": [
        (layers.Conv2d(6, 4, 3, rng=0), [PICTURE]),
        (layers.Conv2d(6, 9, (3, 5), (2, 1), (1, 2), groups=3, rng=0), [PICTURE]),
        (layers.Conv2d(6, 6, 3, padding="same", dilation=(1, 2), groups=6, bias=False, rng=0), [PICTURE]),
    ],
    "Conv1d": [
        (layers.Conv1d(6, 4, 3, rng=0), [SERIES]),
        (layers.Conv1d(6, 9, 4, 2, 1, 2, groups=3, bias=False, rng=0), [SERIES]),
    ],
    "ConvTranspose1d": [(layers.ConvTranspose1d(6, 9, 4, 2, 1, 1, groups=3, rng=0), [SERIES])],
    "ConvTranspose2d": [
        (layers.ConvTranspose2d(6, 4, 3, rng=0), [PICTURE]),
        (layers.ConvTranspose2d(6, 9, (3, 2), (2, 3), (1, 0), (1, 2), 3, False, (1, 2), rng=0), [PICTURE]),
    ],
    "Divide": [(layers.Divide(), [VECTOR, VECTOR])],
    "Dropout": [(layers.Dropout(0.5), [VECTOR])],
    "Dropout2d": [(layers.Dropout2d(0.5), [PICTURE])],
    "ELU": [(layers.ELU(0.7), [PICTURE])],
    "Flatten": [(layers.Flatten(), [PICTURE]), (layers.Flatten(), [VECTOR])],
    "GELU": [(layers.GELU(), [PICTURE]), (layers.GELU("tanh"), [PICTURE])],
    "GlobalAvgPool2d": [(layers.GlobalAvgPool2d(), [PICTURE])],
    "GroupNorm": [
        (layers.GroupNorm(3, 6), [PICTURE]),
        (layers.GroupNorm(2, 6, eps=0.1, affine=False), [PICTURE]),
        (layers.GroupNorm(1, 7), [VECTOR]),
    ],
    "Hardsigmoid": [(layers.Hardsigmoid(), [PICTURE]), (layers.Hardsigmoid(0.3, 0.6), [PICTURE])],
    "Hardswish": [(layers.Hardswish(), [PICTURE])],
    "Hardtanh": [(layers.Hardtanh(*bounds), [PICTURE]) for bounds in ((-0.5, 0.8), (None, 0.3), (0.1, None))],
    "Mish": [(layers.Mish(), [PICTURE])],
    "GlobalMaxPool2d": [(layers.GlobalMaxPool2d(), [PICTURE])],
    "LPPool1d": [(layers.LPPool1d(2, 3, 2, padding=(0, 1)), [SERIES])],
    "LPPool2d": [
        (layers.LPPool2d(3, 2, padding=1), [PICTURE]),
        (layers.LPPool2d(2, (3, 4), 2, True, padding=(0, 1, 2, 3)), [PICTURE]),
        (layers.LPPool2d(1.5, 2, 1, dilation=2), [PICTURE]),
    ],
    "InstanceNorm1d": [(layers.InstanceNorm1d(6), [(6, 9)]), (layers.InstanceNorm1d(6, affine=True), [(6, 9)])],
    "InstanceNorm2d": [(layers.InstanceNorm2d(6), [PICTURE]), (layers.InstanceNorm2d(6, affine=True), [PICTURE])],
    "LayerNorm": [
        (layers.LayerNorm(11), [PICTURE]),
        (layers.LayerNorm(PICTURE, eps=0.1, bias=False), [PICTURE]),
        (layers.LayerNorm(7, elementwise_affine=False), [VECTOR]),
    ],
    "LeakyReLU": [(layers.LeakyReLU(0.2), [VECTOR])],
    "Linear": [(layers.Linear(7, 3, rng=0), [VECTOR]), (layers.Linear(7, 3, bias=False, rng=0), [VECTOR])],
    "LocalResponseNorm": [
        (layers.LocalResponseNorm(3, alpha=0.5), [PICTURE]),
        (layers.LocalResponseNorm(4, alpha=0.5, beta=0.6, k=2.0), [PICTURE]),
        (layers.LocalResponseNorm(5, alpha=0.5), [VECTOR]),
    ],
    "LogSoftmax": [(layers.LogSoftmax(), [VECTOR]), (layers.LogSoftmax(-2), [PICTURE])],
    "MaxPool1d": [(layers.MaxPool1d(3, 2, (1, 0), 2, ceil_mode=True), [SERIES])],
    "MaxPool2d": [
        (layers.MaxPool2d(3, 2, (0, 1, 2, 0), (1, 2), ceil_mode=True), [PICTURE]),
        (layers.MaxPool2d(2, 3, ceil_mode=True), [PICTURE]),
        (layers.MaxPool2d(2), [PICTURE]),
        (layers.MaxPool2d((3, 2), (1, 2), (1, 1)), [PICTURE]),
    ],
    "Multiply": [(layers.Multiply(), [VECTOR] * 3)],
    "PReLU": [(layers.PReLU(), [PICTURE]), (layers.PReLU(6), [PICTURE]), (layers.PReLU(7), [VECTOR])],
    "Pad": [
        (layers.Pad(((2, -1), (1, 0), (0, 3)), "constant", 1.5), [PICTURE]),
        (layers.Pad(((3, 2),), "reflect"), [VECTOR]),
        *((layers.Pad(((12, -1),), mode), [PICTURE]) for mode in PAD_MODES),
    ],
    "CircularPad2d": [(layers.CircularPad2d((1, 2, 3, 0)), [PICTURE])],
    "ConstantPad2d": [(layers.ConstantPad2d((1, 2, -3, 0), 7), [PICTURE])],
    "ReflectionPad2d": [(layers.ReflectionPad2d((1, 2, 3, 0)), [PICTURE])],
    "ReplicationPad2d": [(layers.ReplicationPad2d((1, 2, 3, 0)), [PICTURE])],
    "ZeroPad2d": [(layers.ZeroPad2d(2), [PICTURE])],
    "Resize": [
        (layers.Resize(scale_factor=2), [PICTURE]),
        (layers.Resize(None, (1.5, 2), "linear", "pytorch_half_pixel"), [(6, 8, 11)]),
        (layers.Resize((5, 17), None, "linear", antialias=True), [PICTURE]),
        (layers.Resize((5, 7, 30), None, "linear", "half_pixel_symmetric"), [PICTURE]),
        (layers.Resize(7, None, "linear", "tf_crop_and_resize", roi=((-0.3, 0.5),), extrapolation_value=4), [SERIES]),
    ],
    "Upsample": [
        (layers.Upsample(scale_factor=3), [PICTURE]),
        (layers.Upsample(scale_factor=0.6), [PICTURE]),
        (layers.Upsample(7, mode="nearest-exact"), [SERIES]),
        (layers.Upsample(scale_factor=1.7, mode="bilinear", align_corners=True), [PICTURE]),
        (layers.Upsample(scale_factor=2, mode="linear"), [SERIES]),
    ],
    "DepthToSpace": [(layers.DepthToSpace(2, mode), [(8, 3, 5)]) for mode in ("DCR", "CRD")],
    "PixelShuffle": [(layers.PixelShuffle(3), [(18, 3, 5)])],
    "PixelUnshuffle": [(layers.PixelUnshuffle(3), [(*PICTURE[:2], 12)])],
    "SpaceToDepth": [(layers.SpaceToDepth(3, mode), [(*PICTURE[:2], 12)]) for mode in ("DCR", "CRD")],
    "ReLU": [(layers.ReLU(), [PICTURE])],
    "ReLU6": [(layers.ReLU6(), [PICTURE])],
    "Reciprocal": [(layers.Reciprocal(3.0), [VECTOR])],
    "SELU": [(layers.SELU(), [PICTURE])],
    "SiLU": [(layers.SiLU(), [PICTURE])],
    "Sigmoid": [(layers.Sigmoid(), [PICTURE])],
    "Softmax": [(layers.Softmax(), [VECTOR]), *((layers.Softmax(dim), [PICTURE]) for dim in (1, 2, -1))],
    "Softplus": [(layers.Softplus(), [PICTURE]), (layers.Softplus(2.0, 1.0), [PICTURE])],
    "Softsign": [(layers.Softsign(), [PICTURE])],
    "Standardize": [(layers.Standardize(PICTURE, per_channel=True), [PICTURE]), (layers.Standardize(7), [VECTOR])],
    "Subtract": [(layers.Subtract(), [VECTOR, VECTOR])],
    "Tanh": [(layers.Tanh(), [PICTURE])],
}


def test_every_layer_is_tested() -> None:
    assert set(LAYERS) == {name for name, kind in registered().items() if kind.__module__.startswith("cnnlib.")}


@pytest.mark.parametrize("name", LAYERS)
def test_each_layer(name: str, tmp_path: Path) -> None:
    for layer, shapes in LAYERS[name]:
        inputs = [Input(shape, f"in{i}") for i, shape in enumerate(shapes)]
        same(trained(Model(inputs, layer(*inputs)), np.random.default_rng(0)), tmp_path / "x.onnx", *shapes)


@pytest.mark.parametrize("name", models.MODELS)
def test_each_model(name: str, tmp_path: Path) -> None:
    same(trained(models.MODELS[name](rng=0), np.random.default_rng(1)), tmp_path / "x.onnx", (1, 28, 28))


def test_float64(tmp_path: Path) -> None:
    model = Sequential(
        layers.Linear(7, 5, rng=0, dtype=np.float64),
        layers.ReLU(),
        layers.Linear(5, 2, rng=1, dtype=np.float64),
        input_shape=7,
    )
    same(model, tmp_path / "x.onnx", VECTOR, dtype=np.float64)


def random_graph(seed: int) -> tuple[Model, list[tuple[int, ...]]]:
    """Two inputs, layers that keep the size, branches that meet, a shared layer, two outputs."""
    rng = np.random.default_rng(seed)
    shared = layers.Conv2d(6, 6, 3, padding=1, rng=seed)
    nodes = [Input(PICTURE, "a"), Input(PICTURE, "b")]
    unary = [
        lambda: shared,
        lambda: layers.Conv2d(6, 6, 1, rng=seed),
        lambda: layers.BatchNorm2d(6),
        layers.ReLU,
        layers.Sigmoid,
        lambda: layers.PReLU(6),
        lambda: layers.MaxPool2d(3, 1, 1),
        lambda: layers.AvgPool2d(3, 1, 1),
        lambda: layers.Affine(0.5, 0.1),
    ]
    for _ in range(12):
        first, second = (nodes[i] for i in rng.integers(len(nodes), size=2))
        if rng.random() < 0.3:
            nodes.append([layers.Add, layers.Subtract, layers.Multiply][rng.integers(3)]()(first, second))
        else:
            nodes.append(unary[rng.integers(len(unary))]()(first))
    ends = {"scores": layers.Linear(6, 3, rng=seed)(layers.GlobalAvgPool2d()(nodes[-1])), "map": nodes[-2]}
    used = Model(nodes[:2], {**ends, "all": layers.Concat()(nodes[0], nodes[1], *nodes[2:])})
    return used, [PICTURE, PICTURE]


@pytest.mark.parametrize("seed", range(10))
def test_random_graphs(seed: int, tmp_path: Path) -> None:
    model, shapes = random_graph(seed)
    same(trained(model, np.random.default_rng(seed)), tmp_path / "x.onnx", *shapes)
    proto = onnx.load(tmp_path / "x.onnx")
    assert [given.name for given in proto.graph.input] == ["a", "b"]
    assert [given.name for given in proto.graph.output] == ["scores", "map", "all"]


def test_weights_keep_their_names_and_shared_ones_are_there_once(tmp_path: Path) -> None:
    model = models.lenet5(rng=0)
    model.export_onnx(tmp_path / "x.onnx")
    proto = onnx.load(tmp_path / "x.onnx")
    assert {given.name: tuple(given.dims) for given in proto.graph.initializer} == {
        name: array.shape for name, array in model.state_dict().items()
    }
    assert proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"


@register
class Foreign(layers.ReLU):
    """A subclass is written as its base."""


@register
class Unknown(Layer):
    """No form in ONNX."""

    def output_shape(self, x: Any) -> Any:
        return x

    def apply(self, x: Any, *, training: bool = False, out: Any = None) -> Any:
        return x, None


def test_what_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.onnx"
    same(Sequential(Foreign(), input_shape=VECTOR), path, VECTOR)
    path.unlink()
    with pytest.raises(DataError, match="layer 'odd': Unknown has no form in ONNX"):
        Sequential(Unknown(name="odd"), input_shape=VECTOR).export_onnx(path)
    model = nets.build("normalized").eval(bn_stats="batch")
    with pytest.raises(ConfigError, match="layer '1' takes the statistics of each batch"):
        model.export_onnx(path)
    with pytest.raises(GraphError, match="input's shape is not known"):
        Sequential(layers.ReLU()).export_onnx(path)
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'cnnlib\[onnx\]'"):
        models.lenet5(rng=0).export_onnx(path)
    assert list(tmp_path.iterdir()) == []


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = models.lenet5(rng=0)
    model.save(tmp_path / "net.safetensors")
    assert main(["export", str(tmp_path / "net.safetensors")]) == 0
    assert capsys.readouterr().out.splitlines()[:2] == ["input     N × 1 × 28 × 28 float32", "output    N × 10 float32"]
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    x, _ = nets.images(3)
    scores = session.run(None, {session.get_inputs()[0].name: x.astype(np.float32) / 255})[0]
    assert np.allclose(scores, model.predict(x), rtol=1e-5, atol=1e-5)
    assert main(["export", str(tmp_path / "none")]) == 1
    assert cnnlib.onnx.export_onnx is not None
