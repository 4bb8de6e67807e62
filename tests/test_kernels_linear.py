"""The dense product's kernels of every instruction set against the definition in float64."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from helpers import assert_close, assert_same_bits_for_any_threads, normal, poisoned
from hypothesis import given
from hypothesis import strategies as st

from cnnlib import _kernels, functional, reference

Array = np.ndarray[Any, Any]


def check(n: int, inputs: int, outputs: int, rng: np.random.Generator, dtype: type) -> None:
    """Compare output and all gradients, each written over NaN, with the float64 definition."""
    x, weight = normal(rng, n, inputs, dtype=dtype), normal(rng, outputs, inputs, dtype=dtype)
    bias, grad = normal(rng, outputs, dtype=dtype), normal(rng, n, outputs, dtype=dtype)
    x64, weight64, bias64, grad64 = (a.astype(np.float64) for a in (x, weight, bias, grad))

    y = functional.linear(x, weight, bias, out=poisoned((n, outputs), dtype))
    assert_close(y, reference.linear(x64, weight64, bias64), inputs + 1, term=1.0)
    assert_close(functional.linear(x, weight), reference.linear(x64, weight64), inputs, term=1.0)

    outs: Any = tuple(poisoned(a.shape, dtype) for a in (x, weight, bias))
    grads = functional.linear_backward(grad, x, weight, out=outs)
    truth = reference.linear_backward(grad64, x64, weight64)
    for actual, out, wanted, terms in zip(grads, outs, truth, (outputs, n, n), strict=True):
        assert actual is out
        assert_close(actual, wanted, terms, term=1.0)


EDGES = (1, 2, 3, 5, 7, 8, 15, 16, 17, 33)


@pytest.mark.parametrize(
    ("n", "inputs", "outputs"),
    [
        *((n, 19, 11) for n in EDGES),
        *((5, inputs, 6) for inputs in (*EDGES, 4, 6, 9, 20, 31, 64, 65, 250)),
        *((4, 13, outputs) for outputs in (*EDGES, 4, 6, 9, 10, 20, 31, 64, 65)),
        *((size, size, size) for size in EDGES),
        (64, 245, 50),
        (65, 500, 10),
    ],
)
def test_linear(isa, rng, dtype, n, inputs, outputs) -> None:
    check(n, inputs, outputs, rng, dtype)


@given(n=st.integers(1, 70), inputs=st.integers(1, 70), outputs=st.integers(1, 70), seed=st.integers(0, 2**32 - 1))
def test_drawn_linear(isa, dtype, n, inputs, outputs, seed) -> None:
    check(n, inputs, outputs, np.random.default_rng(seed), dtype)


@pytest.mark.parametrize("needs", [(True, False, False), (False, True, False), (False, False, True)])
def test_only_needed_gradients_are_computed(isa, rng, needs) -> None:
    grad, x, weight = (normal(rng, *shape, dtype=np.float32) for shape in ((4, 6), (4, 5), (6, 5)))
    everything = functional.linear_backward(grad, x, weight)
    for needed, some, full in zip(
        needs, functional.linear_backward(grad, x, weight, needs=needs), everything, strict=True
    ):
        if needed:
            np.testing.assert_array_equal(some, full)
        else:
            assert some is None


@pytest.mark.parametrize(("n", "inputs", "outputs"), [(64, 490, 100), (1, 3000, 200), (300, 30, 10)])
def test_same_bits_for_any_threads(isa, rng, dtype, n, inputs, outputs) -> None:
    x, weight = normal(rng, n, inputs, dtype=dtype), normal(rng, outputs, inputs, dtype=dtype)
    grad, bias = normal(rng, n, outputs, dtype=dtype), normal(rng, outputs, dtype=dtype)
    assert_same_bits_for_any_threads(
        lambda: (functional.linear(x, weight, bias), *functional.linear_backward(grad, x, weight))
    )


def test_a_row_does_not_depend_on_its_neighbours(isa, rng, dtype) -> None:
    x, weight = normal(rng, 19, 21, dtype=dtype), normal(rng, 7, 21, dtype=dtype)
    clean = functional.linear(x, weight)
    x[7, 20] = np.nan
    dirty = functional.linear(x, weight)
    others = np.arange(19) != 7
    np.testing.assert_array_equal(dirty[others], clean[others])
    assert np.isnan(dirty[7]).all()


# ---- what only plans use: lanes at either edge, the rectifier, the optimizer's step in the same call


def lanes(dtype: type) -> int:
    return _kernels.lanes() * 4 // np.dtype(dtype).itemsize


def to_lanes(rows: Array, spare: float = 0.0) -> Array:
    """Return rows [n][features] as [ceil(n/L)][features][L], flat, with `spare` in the lanes past n."""
    length = lanes(rows.dtype.type)
    padded = np.full((-(-len(rows) // length) * length, rows.shape[1]), spare, rows.dtype)
    padded[: len(rows)] = rows
    return np.ascontiguousarray(padded.reshape(-1, length, rows.shape[1]).swapaxes(1, 2)).reshape(-1)


def from_lanes(flat: Array, n: int) -> Array:
    length = lanes(flat.dtype.type)
    groups = -(-n // length)
    return flat.reshape(groups, -1, length).swapaxes(1, 2).reshape(groups * length, -1)[:n]


def edge(rows: Array, in_lanes: bool, spare: float = 0.0) -> Array:
    return to_lanes(rows, spare) if in_lanes else rows.reshape(-1)


def forward(x: Array, weight: Array, bias: Array | None, x_lanes: bool, y_lanes: bool, relu: bool) -> Array:
    """Return the rows of the output; spare lanes of x hold numbers, as after a layer with a bias."""
    n, outputs = len(x), len(weight)
    out = edge(poisoned((n, outputs), x.dtype.type), y_lanes, np.nan)
    options = (n, x_lanes, y_lanes, relu)
    _kernels.linear_forward["float" if x.dtype == np.float32 else "double"](
        out, edge(x, x_lanes, 0.5), weight, bias, options
    )
    assert np.isfinite(out).all() or np.isnan(x).any()
    return from_lanes(out, n) if y_lanes else out.reshape(n, outputs)


def backward(
    dy: Array,
    x: Array,
    weight: Array,
    y: Array | None,
    x_lanes: bool,
    y_lanes: bool,
    needs: tuple[bool, ...],
    **step: Any,
) -> tuple[Array | None, ...]:
    """Return dx (in rows), dw and db."""
    n, dtype = len(x), x.dtype.type
    dx = edge(poisoned(x.shape, dtype), x_lanes, np.nan) if needs[0] else None
    dw = poisoned(weight.shape, dtype) if needs[1] else None
    db = poisoned(weight.shape[:1], dtype) if needs[2] else None
    mask = None if y is None else edge(y, y_lanes)
    options = (n, x_lanes, y_lanes, y is not None)
    _kernels.linear_backward["float" if dtype == np.float32 else "double"](
        dx, dw, db, edge(dy, y_lanes), edge(x, x_lanes, 0.5), weight, mask, options, **step
    )
    if dx is not None and x_lanes:
        assert not dx[to_lanes(np.zeros_like(x), 1.0) == 1.0].any()  # spare lanes of a gradient
        return from_lanes(dx, n), dw, db
    return None if dx is None else dx.reshape(x.shape), dw, db


SHAPES = [
    *((n, 19, 11) for n in EDGES),
    (5, 250, 6),
    (9, 64, 33),
    (33, 500, 10),
    (64, 245, 150),
    (300, 40, 70),
    (530, 130, 30),
]
EDGE_LAYOUTS = list(product((False, True), repeat=2))


@pytest.mark.parametrize(("n", "inputs", "outputs"), SHAPES)
def test_layouts_and_the_rectifier_change_no_bit(isa, rng, dtype, n, inputs, outputs) -> None:
    x, weight = normal(rng, n, inputs, dtype=dtype), normal(rng, outputs, inputs, dtype=dtype)
    bias, dy = normal(rng, outputs, dtype=dtype), normal(rng, n, outputs, dtype=dtype)
    linear = functional.linear(x, weight, bias)
    rectified = functional.relu(linear)
    assert (rectified == 0).any()
    gradients = functional.linear_backward(dy, x, weight)
    masked = functional.linear_backward(functional.relu_backward(dy, linear), x, weight)
    for layout in EDGE_LAYOUTS:
        np.testing.assert_array_equal(forward(x, weight, bias, *layout, False), linear)
        np.testing.assert_array_equal(forward(x, weight, bias, *layout, True), rectified)
        for y, expected in ((None, gradients), (rectified, masked)):
            for actual, wanted in zip(backward(dy, x, weight, y, *layout, (True, True, True)), expected, strict=True):
                np.testing.assert_array_equal(actual, wanted)


@pytest.mark.parametrize("n", [1, 3, 9, 40])
def test_the_rectifier_lets_nan_through_and_its_gradient_stops_there(isa, rng, dtype, n) -> None:
    x, weight = normal(rng, n, 21, dtype=dtype), normal(rng, 7, 21, dtype=dtype)
    x[n - 1, 3] = np.nan
    for layout in EDGE_LAYOUTS:
        y = forward(x, weight, None, *layout, True)
        assert np.isnan(y[n - 1]).all()
        assert not np.isnan(y[: n - 1]).any()
        dx, _, db = backward(np.ones_like(y), x, weight, y, *layout, (True, False, True))
        assert dx is not None
        assert not dx[n - 1].any()
        np.testing.assert_array_equal(db, (y > 0).sum(0))


STEPS: dict[str, tuple[int, tuple[Any, ...]]] = {  # how many arrays of state, the fields of cnn_update
    "sgd": (0, (0, 0, 0, 0, 0.1, 0.01, 0, 0, 0, 0, 0)),
    "momentum": (1, (0, 0, 0, 0, 0.1, 0.01, 0.9, 0, 0, 0, 0)),
    "nesterov": (1, (0, 0, 1, 0, 0.1, 0, 0.9, 0, 0, 0, 0)),
    "adam": (2, (0, 1, 0, 0, 0.1, 0.01, 0, 3, 0.9, 0.99, 1e-8)),
    "adamw": (2, (0, 1, 0, 1, 0.1, 0.01, 0, 3, 0.9, 0.99, 1e-8)),
}


def step_afterwards(weight: Array, state: list[Array], dw: Array, update: tuple[Any, ...]) -> None:
    _, adam, nesterov, decoupled, lr, decay, momentum, step, beta1, beta2, eps = update
    if adam:
        functional.adam_step(weight, dw, *state, step, lr, beta1, beta2, eps, decay, bool(decoupled))
    else:
        functional.sgd_step(weight, dw, state[0] if state else None, lr, momentum, decay, bool(nesterov))


@pytest.mark.parametrize("rule", STEPS)
@pytest.mark.parametrize(
    ("n", "inputs", "outputs"), [(1, 19, 11), (17, 250, 6), (64, 245, 150), (300, 40, 70), (530, 130, 30)]
)
def test_a_step_in_the_same_call_has_the_bits_of_one_afterwards(isa, rng, dtype, rule, n, inputs, outputs) -> None:
    x, weight, dy = (normal(rng, *s, dtype=dtype) for s in ((n, inputs), (outputs, inputs), (n, outputs)))
    count, update = STEPS[rule]
    state = [np.abs(normal(rng, outputs, inputs, dtype=dtype)) for _ in range(count)]
    dx, dw, db = functional.linear_backward(dy, x, weight)
    assert dw is not None
    stepped = [weight.copy(), *(a.copy() for a in state)]
    step_afterwards(stepped[0], stepped[1:], dw, update)
    assert (stepped[0] != weight).mean() > 0.9
    for keep, first in product((True, False), repeat=2):  # whether dw is kept, whether dx is wanted, too
        arrays = [weight.copy(), *(a.copy() for a in state)]
        padded = (*arrays, None, None)[:3]
        actual = backward(dy, x, arrays[0], None, True, False, (first, keep, True), state=padded, update=update)
        wanted = (dx if first else None, dw if keep else None, db)
        for here, there in zip((*actual, *arrays), (*wanted, *stepped), strict=True):
            np.testing.assert_array_equal(here, there)


@pytest.mark.parametrize(("n", "inputs", "outputs"), [(64, 490, 100), (2, 3000, 200), (300, 30, 200), (600, 16, 128)])
def test_fused_calls_give_the_same_bits_for_any_threads(isa, rng, dtype, n, inputs, outputs) -> None:
    x, weight = normal(rng, n, inputs, dtype=dtype), normal(rng, outputs, inputs, dtype=dtype)
    dy, bias = normal(rng, n, outputs, dtype=dtype), normal(rng, outputs, dtype=dtype)
    _, update = STEPS["momentum"]

    def step() -> tuple[Array, ...]:
        arrays = weight.copy(), np.zeros_like(weight)
        y = forward(x, weight, bias, True, True, True)
        done = backward(dy, x, arrays[0], y, True, True, (True, False, True), state=(*arrays, None), update=update)
        return (y, *arrays, *(a for a in done if a is not None))

    assert_same_bits_for_any_threads(step)
