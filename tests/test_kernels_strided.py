"""3×3 filters at stride 2 in tiles, and their gradients: the definition, by fewer products than the plain sum."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from helpers import Array, assert_close, assert_same_bits_for_any_threads, in_lanes, normal, poisoned

from cnnlib import _kernels, config, functional, reference
from cnnlib.shapes import conv2d_output_shape, pair

# N, C, H, W, K, padding, groups.
CASES = {
    "even-outputs": (16, 64, 8, 12, 72, 1, 1),
    "odd-outputs-and-a-ragged-batch": (17, 64, 29, 29, 64, 1, 1),
    "few-images-in-patches": (2, 256, 32, 4, 15, 1, 1),
    "deep": (9, 300, 9, 9, 40, 0, 1),
    "more-padding-than-filter": (16, 64, 12, 8, 64, (3, 4), 1),
    "groups": (16, 128, 8, 8, 128, 1, 2),
    "odd-inputs-and-a-ragged-batch": (17, 64, 31, 31, 64, 1, 1),
    "no-padding": (9, 300, 20, 19, 300, 0, 1),
}
MANY = "many-channels-"
MANY_CHANNELS = {  # so that the weight gradient takes tiles, too
    "even-outputs": (9, 192, 16, 16, 192, 1, 1),
    "odd-outputs": (9, 224, 21, 19, 224, 1, 1),
    "few-images-in-patches": (4, 192, 32, 32, 192, 1, 1),
    "groups": (9, 384, 16, 16, 384, 1, 2),
}


def arrays(name: str, rng: np.random.Generator, dtype: type) -> tuple[Array, Array, Array, tuple[object, ...]]:
    n, c, h, w, k, padding, groups = CASES[name] if name in CASES else MANY_CHANNELS[name.removeprefix(MANY)]
    x, weight = normal(rng, n, c, h, w, dtype=dtype), normal(rng, k, c // groups, 3, 3, dtype=dtype)
    return x, weight, normal(rng, k, dtype=dtype), (2, padding, 1, groups)


def told(x: Array, weight: Array, settings: tuple[object, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The options of the kernel, and the first numbers of its layout."""
    stride, padding, dilation, groups = settings
    options = (*pair(stride, "stride"), *pair(padding, "padding"), *pair(dilation, "dilation"), groups)
    return options, (len(x), *conv2d_output_shape(x.shape, weight.shape, *settings)[2:])


@pytest.mark.parametrize("name", [name for name in CASES if name != "no-padding"])
def test_meets_the_definition_as_exactly_as_the_plain_sum(name, isa, dtype, rng) -> None:
    x, weight, bias, settings = arrays(name, rng, dtype)
    options, layout = told(x, weight, settings)
    assert _kernels.conv2d_way(x.shape, weight.shape, options, (*layout, 0, 0, 0, 0), False) == "tiles 5×5"
    expected = reference.conv2d(*(a.astype(np.float64) for a in (x, weight, bias)), *settings)
    errors = {}
    for algorithm in ("direct", "accurate"):
        with config.using(algorithm=algorithm):
            y = functional.conv2d(x, weight, bias, *settings, out=poisoned(expected.shape, dtype))
        errors[algorithm] = np.abs(y - expected).max()
        assert_close(y, expected, weight[0].size + 1, term=1.0)
    assert errors["accurate"] <= 2 * errors["direct"]


