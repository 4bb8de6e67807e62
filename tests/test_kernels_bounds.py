"""No kernel touches memory outside its arrays: each call runs on arrays that touch a page without any access.

A stray read or write is a segmentation fault, so the calls run in a process of their own: this file, as a program.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import Array, guarded, in_lanes, normal

import cnnlib
from cnnlib import _kernels, functional, reference
from cnnlib.shapes import pool2d_geometry


@dataclass(frozen=True)
class Make:
    """Makes arrays of normal numbers, and copies, that touch the guard at their end ("after") or start ("before")."""

    side: str
    dtype: type
    rng: np.random.Generator

    def __call__(self, *shape: int) -> Array:
        return self.guard(normal(self.rng, *shape, dtype=self.dtype))

    def guard(self, array: Array) -> Array:
        return guarded(array, self.side)


def run(function: Callable[..., Any], *args: Any, **settings: Any) -> None:
    function(*args, **settings)
    print(function.__name__, args[0].dtype, flush=True)


def convolutions(make: Make) -> None:
    for n, c, h, w, k, r, s, stride, padding, dilation, groups in (
        (1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1),
        (3, 3, 5, 7, 5, 3, 3, 1, 0, 1, 1),
        (17, 2, 6, 9, 7, 5, 5, 1, 2, 1, 1),
        (16, 4, 9, 13, 6, 3, 2, (2, 3), (1, 0), (1, 2), 2),
        (5, 7, 6, 5, 7, 3, 3, 2, 1, 1, 7),
        (2, 9, 3, 3, 33, 1, 1, 1, 0, 1, 1),
        (2, 3, 2, 3, 4, 3, 3, 2, 5, 1, 1),
    ):
        x, weight, bias = make(n, c, h, w), make(k, c // groups, r, s), make(k)
        settings = (stride, padding, dilation, groups)
        shape = reference.conv2d(x, weight, bias, *settings).shape
        run(functional.conv2d, x, weight, bias, *settings, out=make(*shape))
        outs = make(*x.shape), make(*weight.shape), make(k)
        run(functional.conv2d_backward, make(*shape), x, weight, *settings, out=outs)


def pools(make: Make) -> None:
    for h, w, kernel, stride, padding in (
        (5, 7, 2, 2, 0),
        (9, 17, 3, 2, 1),
        (4, 3, (4, 3), 1, 0),
        (5, 6, 3, 2, 0),
        (1, 1, 2, 2, 1),
    ):
        for n, c in ((1, 1), (3, 5), (17, 2)):
            x, settings = make(n, c, h, w), (kernel, stride, padding)
            shape = reference.max_pool2d(x, *settings).shape
            for pool in ("max_pool2d", "avg_pool2d"):
                run(getattr(functional, pool), x, *settings, out=make(*shape))
                run(getattr(functional, f"{pool}_backward"), make(*shape), x, *settings, out=make(*x.shape))
            if h > 1 or w > 1:
                winners(make, x, shape, settings)


def winners(make: Make, x: Array, shape: tuple[int, ...], settings: tuple[Any, ...]) -> None:
    """Both passes by winners, in lane layout too; the winners' array is guarded as the others are."""
    grad = make(*shape)
    _, at = functional.max_pool2d_winners(x, *settings, out=make(*shape))
    run(functional.max_pool2d_winners_backward, grad, make.guard(at), x.shape, *settings, out=make(*x.shape))
    element = "float" if x.dtype == np.float32 else "double"
    kernel, stride, padding = pool2d_geometry(*settings)
    options = *kernel, *stride, *padding, 1, 1
    x, grad = make.guard(in_lanes(x)), make.guard(in_lanes(grad))
    at = make.guard(np.zeros(grad.size, np.uint8))
    _kernels.max_pool2d_forward[element](make(*grad.shape), at, x, options)
    _kernels.max_pool2d_grad[element](make(*x.shape), grad, None, at, options)
    _kernels.max_pool2d_grad[element](make(*x.shape), grad, x, None, options)
    _kernels.avg_pool2d_forward[element](make(*grad.shape), x, options)
    _kernels.avg_pool2d_grad[element](make(*x.shape), grad, options)


