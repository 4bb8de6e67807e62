"""The definition itself: against loops that follow the formulas letter by letter, and against central differences."""

from __future__ import annotations

import inspect
from itertools import product

import numpy as np
import pytest
from helpers import assert_close, check_gradient, normal, ties

from cnnlib import functional, reference
from cnnlib.errors import DTypeError

Array = np.ndarray

# x shape, weight shape, stride, padding, dilation, groups: each differs by axis somewhere
CONVOLUTIONS = [
    ((1, 1, 3, 3), (1, 1, 1, 1), 1, 0, 1, 1),
    ((2, 3, 5, 4), (2, 3, 3, 2), 1, 0, 1, 1),
    ((2, 2, 6, 7), (4, 2, 3, 3), (2, 1), (1, 2), 1, 1),
    ((1, 4, 6, 5), (6, 2, 2, 3), (1, 3), (0, 1), (3, 1), 2),
    ((2, 3, 4, 5), (6, 1, 3, 3), 2, (2, 1), (1, 2), 3),
    ((1, 2, 2, 2), (1, 2, 2, 1), (2, 1), (3, 4), 1, 1),
]
POOLS = [  # x shape, kernel, stride, padding
    ((2, 3, 6, 4), 2, None, 0),
    ((1, 2, 7, 8), 3, 2, 1),
    ((2, 1, 5, 6), (3, 2), (1, 3), (1, 0)),
    ((1, 1, 4, 5), (4, 2), (1, 1), (2, 1)),
]


