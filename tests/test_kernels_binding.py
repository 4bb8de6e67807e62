"""The binding refuses what would break memory, without help from the checks above it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cnnlib import _kernels

CONV = (1, 1, 1, 1, 1, 1, 1)
L = _kernels.lanes()
LAYOUT = (2, 6, 6, 0, 0, 0, 0)
POOL = (2, 2, 2, 2, 0, 0, 0, 0, 0, 0)


def f(*shape: int) -> np.ndarray[Any, Any]:
    return np.ones(shape, np.float32)


def good() -> dict[str, list[Any]]:
    """Arguments that every function takes."""
    image, weight, pooled = f(2, 3, 6, 6), f(4, 3, 3, 3), f(2, 3, 3, 3)
    winners = np.zeros(-(-6 // L) * L * 9, np.uint8)
    return {
        "conv2d_forward": [f(2, 4, 6, 6), None, image, weight, f(4), f(4), CONV, LAYOUT],
        "conv2d_backward": [
            *(f(2, 3, 6, 6), f(4, 3, 3, 3), f(4), f(2, 4, 6, 6), f(2, 4, 6, 6), None),
            *(image, weight, CONV, LAYOUT),
        ],
        "to_lanes": [f(-(-2 // L) * L * 3), f(2, 3)],
        "from_lanes": [f(2, 3), f(-(-2 // L) * L * 3)],
        "max_pool2d_forward": [pooled, winners, image, POOL],
        "max_pool2d_grad": [f(2, 3, 6, 6), pooled, image, winners, POOL],
        "avg_pool2d_forward": [pooled, image, POOL],
        "avg_pool2d_grad": [f(2, 3, 6, 6), pooled, POOL],
        "linear_forward": [f(8), f(6), f(4, 3), f(4), (2, 0, 0, 0)],
        "linear_backward": [f(6), f(4, 3), f(4), f(8), f(6), f(4, 3), f(8), (2, 0, 0, 1)],
        "arithmetic": [f(5), f(5), f(5), 3],
        "divide_grad_b": [f(5), f(5), f(5), f(5)],
        "affine": [f(5), f(5), 2.0, 1.0],
        "reciprocal": [f(5), f(5), 2.0],
        "all_finite": [f(5)],
        "relu_forward": [f(5), f(5)],
        "relu_grad": [f(5), f(5), f(5)],
        "activation": [f(5), f(5), f(5), _kernels.ELU, 0.1, 0.2],
        "prelu_forward": [f(2, 3, 4), f(2, 3, 4), f(3)],
        "prelu_grad": [f(2, 3, 4), f(3), f(2, 3, 4), f(2, 3, 4), f(3)],
        "batch_moments": [f(3), f(3), f(2, 3, 4)],
        "batch_norm_forward": [f(2, 3, 4), f(2, 3, 4), f(3), f(3), f(3), f(3), 1e-5, True],
        "batch_norm_grad": [f(2, 3, 4), f(3), f(3), f(2, 3, 4), f(2, 3, 4), f(3), f(3), f(3), f(3), 1e-5, True],
        "local_response": [f(2, 3, 4), f(2, 3, 4), f(2, 3, 4), f(2, 3, 4), (1, 1, 0.1, 0.5, 1.0)],
        "softmax_forward": [f(2, 3), f(2, 3), True],
        "softmax_grad": [f(2, 3), f(2, 3), f(2, 3), False],
        "cross_entropy": [f(2, 3), f(2, 3), None, f(2, 3)],
        "dropout": [f(2, 3), f(2, 3), 0.5, 7],
        "loss": [f(6), f(6), f(6), 2, 1],
        "sgd_step": [f(5), f(5), f(5), 0.1, 0.9, 0.0, False],
        "warp": [image.copy(), image, np.ones((2, 2, 3)), f(2, 2, 6, 6), 0.0],
        "adam_step": [f(5), f(5), f(5), f(5), 1, 0.1, 0.9, 0.999, 1e-8, 0.0, False],
        "rmsprop_step": [f(5), f(5), f(5), f(5), f(5), 0.1, 0.99, 1e-8, 0.0, 0.9],
        "adagrad_step": [f(5), f(5), f(5), 1, 0.1, 0.0, 1e-10, 0.0],
        "lion_step": [f(5), f(5), f(5), 0.1, 0.9, 0.99, 0.0],
    }


ARRAYS = [
    (name, position)
    for name, arguments in good().items()
    for position, value in enumerate(arguments)
    if isinstance(value, np.ndarray)
]


def refuses(name: str, arguments: list[Any]) -> bool:
    function: Callable[..., Any] = getattr(_kernels, name)["float"]
    with pytest.raises((ValueError, TypeError, BufferError)):
        function(*arguments)
    return True


def test_every_array_function_of_the_binding_is_in_the_table() -> None:
    functions = {name for name in dir(_kernels) if type(getattr(_kernels, name)).__name__ == "fused_cython_function"}
    assert functions == set(good())


@pytest.mark.parametrize("name", good())
def test_good_arguments_pass(name: str) -> None:
    getattr(_kernels, name)["float"](*good()[name])


@pytest.mark.parametrize(("name", "position"), ARRAYS)
def test_wrong_arrays_are_refused(name: str, position: int) -> None:
    """Wrong dtype, integers, wrong rank, not contiguous, one size off, empty, not an array."""
    right = good()[name][position]
    axis = min(1, right.ndim - 1)  # channels or features; an image may be higher and wider than its output needs
    off_by_one = np.repeat(right, [2] + [1] * (right.shape[axis] - 1), axis)
    spaced = np.ones((*right.shape[:-1], 2 * right.shape[-1]), np.float32)[..., ::2]
    for wrong in (
        right.astype(np.float64 if right.dtype == np.float32 else np.float32),
        right.astype(np.int32),
        right.astype(">f4"),
        right[None],
        right[0],
        spaced,
        spaced if name == "all_finite" else off_by_one,  # which takes any length
        right[:0],
        "text",
    ):
        arguments = good()[name]
        arguments[position] = wrong
        assert refuses(name, arguments), wrong


OUTPUTS = {
    "conv2d_backward": (0, 1, 2),
    "max_pool2d_forward": (0, 1),
    "sgd_step": (0, 1),
    "adam_step": (0, 1, 2),
    "rmsprop_step": (0, 1, 2, 3),
    "adagrad_step": (0, 1),
    "lion_step": (0, 1),
    "prelu_grad": (0, 1),
    "batch_moments": (0, 1),
    "batch_norm_grad": (0, 1, 2),
    "linear_backward": (0, 1, 2),
    "local_response": (0, 1),
    "all_finite": (),
}


@pytest.mark.parametrize("name", good())
def test_read_only_outputs_are_refused_and_inputs_are_not(name: str) -> None:
    outputs = OUTPUTS.get(name, (0,))
    arguments = good()[name]
    for position, value in enumerate(arguments):
        if isinstance(value, np.ndarray) and position not in outputs:
            value.flags.writeable = False
    getattr(_kernels, name)["float"](*arguments)
    for position in outputs:
        arguments = good()[name]
        arguments[position].flags.writeable = False
        assert refuses(name, arguments)


@pytest.mark.parametrize("change", [(0, 0), (1, 0), (2, -1), (3, 2**62), (4, 0), (5, 2**40), (6, 0), (6, 2), (6, -1)])
def test_impossible_convolutions_are_refused(change: tuple[int, int]) -> None:
    options = list(CONV)
    options[change[0]] = change[1]
    for name in ("conv2d_forward", "conv2d_backward"):
        arguments = good()[name]
        arguments[-2] = tuple(options)
        assert refuses(name, arguments)


@pytest.mark.parametrize("change", [(0, 1), (0, 2**62), (1, 0), (1, 7), (2, -1), (3, 1), (4, 1), (6, 1)])
def test_impossible_layouts_are_refused(change: tuple[int, int]) -> None:
    """Another number of images, other outputs, lanes where there are none, a pool without its winners."""
    layout = list(LAYOUT)
    layout[change[0]] = change[1]
    for name in ("conv2d_forward", "conv2d_backward"):
        assert refuses(name, [*good()[name][:-1], tuple(layout)])


@pytest.mark.parametrize("p", [-0.1, 1.0, float("nan")])
def test_impossible_proportions_are_refused(p: float) -> None:
    assert refuses("dropout", [*good()["dropout"][:2], p, 7])


@pytest.mark.parametrize("name", ["prelu_grad", "batch_norm_grad"])
def test_gradients_that_nobody_needs_are_left_out(name: str) -> None:
    arguments = good()[name]
    arguments[0] = None
    getattr(_kernels, name)["float"](*arguments)
    if name == "prelu_grad":
        arguments[:2] = f(2, 3, 4), None
        getattr(_kernels, name)["float"](*arguments)


@pytest.mark.parametrize("operation", [-1, 4])
def test_unknown_operations_are_refused(operation: int) -> None:
    assert refuses("arithmetic", [*good()["arithmetic"][:3], operation])
    assert refuses("loss", [*good()["loss"][:4], operation])
    assert refuses("loss", [*good()["loss"][:3], 0, 1])


@pytest.mark.parametrize(
    "change", [(0, 0), (1, 2**31), (2, 0), (2, 3), (3, 2**62), (4, 2), (5, -1), (5, 2**40), (6, -1), (9, 1)]
)
def test_impossible_pools_are_refused(change: tuple[int, int]) -> None:
    options = list(POOL)
    options[change[0]] = change[1]
    for name in (name for name in good() if "pool2d" in name):
        arguments = good()[name]
        arguments[-1] = tuple(options)
        assert refuses(name, arguments)


@pytest.mark.parametrize(
    "options", [(3, 0, 0, 0), (0, 0, 0, 0), (2**40, 0, 0, 0), (2, 1, 0, 0), (2, 0, 1, 0), (2, 0, 0)]
)
def test_impossible_linear_options_are_refused(options: tuple[int, ...]) -> None:
    for name in ("linear_forward", "linear_backward"):
        arguments = good()[name]
        arguments[-1] = options
        assert refuses(name, arguments)


def test_linear_backward_refuses_steps_of_other_arrays() -> None:
    sgd, adam = (0, 0, 0, 0, *[0.1] * 7), (0, 1, 0, 0, *[0.1] * 7)
    arguments = good()["linear_backward"]
    weight, state = arguments[5], f(4, 3)
    function = _kernels.linear_backward["float"]
    function(*arguments, (weight, None, None), sgd)
    function(*arguments, (weight, state, state.copy()), adam)
    assert refuses("linear_backward", [*arguments[:6], None, *arguments[7:]])
    for wrong, update in (
        ((f(4, 3), None, None), sgd),
        ((weight, f(4, 4), None), sgd),
        ((weight, state.astype(np.float64), None), sgd),
        ((weight, None), sgd),
        (None, sgd),
        ((weight, state, None), adam),
        ((weight, state, state), adam[:-1]),
    ):
        assert refuses("linear_backward", [*arguments, wrong, update]), wrong
    weight.flags.writeable = False
    assert refuses("linear_backward", [*arguments, (weight, None, None), sgd])