@pytest.mark.parametrize("name", [name for name in CASES if name not in ("deep", "odd-outputs-and-a-ragged-batch")])
def test_input_gradient_meets_the_definition_as_exactly_as_the_plain_sum(name, isa, dtype, rng) -> None:
    x, weight, _, settings = arrays(name, rng, dtype)
    options, layout = told(x, weight, settings)
    assert _kernels.conv2d_way(x.shape, weight.shape, options, (*layout, 0, 0, 0, 0), True) == "tiles 5×5"
    dy = normal(rng, len(x), len(weight), *layout[1:], dtype=dtype)
    wide = (a.astype(np.float64) for a in (dy, x, weight))
    expected = reference.conv2d_backward(*wide, *settings, needs=(True, False, False))[0]
    errors = {}
    for algorithm in ("direct", "accurate"):
        out = poisoned(x.shape, dtype), None, None
        with config.using(algorithm=algorithm):
            dx = functional.conv2d_backward(dy, x, weight, *settings, needs=(True, False, False), out=out)[0]
        errors[algorithm] = np.abs(dx - expected).max()
        assert_close(dx, expected, 4 * weight[:, 0].size // 9, term=1.0)
    assert errors["accurate"] <= 2 * errors["direct"]


@pytest.mark.parametrize("name", [MANY + name for name in MANY_CHANNELS])
def test_weight_gradient_meets_the_definition_and_rounds_little_more_than_the_plain_sum(name, isa, rng) -> None:
    x, weight, _, settings = arrays(name, rng, np.float32)
    dy = normal(rng, len(x), len(weight), *told(x, weight, settings)[1][1:], dtype=np.float32)
    needs = False, True, False
    expected = reference.conv2d_backward(*(a.astype(np.float64) for a in (dy, x, weight)), *settings, needs=needs)[1]
    errors = {}
    for algorithm in ("direct", "accurate"):
        out = None, poisoned(weight.shape, np.float32), None
        with config.using(algorithm=algorithm):
            dw = functional.conv2d_backward(dy, x, weight, *settings, needs=needs, out=out)[1]
        errors[algorithm] = np.abs(dw - expected).max()
        assert_close(dw, expected, 4 * dy[:, 0].size, term=1.0)
    assert errors["direct"] != errors["accurate"] <= 2 * errors["direct"]


def test_the_plain_sum_can_be_asked_for_and_serves_where_it_is_less_work(rng) -> None:
    x, weight, _, settings = arrays("even-outputs", rng, np.float32)
    options, layout = told(x, weight, settings)
    with config.using(algorithm="direct"):
        for gradient in (False, True):
            assert _kernels.conv2d_way(x.shape, weight.shape, options, (*layout, 0, 0, 0, 0), gradient) == "direct"
    few = (16, 4, 8, 12), (72, 4, 3, 3)
    for gradient in (False, True):
        assert _kernels.conv2d_way(*few, options, (*layout, 0, 0, 0, 0), gradient) == "direct"


@pytest.mark.parametrize("name", ["even-outputs", "groups"])
def test_fused_is_what_the_parts_give(name, isa, dtype, rng) -> None:
    x, weight, bias, settings = arrays(name, rng, dtype)
    options, (n, height, width) = told(x, weight, settings)
    scale = normal(rng, len(weight), dtype=dtype)
    run = _kernels.conv2d_forward["float" if dtype == np.float32 else "double"]
    plain = functional.conv2d(x, weight, None, *settings) * scale[:, None, None] + bias[:, None, None]
    for x_lanes, y_lanes, relu, pool in itertools.product((0, 1), repeat=4):
        expected = functional.relu(plain) if relu else plain
        expected = functional.max_pool2d(expected, 2) if pool else expected
        y = poisoned(in_lanes(expected).shape if y_lanes else expected.shape, dtype)
        layout = n, height, width, x_lanes, y_lanes, relu, pool
        run(y, None, in_lanes(x) if x_lanes else x, weight, bias, scale, options, layout)
        assert_close(y, in_lanes(expected) if y_lanes else expected, weight[0].size + 1, term=1.0)


@pytest.mark.parametrize("name", ["even-outputs", "odd-inputs-and-a-ragged-batch", MANY + "even-outputs"])
def test_gradients_in_lane_layout_and_before_relu_are_what_the_parts_give(name, isa, dtype, rng) -> None:
    x, weight, _, settings = arrays(name, rng, dtype)
    options, (n, height, width) = told(x, weight, settings)
    dy, y = (normal(rng, n, len(weight), height, width, dtype=dtype) for _ in range(2))
    run = _kernels.conv2d_backward["float" if dtype == np.float32 else "double"]
    for x_lanes, y_lanes, relu in itertools.product((0, 1), repeat=3):
        dx, dw, db = functional.conv2d_backward(dy * (y > 0) if relu else dy, x, weight, *settings)
        given, grad = in_lanes(x) if x_lanes else x, in_lanes(dy) if y_lanes else dy
        shut = (in_lanes(y) if y_lanes else y) if relu else None
        outs = [poisoned(a.shape, dtype) for a in (given, weight, db)]
        run(*outs, grad, shut, None, given, weight, options, (n, height, width, x_lanes, y_lanes, relu, 0))
        terms = 4 * len(weight), 4 * dy[:, 0].size, dy[:, 0].size
        for out, part, count in zip(outs, (in_lanes(dx) if x_lanes else dx, dw, db), terms, strict=True):
            assert_close(out, part, count, term=1.0)


@pytest.mark.parametrize(
    "name", ["odd-outputs-and-a-ragged-batch", "odd-inputs-and-a-ragged-batch", MANY + "odd-outputs", MANY + "groups"]
)
def test_same_bits_for_any_number_of_threads(name, isa, rng) -> None:
    x, weight, bias, settings = arrays(name, rng, np.float32)
    dy = normal(rng, len(x), len(weight), *told(x, weight, settings)[1][1:], dtype=np.float32)
    assert_same_bits_for_any_threads(
        lambda: [
            functional.conv2d(x, weight, bias, *settings),
            *functional.conv2d_backward(dy, x, weight, *settings),
        ]
    )
