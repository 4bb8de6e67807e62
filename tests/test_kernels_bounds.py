"""No kernel touches memory outside its arrays: each call runs on arrays that touch a page without any access.

A stray read or write is a segmentation fault, so the calls run in a process of their own: this file, as a program. It
calls every function of the binding in both element types, and convolution in every way.
"""

from __future__ import annotations

import ctypes
import faulthandler
import itertools
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from guards import INSTANCES, KERNELS, Guards
from helpers import Array, guarded, in_lanes, normal

import cnnlib
from cnnlib import _kernels, functional
from cnnlib.config import ALGORITHMS
from cnnlib.functional.pooling import pool_options
from cnnlib.selftest.kernels import CURVES
from cnnlib.shapes import conv2d_output_shape, pair, pool2d_windows

WAYS = {"depthwise", "direct", "pixels", "pointwise", "tiles 5×5", "tiles 6×6", "tiles 7×7", "tiles 8×8", "unfolded"}
# N, C, H, W, K, kernel, stride, padding, dilation, groups: around vectors and tiles; the last may be fused, too.
CONVOLUTIONS = (
    (1, 1, 1, 1, 1, 1, 1, 0, 1, 1),
    (3, 3, 5, 7, 5, 3, 1, 0, 1, 1),
    (5, 7, 6, 5, 7, 3, 2, 1, 1, 7),
    (2, 3, 5, 33, 6, (1, 3), (3, 2), (0, 1), (1, 2), 3),
    (2, 9, 3, 3, 33, 1, 1, 0, 1, 1),
    (3, 5, 4, 8, 17, 1, 1, 0, 1, 1),
    (3, 5, 9, 7, 17, 1, (2, 3), 0, 1, 1),
    (2, 3, 2, 3, 4, 3, 2, 5, 1, 1),
    (2, 3, 9, 32, 5, 3, 1, 1, 1, 1),
    (3, 2, 6, 31, 5, 3, 1, 1, 1, 1),
    (1, 2, 7, 17, 9, (2, 3), (2, 1), (0, 1), 1, 1),
    (1, 32, 9, 7, 33, 3, 1, 1, 1, 1),
    (9, 64, 23, 15, 64, 3, 2, 1, 1, 1),
    (9, 224, 21, 19, 224, 3, 2, 1, 1, 1),
)
FUSED = (
    (17, 2, 6, 9, 7, 5, 1, 2, 1, 1),
    (16, 4, 9, 13, 6, (3, 2), (2, 3), (1, 0), (1, 2), 2),
    (33, 6, 9, 7, 64, 1, 1, 0, 1, 1),
    (9, 20, 14, 14, 50, 5, 1, 2, 1, 1),
    (17, 16, 13, 6, 24, 3, 1, (4, 0), 1, 1),
    (16, 32, 12, 15, 40, 5, 1, 0, 1, 2),
    (12, 3, 9, 8, 8, 3, (3, 2), (4, 0), (1, 2), 1),
    (16, 64, 8, 12, 72, 3, 2, 1, 1, 1),
)