def conv2d_by_loops(x: Array, weight: Array, stride: tuple, padding: tuple, dilation: tuple, groups: int) -> Array:
    n, _, h, w = x.shape
    k, group_channels, kh, kw = weight.shape
    oh = (h + 2 * padding[0] - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    ow = (w + 2 * padding[1] - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    y = np.zeros((n, k, oh, ow))
    for image, f, i, j in np.ndindex(*y.shape):
        first = f // (k // groups) * group_channels
        for channel, p, q in np.ndindex(group_channels, kh, kw):
            row = i * stride[0] + p * dilation[0] - padding[0]
            column = j * stride[1] + q * dilation[1] - padding[1]
            if 0 <= row < h and 0 <= column < w:
                y[image, f, i, j] += x[image, first + channel, row, column] * weight[f, channel, p, q]
    return y


def windows_by_loops(x: Array, kernel: tuple, stride: tuple, padding: tuple) -> dict[tuple, list[tuple]]:
    """Return for each output index the input indices of its window that lie inside the image, in row-major order."""
    n, c, h, w = x.shape
    oh, ow = ((s + 2 * p - k) // t + 1 for s, p, k, t in zip((h, w), padding, kernel, stride, strict=True))
    inside = {}
    for image, channel, i, j in np.ndindex(n, c, oh, ow):
        rows = range(i * stride[0] - padding[0], i * stride[0] - padding[0] + kernel[0])
        columns = range(j * stride[1] - padding[1], j * stride[1] - padding[1] + kernel[1])
        inside[image, channel, i, j] = [
            (image, channel, row, column) for row, column in product(rows, columns) if 0 <= row < h and 0 <= column < w
        ]
    return inside


def both(value: object) -> tuple:
    return value if isinstance(value, tuple) else (value, value)


@pytest.mark.parametrize(("x_shape", "w_shape", "stride", "padding", "dilation", "groups"), CONVOLUTIONS)
def test_conv2d(rng, x_shape, w_shape, stride, padding, dilation, groups) -> None:
    x, weight, bias = normal(rng, *x_shape), normal(rng, *w_shape), normal(rng, w_shape[0])
    settings = (stride, padding, dilation, groups)
    y = reference.conv2d(x, weight, bias, *settings)
    expected = conv2d_by_loops(x, weight, both(stride), both(padding), both(dilation), groups)
    assert_close(y, expected + bias[:, None, None], weight[0].size)

    def forward() -> Array:
        return reference.conv2d(x, weight, bias, *settings)

    for which, array in enumerate((x, weight, bias)):
        check_gradient(forward, lambda g, i=which: reference.conv2d_backward(g, x, weight, *settings)[i], array)


@pytest.mark.parametrize(("x_shape", "kernel", "stride", "padding"), POOLS)
def test_max_pool2d(rng, x_shape, kernel, stride, padding) -> None:
    x = ties(rng, *x_shape)
    x.flat[rng.permutation(x.size)[: x.size // 8]] = -np.inf
    windows = windows_by_loops(x, both(kernel), both(stride or kernel), both(padding))
    y = reference.max_pool2d(x, kernel, stride, padding)
    grad = normal(rng, *y.shape)
    expected, expected_grad = np.empty_like(y), np.zeros_like(x)
    for output, inputs in windows.items():
        first_largest = max(inputs, key=lambda index: x[index])
        expected[output] = x[first_largest]
        expected_grad[first_largest] += grad[output]
    np.testing.assert_array_equal(y, expected)
    assert_close(reference.max_pool2d_backward(grad, x, kernel, stride, padding), expected_grad, 9)


@pytest.mark.parametrize(("x_shape", "kernel", "stride", "padding"), POOLS)
def test_max_pool2d_gradient(rng, x_shape, kernel, stride, padding) -> None:
    x = rng.permutation(float(np.prod(x_shape)) * np.linspace(-1, 1, np.prod(x_shape))).reshape(x_shape)
    settings = (kernel, stride, padding)
    check_gradient(
        lambda: reference.max_pool2d(x, *settings), lambda g: reference.max_pool2d_backward(g, x, *settings), x
    )


def test_max_pool2d_conventions() -> None:
    nan = np.nan
    x = np.array([[[[2.0, 7.0, nan, 1.0], [7.0, 7.0, 3.0, nan]]]])
    np.testing.assert_array_equal(reference.max_pool2d(x, 2), [[[[7.0, nan]]]])
    grad = reference.max_pool2d_backward(np.array([[[[1.0, 2.0]]]]), x, 2)
    np.testing.assert_array_equal(grad, [[[[0, 1, 0, 0], [0, 0, 0, 2]]]])
    lowest = np.full((1, 1, 2, 2), -np.inf)  # padding is no pixel, however low the pixels are
    np.testing.assert_array_equal(
        reference.max_pool2d_backward(np.ones((1, 1, 2, 2)), lowest, 2, 2, 1), np.ones((1, 1, 2, 2))
    )


@pytest.mark.parametrize("count_include_pad", [True, False])
@pytest.mark.parametrize(("x_shape", "kernel", "stride", "padding"), POOLS)
def test_avg_pool2d(rng, x_shape, kernel, stride, padding, count_include_pad) -> None:
    x, settings = normal(rng, *x_shape), (kernel, stride, padding, count_include_pad)
    y = reference.avg_pool2d(x, *settings)
    expected = np.empty_like(y)
    for output, inputs in windows_by_loops(x, both(kernel), both(stride or kernel), both(padding)).items():
        expected[output] = sum(x[i] for i in inputs) / (np.prod(both(kernel)) if count_include_pad else len(inputs))
    assert_close(y, expected, 16)
    check_gradient(
        lambda: reference.avg_pool2d(x, *settings), lambda g: reference.avg_pool2d_backward(g, x.shape, *settings), x
    )


def test_linear(rng) -> None:
    x, weight, bias = normal(rng, 4, 3), normal(rng, 5, 3), normal(rng, 5)
    expected = np.array([[row @ column + b for column, b in zip(weight, bias, strict=True)] for row in x])
    assert_close(reference.linear(x, weight, bias), expected, 3)
    for which, array in enumerate((x, weight, bias)):
        check_gradient(
            lambda: reference.linear(x, weight, bias),
            lambda g, i=which: reference.linear_backward(g, x, weight)[i],
            array,
        )


def test_relu(rng) -> None:
    x = normal(rng, 6, 7)
    away_from_the_kink = np.abs(x) > 1e-3
    check_gradient(lambda: reference.relu(x), lambda g: reference.relu_backward(g, x), x, where=away_from_the_kink)
    special = np.array([np.nan, 0.0, -0.0, np.inf, -np.inf])
    np.testing.assert_array_equal(reference.relu(special), [np.nan, 0, 0, np.inf, 0])
    np.testing.assert_array_equal(reference.relu_backward(np.ones(5), special), [0, 0, 0, 1, 0])


def test_softmax(rng) -> None:
    x = normal(rng, 4, 5)
    for row, p in zip(x, reference.softmax(x), strict=True):
        assert_close(p, np.exp(row) / sum(np.exp(row)), 5)
    check_gradient(lambda: reference.softmax(x), lambda g: reference.softmax_backward(g, reference.softmax(x)), x)
    np.testing.assert_array_equal(
        reference.softmax(np.array([[1000.0, -1000.0], [-1000, -1000]])), [[1, 0], [0.5, 0.5]]
    )


@pytest.mark.parametrize("kind", ["labels", "one-hot", "soft", "unnormalised"])
def test_cross_entropy(rng, kind) -> None:
    x, labels = normal(rng, 4, 5), np.array([0, 4, 2, 2])
    one_hot, soft = np.eye(5)[labels], reference.softmax(normal(rng, 4, 5))
    target = {"labels": labels, "one-hot": one_hot, "soft": soft, "unnormalised": 3 * soft}[kind]
    dense = one_hot if kind == "labels" else target
    value, grad = reference.cross_entropy(x, target)
    assert isinstance(value, float)
    assert value == pytest.approx(
        np.mean([-(t * np.log(p)).sum() for t, p in zip(dense, reference.softmax(x), strict=True)])
    )
    check_gradient(lambda: np.array(reference.cross_entropy(x, target)[0]), lambda g: g * grad, x)


def test_cross_entropy_at_extremes() -> None:
    x = np.array([[1000.0, -1000.0], [1000.0, -1000.0]])
    value, grad = reference.cross_entropy(x, np.array([0, 1]))
    assert value == 1000.0
    np.testing.assert_array_equal(grad, [[0, 0], [0.5, -0.5]])


def test_sgd_steps_by_hand() -> None:
    param, velocity = np.array([1.0]), np.zeros(1)
    reference.sgd_step(param, np.array([2.0]), velocity, lr=0.1, momentum=0.5, weight_decay=1.0)
    assert (param[0], velocity[0]) == pytest.approx((0.7, 3.0))  # g = 2 + 1, v = 3
    reference.sgd_step(param, np.array([2.0]), velocity, lr=0.1, momentum=0.5, weight_decay=1.0, nesterov=True)
    assert (param[0], velocity[0]) == pytest.approx((0.22, 4.2))  # g = 2.7, v = 4.2, step g + 2.1


@pytest.mark.parametrize(("decoupled", "expected"), [(False, 0.9), (True, 0.85)])
def test_first_adam_step_is_lr_in_the_direction_of_the_gradient(decoupled: bool, expected: float) -> None:
    param, m, v = np.array([1.0]), np.zeros(1), np.zeros(1)
    reference.adam_step(param, np.array([3.0]), m, v, 1, lr=0.1, weight_decay=0.5, decoupled=decoupled)
    gradient = 3.0 if decoupled else 3.5
    assert (param[0], m[0], v[0]) == pytest.approx((expected, 0.1 * gradient, 0.001 * gradient**2))


def test_second_adam_step_by_hand() -> None:
    param, m, v = np.array([1.0]), np.array([0.1]), np.array([0.2])
    reference.adam_step(param, np.array([-1.0]), m, v, 2, lr=0.1, beta1=0.5, beta2=0.8, eps=0.25)
    m2, v2 = 0.5 * 0.1 - 0.5, 0.8 * 0.2 + 0.2
    assert param[0] == pytest.approx(1.0 - 0.1 * (m2 / 0.75) / (np.sqrt(v2 / 0.36) + 0.25))


def test_as_input() -> None:
    pixels = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(reference.as_input(pixels), pixels.astype(np.float32) * np.float32(1 / 255))
    assert reference.as_input(pixels).max() == reference.as_input(pixels, np.float64).max() == 1
    for other in (np.array([True, False]), np.array([300, -2]), np.array([0.5, 2], np.float16), np.array([1.5], ">f8")):
        converted = reference.as_input(other)
        assert converted.dtype == np.float32
        np.testing.assert_array_equal(converted, other)
    ready = np.zeros((2, 3), np.float32)
    assert reference.as_input(ready) is ready
    assert reference.as_input(ready.T).flags.c_contiguous
    out = np.full_like(ready, np.nan)
    assert reference.as_input(ready, out=out) is ready
    for other in (np.arange(6, dtype=np.int64).reshape(2, 3), ready.astype(">f4"), np.asfortranarray(ready + 2)):
        assert reference.as_input(other, out=out) is out
        np.testing.assert_array_equal(out, other)
    assert reference.as_input(np.full((2, 3), 255, np.uint8), out=out) is out
    assert (out == 1).all()
    for refused in (np.array(["1"]), np.array([1j]), np.array([None]), np.array(["2020"], "M8[Y]")):
        with pytest.raises(DTypeError, match="dtype"):
            reference.as_input(refused)


def test_functional_has_the_same_signatures() -> None:
    for name in reference.__all__:
        expected = inspect.signature(getattr(reference, name)).parameters.values()
        actual = inspect.signature(getattr(functional, name)).parameters.values()
        shown = [[(p.name, p.kind, p.default) for p in parameters] for parameters in (actual, expected)]
        assert shown[0] == shown[1], name
