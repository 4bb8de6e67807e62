"""Padding and cropping of every kind: the definition, NumPy, PyTorch, ONNX's node tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import Array, check_gradient, normal, onnx_node_cases, poisoned

from cnnlib import functional, load, reference
from cnnlib.errors import ConfigError
from cnnlib.layers import CircularPad2d, ConstantPad2d, Conv2d, Pad, ReflectionPad2d, ReplicationPad2d, ZeroPad2d
from cnnlib.model import Sequential
from cnnlib.shapes import PAD_MODES

# x shape, padding
CASES = [
    ((3,), ((2, 1),)),
    ((4, 5), ((1, 2),)),
    ((2, 3, 4, 5), ((1, 0), (0, 2))),
    ((2, 3, 4, 5), ((1, 1), (2, 0), (3, 2), (0, 4))),
    ((2, 4, 5), ((-1, 2), (3, -2))),
    ((2, 4, 5), ((-2, -1), (-4, 6))),
    ((2, 3), ((7, 8), (9, 10))),  # several times around
    ((2, 1), ((1, 1), (3, 3))),
    ((2, 3), ((-4, 5),)),  # nothing of it stays
    ((2, 3), ((0, 0), (0, 0))),
]


@pytest.mark.parametrize("mode", PAD_MODES)
@pytest.mark.parametrize(("shape", "padding"), CASES)
def test_the_definition(shape: Any, padding: Any, mode: str, rng: np.random.Generator, dtype: type) -> None:
    if padding == ((-4, 5),) and mode != "constant":
        padding = ((-2, 5),)
    x = normal(rng, *shape, dtype=dtype)
    expected = reference.pad(x, padding, mode, 2.5)
    out = poisoned(expected.shape, dtype)
    assert functional.pad(x, padding, mode, 2.5, out=out) is out
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(functional.pad(x, padding, mode, 2.5), expected)
    grad = normal(rng, *expected.shape)
    truth = reference.pad_backward(grad, x, padding, mode)
    dx = functional.pad_backward(grad.astype(dtype), shape, padding, mode, out=poisoned(shape, dtype))
    np.testing.assert_allclose(dx, truth, rtol=0, atol=(1e-12 if dtype == np.float64 else 1e-5))
    exact = x.astype(np.float64)
    check_gradient(
        lambda: reference.pad(exact, padding, mode, 2.5),
        lambda g: reference.pad_backward(g, exact, padding, mode),
        exact,
    )


def test_values_need_not_be_finite(tmp_path: Path) -> None:
    x = np.ones((1, 2), np.float32)
    for value in (np.inf, -np.inf, np.nan):
        np.testing.assert_array_equal(functional.pad(x, ((1, 0),), value=value), [[value, 1, 1]])
    model = Sequential(Pad(((1, 0),), value=-np.inf), input_shape=2)
    model.save(tmp_path / "net.safetensors")  # whose numbers are finite
    for padded in (model, load(tmp_path / "net.safetensors")):
        np.testing.assert_array_equal(padded.forward(x), [[-np.inf, 1, 1]])
    with pytest.raises(ConfigError, match="value = 'infinity'"):
        Pad(((1, 0),), value="infinity")


PAIRS = [
    (ZeroPad2d, (2,)),
    (ZeroPad2d, ((1, 2, -1, 3),)),
    (ConstantPad2d, ((1, 2, 0, 3), -4.5)),
    (ReflectionPad2d, ((1, 3, 2, 0),)),
    (ReplicationPad2d, ((5, 1, 0, 2),)),
    (CircularPad2d, ((1, 4, 3, 2),)),
]


@pytest.mark.parametrize(("kind", "settings"), PAIRS)
def test_pytorchs_numbers(kind: Any, settings: Any, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    x = normal(rng, 2, 3, 4, 5)
    given = torch.from_numpy(x.copy()).requires_grad_()
    wanted = getattr(torch.nn, kind.__name__)(*settings)(given)
    layer = kind(*settings)
    y = layer.forward(x, training=True)
    np.testing.assert_array_equal(y, wanted.detach().numpy())
    assert y.shape[1:] == layer.output_shape((3, 4, 5))
    dy = normal(rng, *y.shape)
    wanted.backward(torch.from_numpy(dy))
    np.testing.assert_allclose(layer.backward(dy), given.grad.numpy(), rtol=1e-13)


def test_onnxs_node_tests() -> None:
    pytest.importorskip("onnx")
    modes = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}
    done = set()
    for case in onnx_node_cases("Pad"):
        for inputs, outputs in case.data_sets:
            x, pads, *rest = inputs
            attributes = {a.name: a.s.decode() for a in case.model.graph.node[0].attribute}
            axes = rest[1] % x.ndim if len(rest) > 1 else np.arange(x.ndim)
            pairs = [(0, 0)] * x.ndim
            for axis, before, after in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
                pairs[axis] = int(before), int(after)
            value = float(rest[0]) if rest and rest[0] is not None else 0.0
            kind = np.float64 if x.dtype.kind == "i" else x.dtype
            y = functional.pad(x.astype(kind), pairs, modes[attributes.get("mode", "constant")], value)
            np.testing.assert_array_equal(y, outputs[0])
            done.add(case.name)
    assert {"test_constant_pad", "test_constant_pad_axes", "test_edge_pad", "test_reflect_pad", "test_wrap_pad"} <= done


def test_a_padded_convolution_is_that_with_padding(rng: np.random.Generator) -> None:
    x = normal(rng, 2, 3, 6, 7, dtype=np.float32)

    def trained(*layers: Any) -> list[Array]:
        model = Sequential(*layers, input_shape=(3, 6, 7))
        y = model.forward(x, training=True)
        dx = model.backward(np.ones_like(y))
        return [y, dx]

    plain = trained(Conv2d(3, 4, 3, padding=(1, 2), rng=0))
    for wanted, got in zip(plain, trained(ZeroPad2d((2, 2, 1, 1)), Conv2d(3, 4, 3, rng=0)), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


def test_what_a_summary_says() -> None:
    model = Sequential(ZeroPad2d((1, 0, 2, 0)), Conv2d(1, 2, 3), input_shape=(1, 8, 8))
    rows = model.summary().splitlines()
    assert any("ZeroPad2d (2 and 0, 1 and 0)" in row for row in rows)
    padded = Sequential(Conv2d(1, 2, 3, padding=(2, 1)), input_shape=(1, 8, 8))
    assert model.summary().count("3 × 3") == padded.summary().count("3 × 3")
    Sequential(Pad(((1, 2),)), input_shape=5).summary()
