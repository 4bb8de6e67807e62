"""One table over all layers: what every layer must do, and a row for each. A registered layer without a row fails."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from cnnlib.errors import DataError, DTypeError, GraphError, ShapeError, TrainingError
from cnnlib.layers import Layer, registered
from tests.helpers import Array, check_gradient, poisoned
from tests.rows import ROWS, Row


@pytest.fixture(params=ROWS.values(), ids=ROWS.keys())
def case(request: pytest.FixtureRequest) -> Row:
    return request.param


def build(case: Row, dtype: type) -> Layer:
    return case.make(dtype=dtype) if case.parameters else case.make()


def inputs(case: Row, dtype: type = np.float64, n: int = 3) -> list[Array]:
    """Shuffled numbers, all different and none near 0, so that kinks are farther away than a difference's step."""
    rng = np.random.default_rng(11)
    arrays = []
    for shape in case.shapes:
        size = n * int(np.prod(shape))
        size += size % 2
        values = rng.permutation((np.arange(size) + 0.5) * 4 / size - 2)
        arrays.append(values[: n * int(np.prod(shape))].reshape(n, *shape).astype(dtype))
    return arrays


def as_tuple(gradients: Any) -> tuple[Array, ...]:
    return gradients if isinstance(gradients, tuple) else (gradients,)


def test_every_registered_layer_has_a_row() -> None:
    ours = {name for name, cls in registered().items() if cls.__module__.startswith("cnnlib.")}
    assert {type(case.make()).__name__ for case in ROWS.values()} == ours


def test_shapes_and_dtypes(case: Row, dtype: type) -> None:
    layer = build(case, dtype)
    assert {name: p.data.shape for name, p in layer.parameters().items()} == case.parameters
    assert layer.output_shape(*case.shapes) == case.output
    y = layer.forward(*inputs(case, dtype), training=True)
    assert y.shape == (3, *case.output)
    assert y.dtype == dtype
    for x, dx in zip(inputs(case, dtype), as_tuple(layer.backward(np.ones_like(y))), strict=True):
        assert (dx.shape, dx.dtype) == (x.shape, x.dtype)
    for parameter in layer.parameters().values():
        assert parameter.grad is not None
        assert (parameter.grad.shape, parameter.grad.dtype) == (parameter.data.shape, parameter.data.dtype)


def test_a_batch_is_its_samples(case: Row, dtype: type) -> None:
    layer = build(case, dtype)
    xs = inputs(case, dtype)
    singles = [layer.forward(*(x[i : i + 1] for x in xs)) for i in range(3)]
    np.testing.assert_allclose(layer.forward(*xs), np.concatenate(singles), rtol=1e-5, atol=1e-6)


def test_gradients_are_the_derivatives(case: Row) -> None:
    layer = build(case, np.float64)
    xs = inputs(case)

    def forward() -> Array:
        layer.reseed(5)
        return layer.forward(*xs, training=True).copy()  # Flatten returns a view of what is about to change

    for i, x in enumerate(xs):
        check_gradient(forward, lambda r, i=i: as_tuple(layer.backward(r))[i], x)
    for parameter in layer.parameters().values():

        def gradient(direction: Array, parameter: Any = parameter) -> Array:
            parameter.zero_grad()
            layer.backward(direction)
            return parameter.grad

        check_gradient(forward, gradient, parameter.data)


def test_parameter_gradients_add_up_and_input_gradients_do_not(case: Row) -> None:
    layer = build(case, np.float64)
    dy = layer.forward(*inputs(case), training=True) + 1
    first = [dx.copy() for dx in as_tuple(layer.backward(dy))]
    once = {name: p.grad.copy() for name, p in layer.parameters().items() if p.grad is not None}
    assert once.keys() == case.parameters.keys()
    second = as_tuple(layer.backward(dy))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    for name, parameter in layer.parameters().items():
        np.testing.assert_array_equal(parameter.grad, 2 * once[name])
        parameter.zero_grad()
        assert parameter.grad is None