@dataclass(frozen=True)
class Make:
    """Makes arrays of normal numbers; they need no guard of their own, as the guards see to what kernels get."""

    dtype: type
    rng: np.random.Generator

    def __call__(self, *shape: int) -> Array:
        return normal(self.rng, *shape, dtype=self.dtype)

    @property
    def element(self) -> str:
        return "float" if self.dtype == np.float32 else "double"

    @property
    def lanes(self) -> int:
        return int(_kernels.lanes() * 4 // np.dtype(self.dtype).itemsize)


def convolutions(make: Make) -> set[str]:
    """Call convolution by every algorithm, fused and not, and return by which ways."""
    ways = set()
    for algorithm, case in itertools.product(ALGORITHMS, CONVOLUTIONS + FUSED):
        _kernels.set_algorithm(algorithm)
        n, c, h, w, k, kernel, *window, groups = case
        print("convolution", algorithm, make.element, case, flush=True)
        x, weight, bias = make(n, c, h, w), make(k, c // groups, *pair(kernel, "kernel_size")), make(k)
        shape = conv2d_output_shape(x.shape, weight.shape, *window, groups)
        functional.conv2d(x, weight, bias, *window, groups)
        functional.conv2d_backward(make(*shape), x, weight, *window, groups)
        stride, padding, dilation = window
        larger = functional.conv_transpose2d(make(*shape), weight, make(c), stride, padding, 0, groups, dilation)
        functional.conv_transpose2d_backward(larger, make(*shape), weight, stride, padding, 0, groups, dilation)
        options = *itertools.chain(*(pair(value, "window") for value in window)), groups
        layout = n, *shape[2:], 0, 0, 0, 0
        ways |= {_kernels.conv2d_way(x.shape, weight.shape, options, layout, gradient) for gradient in (False, True)}
        if case in FUSED:
            fused(make, x, weight, options, shape)
    return ways


def fused(make: Make, x: Array, weight: Array, options: tuple[int, ...], shape: tuple[int, ...]) -> None:
    n, k, height, width = shape
    bias, scale = make(k), make(k)
    for x_lanes, y_lanes, relu, pool in itertools.product((0, 1), repeat=4):
        y = make(n, k, height // 2, width // 2) if pool else make(*shape)
        given, laid = in_lanes(x) if x_lanes else x, in_lanes(y)
        y = laid if y_lanes else y
        winner = np.zeros(laid.shape, np.uint8) if pool else None
        layout = n, height, width, x_lanes, y_lanes, relu, pool
        _kernels.conv2d_forward[make.element](y, winner, given, weight, bias, scale, options, layout)
        if pool and not y_lanes:
            _kernels.conv2d_forward[make.element](y, None, given, weight, bias, None, options, layout)
        grads = np.empty_like(given), np.empty_like(weight), np.empty_like(bias)
        dy = in_lanes(make(n, *y.shape[1:3], y.shape[3] // make.lanes)) if y_lanes else make(*y.shape)
        _kernels.conv2d_backward[make.element](*grads, dy, y, winner, given, weight, options, layout)


def pools(make: Make) -> None:
    for h, w, kernel, stride, padding, ceil_mode in (
        (5, 7, 2, 2, 0, False),
        (9, 17, 3, 2, 1, False),
        (4, 3, (4, 3), 1, 0, False),
        (5, 6, 3, 2, 0, True),
        (1, 1, 2, 2, 1, False),
        (7, 33, (3, 2), (3, 2), 0, False),
        (7, 33, 2, 2, 0, True),
        (8, 6, (4, 5), (3, 2), (0, 3, 3, 4), True),
        (2, 3, 5, 4, (0, 2, 4, 0), True),
    ):
        for n, c in ((1, 1), (3, 5), (17, 2)):
            x, window = make(n, c, h, w), (kernel, stride, padding)
            print("pool", make.element, x.shape, window, flush=True)
            y = functional.max_pool2d(x, *window, ceil_mode=ceil_mode)
            functional.max_pool2d_backward(make(*y.shape), x, *window, ceil_mode=ceil_mode)
            for count_include_pad in (True, False):
                functional.avg_pool2d(x, *window, count_include_pad, ceil_mode)
                functional.avg_pool2d_backward(make(*y.shape), x, *window, count_include_pad, ceil_mode)
            if h > 1 or w > 1:
                winners(make, x, y.shape, (*window, 1, ceil_mode))


def winners(make: Make, x: Array, shape: tuple[int, ...], settings: tuple[Any, ...]) -> None:
    """Both passes by winners, in lane layout too."""
    grad = make(*shape)
    _, at = functional.max_pool2d_winners(x, *settings)
    functional.max_pool2d_winners_backward(grad, at, x.shape, *settings)
    options = pool_options(pool2d_windows(*settings[:3]), True, True)
    x, grad = in_lanes(x), in_lanes(grad)
    at, y, dx = np.zeros(grad.size, np.uint8), np.empty_like(grad), np.empty_like(x)
    _kernels.max_pool2d_forward[make.element](y, at, x, options)
    _kernels.max_pool2d_grad[make.element](dx, grad, None, at, options)
    _kernels.max_pool2d_grad[make.element](dx, grad, x, None, options)
    _kernels.avg_pool2d_forward[make.element](y, x, options)
    _kernels.avg_pool2d_grad[make.element](dx, grad, options)


def linears(make: Make) -> None:
    sizes = (1, 1, 1), (3, 7, 5), (17, 33, 9), (8, 16, 16), (15, 20, 31), (33, 5, 65), (270, 50, 70)
    sgd, nesterov, adam = (
        (*kind, 0.1, 0.1, 0.9, 2, 0.9, 0.99, 1e-8) for kind in ((0, 0, 0, 0), (1, 0, 1, 0), (1, 1, 0, 1))
    )
    for n, inputs, outputs in sizes:
        print("linear", make.element, n, inputs, outputs, flush=True)
        x, weight, bias = make(n, inputs), make(outputs, inputs), make(outputs)
        functional.linear(x, weight, bias)
        functional.linear_backward(make(n, outputs), x, weight)
        for x_lanes, y_lanes, relu in itertools.product((0, 1), repeat=3):
            xs = in_lanes(x[..., None, None]).reshape(-1) if x_lanes else x.reshape(-1)
            y = make(-(-n // make.lanes) * make.lanes * outputs if y_lanes else n * outputs)
            options = n, x_lanes, y_lanes, relu
            _kernels.linear_forward[make.element](y, xs, weight, bias, options)
            dx, dw, dy = np.empty_like(xs), np.empty_like(weight), make(len(y))
            _kernels.linear_backward[make.element](dx, dw, bias, dy, xs, weight, y, options)
            for step, state in ((sgd, (None, None)), (nesterov, (make(*weight.shape), None)), (adam, (dw, dw**2))):
                _kernels.linear_backward[make.element](
                    dx, None, bias, dy, xs, weight, y, options, (weight, *state), step
                )
        shape = n, inputs
        lanes = make(-(-n // make.lanes) * make.lanes * inputs)
        _kernels.to_lanes[make.element](lanes, make(*shape))
        _kernels.from_lanes[make.element](make(*shape), lanes)


def elementwise(make: Make) -> None:
    for length in (1, 3, 7, 8, 15, 16, 17, 33, 70):
        print("elementwise", make.element, length, flush=True)
        for name in ("add", "subtract", "multiply", "divide"):
            getattr(functional, name)(make(length), make(length))
        functional.divide_backward(make(length), make(length), make(length))
        functional.affine(make(length), 3, 1)
        _kernels.all_finite[make.element](make(length))
        functional.reciprocal(make(length), 3)
        for name in ("relu", "sigmoid", "tanh", "leaky_relu", *CURVES):
            getattr(functional, name)(make(length))
            getattr(functional, f"{name}_backward")(make(length), make(length))
        functional.dropout(make(length), 0.5, 7)
        functional.dropout(make(3, length), 0.5, 7, length)
        for name in ("mse_loss", "l1_loss", "binary_cross_entropy"):
            getattr(functional, name)(make(length), make(length))
        functional.sgd_step(make(length), make(length), None, 0.1)
        functional.sgd_step(make(length), make(length), make(length), 0.1, 0.9)
        functional.adam_step(make(length), make(length), make(length), make(length) ** 2, 1, 0.1)
        functional.rmsprop_step(make(length), make(length), make(length) ** 2, None, None, 0.1)
        functional.rmsprop_step(
            make(length), make(length), make(length) ** 2, make(length), make(length), 0.1, momentum=0.9
        )
        functional.adagrad_step(make(length), make(length), make(length) ** 2, 1, 0.1)
        functional.lion_step(make(length), make(length), make(length), 0.1)
        for shape in ((3, length), (length, 3), (2, 3, length, 2)):
            channels(make, make(*shape))
        for n in (1, 3):
            for name in ("softmax", "log_softmax"):
                getattr(functional, name)(make(n, length))
                getattr(functional, f"{name}_backward")(make(n, length), make(n, length))
            functional.cross_entropy(make(n, length), np.zeros(n, int))
            functional.cross_entropy(make(n, length), make(n, length))


def channels(make: Make, x: Array) -> None:
    """What treats every channel in its own way."""
    functional.local_response_norm(x, 4)
    functional.local_response_norm_backward(make(*x.shape), x, 3)
    weight, bias = make(x.shape[1]), make(x.shape[1])
    functional.prelu(x, weight)
    functional.prelu_backward(make(*x.shape), x, weight)
    functional.prelu(x, weight[:1])
    functional.prelu_backward(make(*x.shape), x, weight[:1])
    moments = functional.batch_moments(x)
    functional.batch_norm(x, *moments, weight, bias)
    functional.batch_norm_backward(make(*x.shape), x, *moments, weight)
    flat, y = x.reshape(*x.shape[:2], -1), np.empty_like(x).reshape(*x.shape[:2], -1)
    _kernels.batch_norm_forward[make.element](y, flat, *moments, weight, bias, 1e-5, True)
    grads = np.empty_like(y), np.empty_like(weight), np.empty_like(bias)
    _kernels.batch_norm_grad[make.element](*grads, y, flat, *moments, weight, bias, 1e-5, True)


def warps(make: Make) -> None:
    """Images read all around themselves, and far from there; of bytes, too."""
    for shape in ((1, 1, 1, 1), (3, 2, 5, 7), (2, 3, 4, 1)):
        n, _, height, width = shape
        maps = np.concatenate([make(n, 2, 2) + np.eye(2), 5 * make(n, 2, 1)], axis=2)
        far = np.full((n, 2, 3), [[1, 0, 1e300], [0, 1, np.nan]])
        for x in (make(*shape), np.ones(shape, np.uint8)):
            for matrix, fill in ((maps, 0), (np.round(maps), 1), (far, 2)):
                functional.warp(x, matrix, None, fill)
                functional.warp(x, matrix, (3 * make(n, 2, height, width)).astype(np.float32), fill)


def main(task: str, side: str) -> None:
    if task == "stray":  # what the guard is for: one byte past the side that it guards
        array = guarded(np.zeros(5), side)
        ctypes.string_at(array.ctypes.data + (array.nbytes if side == "after" else -1), 1)
    guards = Guards(side)
    for dtype in (np.float32, np.float64):
        make = Make(dtype, np.random.default_rng(8))
        ways = convolutions(make)
        assert ways == WAYS, f"convolutions of {make.element} go by {sorted(ways)} alone"
        for family in (pools, linears, elementwise, warps):
            family(make)
    missing = {(name, element) for name in KERNELS for element in INSTANCES[name]} - guards.called
    assert not missing, f"never called: {sorted(missing)}"
    print("all kernels")


def run_program(task: str, side: str, isa: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(Path(cnnlib.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, __file__, task, side],
        env={**os.environ, "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8", "CNNLIB_ISA": isa},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="guard pages are made by Linux's mprotect")


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("isa", _kernels.isa_supported())
def test_kernels_stay_inside_their_arrays(isa: str, side: str) -> None:
    done = run_program("kernels", side, isa)
    assert done.returncode == 0, f"after these calls:\n{done.stdout[-300:]}\n{done.stderr[-3000:]}"
    assert done.stdout.endswith("all kernels\n")


@pytest.mark.parametrize("side", ["before", "after"])
def test_the_guard_catches_one_stray_byte(side: str) -> None:
    assert run_program("stray", side, _kernels.isa_active()).returncode < 0


def test_the_list_of_kernels_is_whole() -> None:
    """A function of the binding that takes arrays is one that the stubs give two instances."""
    stubs = (Path(cnnlib.__file__).parent / "_kernels.pyi").read_text(encoding="utf-8")
    assert sorted(re.findall(r"@_fused\ndef (\w+)", stubs)) == KERNELS


if __name__ == "__main__":
    faulthandler.enable()
    main(*sys.argv[1:])
