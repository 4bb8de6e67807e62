"""One table over all layers: what every layer must do, and a row for each. A registered layer without a row fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from cnnlib.errors import DataError, DTypeError, GraphError, ShapeError, TrainingError
from cnnlib.layers import (
    ELU,
    GELU,
    SELU,
    AdaptiveAvgPool2d,
    AdaptiveMaxPool2d,
    Add,
    Affine,
    AvgPool1d,
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    CircularPad2d,
    Concat,
    ConstantPad2d,
    Conv1d,
    Conv2d,
    ConvTranspose1d,
    ConvTranspose2d,
    Divide,
    Dropout,
    Dropout2d,
    Flatten,
    GlobalAvgPool2d,
    GlobalMaxPool2d,
    GroupNorm,
    Hardsigmoid,
    Hardswish,
    Hardtanh,
    InstanceNorm1d,
    InstanceNorm2d,
    Layer,
    LayerNorm,
    LeakyReLU,
    Linear,
    LogSoftmax,
    LPPool1d,
    LPPool2d,
    MaxPool1d,
    MaxPool2d,
    Mish,
    Multiply,
    Pad,
    PReLU,
    Reciprocal,
    ReflectionPad2d,
    ReLU,
    ReLU6,
    ReplicationPad2d,
    Resize,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Softsign,
    Standardize,
    Subtract,
    Tanh,
    Upsample,
    ZeroPad2d,
    registered,
)
from tests.helpers import Array, check_gradient, poisoned


class Row(NamedTuple):
    make: Callable[..., Layer]  # called with dtype where the layer has parameters
    shapes: tuple[tuple[int, ...], ...]  # inputs, without N
    output: tuple[int, ...]
    parameters: dict[str, tuple[int, ...]]


def row(make: Callable[..., Layer], *shapes: tuple[int, ...], output: tuple[int, ...], **parameters: Any) -> Row:
    return Row(make, shapes, output, parameters)


ROWS = {
    "linear": row(lambda **k: Linear(5, 3, rng=0, **k), (5,), output=(3,), weight=(3, 5), bias=(3,)),
    "linear-no-bias": row(lambda **k: Linear(1, 2, bias=False, rng=0, **k), (1,), output=(2,), weight=(2, 1)),
    "conv2d": row(lambda **k: Conv2d(2, 3, 3, rng=0, **k), (2, 5, 4), output=(3, 3, 2), weight=(3, 2, 3, 3), bias=(3,)),
    "conv2d-same": row(
        lambda **k: Conv2d(1, 2, (3, 5), padding="same", rng=0, **k),
        (1, 4, 3),
        output=(2, 4, 3),
        weight=(2, 1, 3, 5),
        bias=(2,),
    ),
    "conv2d-general": row(
        lambda **k: Conv2d(4, 6, (3, 2), (2, 1), (1, 2), (1, 2), groups=2, bias=False, rng=0, **k),
        (4, 5, 6),
        output=(6, 3, 8),
        weight=(6, 2, 3, 2),
    ),
    "conv1d": row(
        lambda **k: Conv1d(4, 6, 3, 2, 1, 2, groups=2, rng=0, **k), (4, 7), output=(6, 3), weight=(6, 2, 3), bias=(6,)
    ),
    "conv_transpose2d": row(
        lambda **k: ConvTranspose2d(2, 3, 3, rng=0, **k), (2, 3, 2), output=(3, 5, 4), weight=(2, 3, 3, 3), bias=(3,)
    ),
    "conv_transpose2d-general": row(
        lambda **k: ConvTranspose2d(4, 6, (3, 2), (2, 3), (1, 0), (1, 2), 2, False, (1, 2), rng=0, **k),
        (4, 3, 2),
        output=(6, 6, 8),
        weight=(4, 3, 3, 2),
    ),
    "conv_transpose1d": row(
        lambda **k: ConvTranspose1d(2, 3, 3, 2, 1, 1, rng=0, **k), (2, 4), output=(3, 8), weight=(2, 3, 3), bias=(3,)
    ),
    "max_pool2d": row(lambda: MaxPool2d(2), (2, 5, 4), output=(2, 2, 2)),
    "max_pool2d-overlapping": row(lambda: MaxPool2d(3, stride=2, padding=1), (1, 5, 7), output=(1, 3, 4)),
    "max_pool2d-rounded-up": row(lambda: MaxPool2d(3, 2, (0, 1, 1, 0), ceil_mode=True), (2, 6, 6), output=(2, 3, 3)),
    "max_pool2d-dilated": row(lambda: MaxPool2d((2, 3), 1, 1, (2, 1)), (2, 5, 4), output=(2, 5, 4)),
    "max_pool1d": row(lambda: MaxPool1d(3, 2, (1, 0), ceil_mode=True), (2, 7), output=(2, 4)),
    "avg_pool1d": row(lambda: AvgPool1d(3, 2, 1, True, False), (2, 6), output=(2, 4)),
    "avg_pool2d-rounded-up": row(lambda: AvgPool2d(3, 2, (0, 1, 1, 1), ceil_mode=True), (2, 6, 5), output=(2, 3, 3)),
    "avg_pool2d-dilated": row(lambda: AvgPool2d(2, 1, 1, False, dilation=2), (2, 4, 5), output=(2, 4, 5)),
    "lp_pool2d": row(lambda: LPPool2d(3, 2, padding=1, ceil_mode=True), (2, 4, 5), output=(2, 3, 3)),
    "lp_pool2d-dilated": row(lambda: LPPool2d(1.5, 2, 1, dilation=(1, 2)), (2, 4, 5), output=(2, 3, 3)),
    "lp_pool1d": row(lambda: LPPool1d(2, 3, 1, padding=(2, 0)), (2, 5), output=(2, 5)),
    "adaptive_max_pool2d": row(lambda: AdaptiveMaxPool2d((3, 2)), (2, 5, 6), output=(2, 3, 2)),
    "adaptive_max_pool2d-even": row(lambda: AdaptiveMaxPool2d(2), (2, 4, 6), output=(2, 2, 2)),
    "global_max_pool2d": row(GlobalMaxPool2d, (2, 3, 5), output=(2,)),
    "avg_pool2d": row(lambda: AvgPool2d((2, 3)), (2, 5, 6), output=(2, 2, 2)),
    "avg_pool2d-inside": row(
        lambda: AvgPool2d(3, stride=2, padding=1, count_include_pad=False), (1, 5, 7), output=(1, 3, 4)
    ),
    "adaptive_avg_pool2d": row(lambda: AdaptiveAvgPool2d((3, 2)), (2, 5, 6), output=(2, 3, 2)),
    "adaptive_avg_pool2d-even": row(lambda: AdaptiveAvgPool2d(2), (2, 4, 6), output=(2, 2, 2)),
    "global_avg_pool2d": row(GlobalAvgPool2d, (2, 3, 5), output=(2,)),
    "pad": row(lambda: Pad(((2, -1), (0, 0), (1, 3)), "constant", 0.5), (2, 3, 4), output=(3, 3, 8)),
    "pad-features": row(lambda: Pad(((3, 5),), "circular"), (2,), output=(10,)),
    "zero_pad2d": row(lambda: ZeroPad2d((1, 2, -1, 3)), (2, 3, 4), output=(2, 5, 7)),
    "constant_pad2d": row(lambda: ConstantPad2d(1, 2.5), (2, 3, 4), output=(2, 5, 6)),
    "reflection_pad2d": row(lambda: ReflectionPad2d((1, 3, 2, 0)), (2, 3, 4), output=(2, 5, 8)),
    "replication_pad2d": row(lambda: ReplicationPad2d([1, 0, 2, -1]), (2, 3, 4), output=(2, 4, 5)),
    "circular_pad2d": row(lambda: CircularPad2d((1, 4, 3, 2)), (2, 3, 4), output=(2, 8, 9)),
    "resize": row(lambda: Resize((5, 3), mode="linear"), (2, 3, 4), output=(2, 5, 3)),
    "resize-all": row(
        lambda: Resize(
            (6, 3), (1.7, 0.6), "linear", "tf_crop_and_resize", "floor", True, True, ((-0.2, 0.9), (0.8, 0.1)), 1.5
        ),
        (2, 4, 5),
        output=(2, 6, 3),
    ),
    "resize-nearest": row(lambda: Resize(scale_factor=1.6), (2, 5), output=(2, 8)),
    "upsample": row(lambda: Upsample(scale_factor=(2, 3)), (2, 3, 4), output=(2, 6, 12)),
    "upsample-aligned": row(lambda: Upsample(None, 1.5, "bilinear", True), (2, 3, 4), output=(2, 4, 6)),
    "dropout2d": row(lambda: Dropout2d(0.3, rng=0), (4, 2, 3), output=(4, 2, 3)),
    "flatten": row(Flatten, (2, 3, 4), output=(24,)),
    "relu": row(ReLU, (2, 3, 4), output=(2, 3, 4)),
    "sigmoid": row(Sigmoid, (2, 3, 4), output=(2, 3, 4)),
    "tanh": row(Tanh, (2, 3, 4), output=(2, 3, 4)),
    "leaky_relu": row(lambda: LeakyReLU(0.2), (2, 3, 4), output=(2, 3, 4)),
    **{
        f"{make.__name__}-{i}": row(lambda m=make, a=arguments: m(*a), (2, 3, 4), output=(2, 3, 4))
        for i, (make, *arguments) in enumerate(
            [
                (ELU, 0.7),
                (SELU,),
                (SELU, 1.5, 0.8),
                (Softplus,),
                (Softplus, 2.0, 1.0),
                (Softsign,),
                (GELU,),
                (GELU, "tanh"),
                (SiLU,),
                (Mish,),
                (Hardswish,),
                (Hardtanh, -0.5, None),
                (Hardtanh,),
                (ReLU6,),
                (Hardsigmoid,),
                (Hardsigmoid, 0.2, 0.4),
            ]
        )
    },
    "prelu": row(lambda **k: PReLU(**k), (2, 3, 4), output=(2, 3, 4), weight=(1,)),
    "prelu-channels": row(lambda **k: PReLU(3, 0.1, **k), (3, 2, 2), output=(3, 2, 2), weight=(3,)),
    "prelu-features": row(lambda **k: PReLU(5, **k), (5,), output=(5,), weight=(5,)),
    "batch_norm1d": row(lambda **k: BatchNorm1d(5, **k), (5,), output=(5,), weight=(5,), bias=(5,)),
    "batch_norm1d-series": row(lambda **k: BatchNorm1d(2, **k), (2, 4), output=(2, 4), weight=(2,), bias=(2,)),
    "batch_norm2d": row(lambda **k: BatchNorm2d(2, **k), (2, 3, 2), output=(2, 3, 2), weight=(2,), bias=(2,)),
    "group_norm": row(lambda **k: GroupNorm(2, 4, **k), (4, 3, 2), output=(4, 3, 2), weight=(4,), bias=(4,)),
    "group_norm-vectors": row(lambda **k: GroupNorm(2, 6, **k), (6,), output=(6,), weight=(6,), bias=(6,)),
    "group_norm-plain": row(lambda **k: GroupNorm(1, 4, affine=False, **k), (4, 3), output=(4, 3)),
    "instance_norm1d": row(lambda **k: InstanceNorm1d(2, **k), (2, 5), output=(2, 5)),
    "instance_norm2d": row(
        lambda **k: InstanceNorm2d(2, affine=True, **k), (2, 3, 2), output=(2, 3, 2), weight=(2,), bias=(2,)
    ),
    "layer_norm": row(lambda **k: LayerNorm(5, **k), (2, 5), output=(2, 5), weight=(5,), bias=(5,)),
    "layer_norm-images": row(
        lambda **k: LayerNorm([2, 3, 2], bias=False, **k), (2, 3, 2), output=(2, 3, 2), weight=(2, 3, 2)
    ),
    "layer_norm-plain": row(lambda **k: LayerNorm(5, 0.1, elementwise_affine=False, **k), (5,), output=(5,)),
    "softmax": row(Softmax, (5,), output=(5,)),
    **{f"softmax-{dim}": row(lambda d=dim: Softmax(d), (2, 3, 4), output=(2, 3, 4)) for dim in (1, 2, -1)},
    "log_softmax": row(LogSoftmax, (5,), output=(5,)),
    **{f"log_softmax-{dim}": row(lambda d=dim: LogSoftmax(d), (2, 3), output=(2, 3)) for dim in (1, -2, 2)},
    "standardize": row(lambda: Standardize((2, 3, 4)), (2, 3, 4), output=(2, 3, 4)),
    "standardize-channels": row(lambda: Standardize([2, 3, 4], per_channel=True, eps=0.1), (2, 3, 4), output=(2, 3, 4)),
    "dropout": row(lambda: Dropout(0.3, rng=0), (2, 3, 4), output=(2, 3, 4)),
    "add": row(Add, (2, 3), (2, 3), (2, 3), output=(2, 3)),
    "subtract": row(Subtract, (2, 3), (2, 3), output=(2, 3)),
    "multiply": row(Multiply, (2, 3), (2, 3), output=(2, 3)),
    "multiply-three": row(Multiply, (4,), (4,), (4,), output=(4,)),
    "divide": row(Divide, (2, 3), (2, 3), output=(2, 3)),
    "affine": row(lambda: Affine(-1.5, 0.25), (2, 3), output=(2, 3)),
    "reciprocal": row(lambda: Reciprocal(2.5), (2, 3), output=(2, 3)),
    "concat": row(Concat, (2, 3, 3), (1, 3, 3), output=(3, 3, 3)),
    "concat-axis": row(lambda: Concat(axis=2), (2, 1), (2, 4), (2, 2), output=(2, 7)),
}


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