def test_results_go_where_they_are_wanted(case: Row, dtype: type) -> None:
    layer = build(case, dtype)
    xs = inputs(case, dtype)
    for training in (False, True):
        layer.reseed(5)
        expected, _ = layer.apply(*xs, training=training)
        layer.reseed(5)
        if layer.shares_input(training):
            y, saved = layer.apply(*xs, training=training)
            assert np.shares_memory(y, xs[0])
        else:
            out = poisoned((3, *case.output), dtype)
            y, saved = layer.apply(*xs, training=training, out=out)
            assert y is out
        np.testing.assert_array_equal(y, expected)
        assert training or saved is None
    needs, dy = (True,) * len(xs), np.ones_like(y)
    expected_dxs = [np.array(dx) for dx in layer.gradients(dy, saved, needs, (None,) * len(xs))]
    outs = tuple(None if layer.shares_gradient else poisoned(x.shape, dtype) for x in xs)
    for dx, out, expected in zip(layer.gradients(dy, saved, needs, outs), outs, expected_dxs, strict=True):
        assert dx is out or layer.shares_gradient
        np.testing.assert_array_equal(dx, expected)


def test_unneeded_gradients_are_none_and_parameters_still_learn(case: Row) -> None:
    layer = build(case, np.float64)
    xs = inputs(case)
    y, saved = layer.apply(*xs, training=True)
    none = (None,) * len(xs)
    assert layer.gradients(np.ones_like(y), saved, (False,) * len(xs), none) == none
    assert all(parameter.grad is not None for parameter in layer.parameters().values())


def test_inputs_are_left_alone_and_inference_keeps_nothing(case: Row) -> None:
    layer = build(case, np.float64)
    xs = inputs(case)
    dy = np.ones_like(layer.forward(*xs, training=True))
    layer.reseed(5)
    layer.forward(*xs, training=True)
    expected = as_tuple(layer.backward(dy))
    for x, untouched in zip(xs, inputs(case), strict=True):
        np.testing.assert_array_equal(x, untouched)
    assert (dy == 1).all()
    # An inference pass in between must not disturb what backward works on.
    layer.forward(*(x[:1] * 7 for x in xs))
    for dx, wanted in zip(as_tuple(layer.backward(dy)), expected, strict=True):
        np.testing.assert_array_equal(dx, wanted)


def test_config_makes_the_same_layer(case: Row, dtype: type) -> None:
    layer = build(case, dtype)
    config = json.loads(json.dumps(layer.config()))
    twin = type(layer)(**config)
    assert twin.config() == layer.config()
    assert repr(twin) == repr(layer)
    for name, parameter in twin.parameters().items():
        parameter.data[...] = layer.parameters()[name].data
    xs = inputs(case, dtype)
    np.testing.assert_array_equal(twin.forward(*xs), layer.forward(*xs))


def test_arrays_that_do_not_fit_are_refused_by_name(case: Row) -> None:
    layer = build(case, np.float32)
    xs = inputs(case, np.float32)
    name = type(layer).__name__
    with pytest.raises(DTypeError, match=rf"{name}\(.*float16.*astype"):
        layer.forward(*(x.astype(np.float16) for x in xs))
    with pytest.raises(DTypeError, match=rf"{name}\(.*got list"):
        layer.forward(*(x.tolist() for x in xs))
    with pytest.raises(DataError, match=rf"{name}\(.*empty"):
        layer.forward(*(x[:0] for x in xs))
    with pytest.raises(ShapeError, match=rf"{name}\("):
        layer.forward(*(np.array(1.0, np.float32) for _ in xs))
    with pytest.raises(GraphError, match=rf"{name}\(.*inputs?.*got 5" if len(xs) == 1 else rf"{name}\(.*got 1"):
        layer.forward(*(xs * 5 if len(xs) == 1 else xs[:1]))


def test_backward_refuses_what_does_not_belong_to_a_forward(case: Row) -> None:
    layer = build(case, np.float32)
    xs = inputs(case, np.float32)
    dy = np.ones_like(layer.forward(*xs))
    with pytest.raises(TrainingError, match="training=True"):
        layer.backward(dy)
    layer.forward(*xs, training=True)
    with pytest.raises(ShapeError, match="output's shape"):
        layer.backward(dy[:1])
    with pytest.raises(DTypeError, match="float32"):
        layer.backward(dy.astype(np.float64))