def linears(make: Make) -> None:
    sizes = (1, 1, 1), (3, 7, 5), (17, 33, 9), (8, 16, 16), (15, 20, 31), (33, 5, 65), (270, 50, 70)
    for n, inputs, outputs in sizes:
        x, weight, bias = make(n, inputs), make(outputs, inputs), make(outputs)
        run(functional.linear, x, weight, bias, out=make(n, outputs))
        outs = make(n, inputs), make(outputs, inputs), make(outputs)
        run(functional.linear_backward, make(n, outputs), x, weight, out=outs)
        kind, vector = ("float", 1) if x.dtype == np.float32 else ("double", 2)
        lanes = _kernels.lanes() // vector
        padded = -(-n // lanes) * lanes
        for x_lanes, y_lanes, relu in ((True, True, True), (True, False, False), (False, True, True)):
            xs, dx = (make((padded if x_lanes else n) * inputs) for _ in range(2))
            y, dy = (make((padded if y_lanes else n) * outputs) for _ in range(2))
            options, state = (n, x_lanes, y_lanes, relu), (weight, make(outputs, inputs), None)
            _kernels.linear_forward[kind](y, xs, weight, bias, options)
            step = (0, 1, 0, 0.1, 0.1, 0.9, 0, 0, 0, 0)  # Nesterov's
            _kernels.linear_backward[kind](dx, None, bias, dy, xs, weight, y, options, state, step)


def elementwise(make: Make) -> None:
    for length in (1, 2, 3, 7, 8, 9, 15, 16, 17, 33):
        run(functional.relu, make(length), out=make(length))
        run(functional.relu_backward, make(length), make(length), out=make(length))
        for name in ("add", "divide"):
            run(getattr(functional, name), make(length), make(length), out=make(length))
        run(functional.divide_backward, make(length), make(length), make(length), out=(make(length), make(length)))
        run(functional.affine, make(length), 3, 1, out=make(length))
        run(functional.reciprocal, make(length), 3, out=make(length))
        run(functional.dropout, make(length), 0.5, 7, out=make(length))
        run(functional.dropout, make(3, length), 0.5, 7, length, out=make(3, length))
        for name in ("mse_loss", "l1_loss", "binary_cross_entropy"):
            run(getattr(functional, name), make(length), make(length), out=make(length))
        run(functional.sgd_step, make(length), make(length), make(length), 0.1, 0.9)
        second_moment = make(length)
        np.square(second_moment, out=second_moment)
        run(functional.adam_step, make(length), make(length), make(length), second_moment, 1, 0.1)
        for name in ("sigmoid", "tanh", "leaky_relu"):
            run(getattr(functional, name), make(length), out=make(length))
            run(getattr(functional, f"{name}_backward"), make(length), make(length), out=make(length))
        for shape in ((3, length), (2, 3, length, 2)):
            x, vector = make(*shape), [make(shape[1]) for _ in range(4)]
            run(functional.prelu, x, vector[0], out=make(*shape))
            run(functional.prelu_backward, make(*shape), x, vector[0], out=(make(*shape), vector[1]))
            mean, var = functional.batch_moments(x)
            run(functional.batch_norm, x, mean, var, *vector[:2], out=make(*shape))
            run(functional.batch_norm_backward, make(*shape), x, mean, var, out=(make(*shape), *vector[2:]))
        for n in (1, 3):
            run(functional.softmax, make(n, length), out=make(n, length))
            run(functional.softmax_backward, make(n, length), make(n, length), out=make(n, length))
            run(functional.cross_entropy, make(n, length), np.zeros(n, int), out=make(n, length))
            run(functional.cross_entropy, make(n, length), make(n, length), out=make(n, length))


def main(task: str, side: str) -> None:
    rng = np.random.default_rng(8)
    if task == "stray":  # what the guard is for: one byte past the side that it guards
        array = guarded(np.zeros(5), side)
        ctypes.string_at(array.ctypes.data + (array.nbytes if side == "after" else -1), 1)
    for dtype in (np.float32, np.float64):
        for family in (convolutions, pools, linears, elementwise):
            family(Make(side, dtype, rng))


def run_program(task: str, side: str, isa: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(Path(cnnlib.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, __file__, task, side],
        env={**os.environ, "PYTHONPATH": path, "CNNLIB_ISA": isa},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="guard pages are made by Linux's mprotect")


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("isa", _kernels.isa_supported())
def test_kernels_stay_inside_their_arrays(isa: str, side: str) -> None:
    done = run_program("kernels", side, isa)
    assert done.returncode == 0, f"after these calls:\n{done.stdout[-300:]}\n{done.stderr[-3000:]}"
    assert done.stdout.endswith("cross_entropy float64\n")  # the last call


@pytest.mark.parametrize("side", ["before", "after"])
def test_the_guard_catches_one_stray_byte(side: str) -> None:
    assert run_program("stray", side, _kernels.isa_active()).returncode < 0


if __name__ == "__main__":
    faulthandler.enable()
    main(*sys.argv[1:])
