"""What a row measures: a task, its contestants, and the check that their results are right."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from cnnlib import functional, reference
from cnnlib.bench.named import PASSES, NamedLayer
from cnnlib.errors import CNNError
from cnnlib.reference import Array

__all__ = ["Contestant", "KernelTask", "Results", "Task", "WrongResultError", "error_of", "verify"]

Results = tuple[Any, ...]

# Rivals may use other algorithms, and a pool may choose another of two nearly equal values: this only makes sure that
# they compute the same thing.
RIVAL_TOLERANCE = 1e-2

# Kinds whose definition is a single NumPy call, which writes into a buffer as cnnlib does.
ONE_CALL = ("relu", "tanh", "add", "subtract", "multiply", "divide", "reciprocal")

SCALE, OFFSET = 3.25, -1.5

LEARNING_RATE, MOMENTUM, WEIGHT_DECAY, ADAM_STEP = 1e-4, 0.9, 5e-4, 10


class WrongResultError(CNNError, ArithmeticError):
    """A contestant computed something else than the definition: its time would mean nothing."""


@dataclass(frozen=True)
class Contestant:
    """One way to do a task: what is timed, and how its results become arrays to be checked."""

    run: Callable[[], Any]
    results: Callable[[Any], Results] = lambda value: value


class Task(Protocol):
    """One row's work; the same numbers for every contestant."""

    @property
    def layer(self) -> str:
        """Its name in the table."""

    @property
    def which(self) -> str:
        """The pass."""

    @property
    def shape(self) -> str:
        """Its shape in words."""

    @property
    def batch(self) -> int:
        """How many images, or 0 where there are none."""

    @property
    def flops(self) -> int:
        """Floating-point operations, 0 where they are not what counts."""

    @property
    def bytes(self) -> int:
        """Bytes to move."""

    @property
    def tolerance(self) -> float:
        """The largest error that rounding explains."""

    @property
    def expected(self) -> Results:
        """The results in float64."""

    def contestant(self, name: str) -> Contestant:
        """Return "cnnlib" or "reference", with arrays of its own."""

    def error(self, results: Results) -> float:
        """Return how far results are from the expected ones, inf for a wrong shape or a NaN."""


@dataclass(frozen=True, eq=False)
class KernelTask:
    """One pass of one named layer through `cnnlib.functional`."""

    named: NamedLayer
    which: str
    arrays: Mapping[str, Array] = field(repr=False)

    @classmethod
    def of(cls, named: NamedLayer, which: str, seed: int = 371) -> KernelTask:
        """Return the task with its arrays drawn from a normal distribution."""
        rng = np.random.default_rng(seed)
        shapes = {"x": named.x, "w": named.w, "b": named.w[:1], "y": named.output_shape}
        needed = [name for name in shapes if name in PASSES[named.kind][which].split()]
        arrays: dict[str, Array] = {name: rng.standard_normal(shapes[name], np.float32) for name in needed}
        if which == "step":
            arrays |= {name: rng.standard_normal(named.w, np.float32) for name in ("dw", "m")}
            arrays["v"] = rng.random(named.w, np.float32)
        if divisor := {"divide": "w", "reciprocal": "x"}.get(named.kind):
            arrays[divisor] = np.abs(arrays[divisor]) + np.float32(0.5)  # of millions of numbers, some are 0
        if named.kind == "binary_cross_entropy":
            arrays["w"] = rng.random(named.w, np.float32)
        if named.kind == "cross_entropy":
            arrays["labels"] = rng.integers(0, named.x[1], named.x[0])
        return cls(named, which, arrays)

    @property
    def layer(self) -> str:
        """Its name in the table."""
        return self.named.name

    @property
    def shape(self) -> str:
        """Its shape in words."""
        return str(self.named)

    @property
    def batch(self) -> int:
        """How many images, or 0 where there are none."""
        return self.named.x[0] if self.named.x else 0

    @property
    def flops(self) -> int:
        """Floating-point operations, 0 where they are not what counts."""
        return self.named.flops(self.which)

    @property
    def bytes(self) -> int:
        """Bytes to move."""
        return self.named.bytes(self.which)

    @property
    def tolerance(self) -> float:
        """4 ε √n for sums of n products, n = 64 for what is no product of matrices."""
        named = self.named
        results = {"forward": [named.output_shape], "grad_x": [named.x], "grad_w": [named.w]}
        results["backward"] = [named.x, named.w]
        terms = named.multiply_adds // min(map(prod, results[self.which])) if named.multiply_adds else 64
        return float(4 * np.finfo(np.float32).eps * terms**0.5)

    @cached_property
    def expected(self) -> Results:
        """The results in float64."""
        return self._bind(reference, np.float64, [None] * 3).run()  # type: ignore[no-any-return]

    def contestant(self, name: str) -> Contestant:
        """Return "cnnlib", which writes into buffers of its own, or "reference"."""
        if name == "reference" and not (self.named.kind in ONE_CALL and self.which == "forward"):
            return self._bind(reference, np.float32, [None] * 3)
        buffers = [np.empty(np.shape(result), np.float32) for result in self.expected if np.ndim(result)]
        return self._bind(functional if name == "cnnlib" else reference, np.float32, [*buffers, None, None])

    def error(self, results: Results) -> float:
        """Return the largest deviation over the largest value, the worst of all results."""
        return error_of(results, self.expected)

    def _bind(self, module: ModuleType, dtype: type, out: Sequence[Array | None]) -> Contestant:
        numbers: dict[str, Array] = {
            name: array.astype(dtype) for name, array in self.arrays.items() if name != "labels"
        }
        arrays = {**self.arrays, **numbers}
        return Contestant(_call(module, self.named, self.which, arrays, out))


def _call(
    m: ModuleType, layer: NamedLayer, which: str, a: Mapping[str, Array], out: Sequence[Array | None]
) -> Callable[[], Results]:
    """Return the call of `m`, functional or reference, for a pass of `layer` on the arrays `a`."""
    window, kernel = (layer.stride, layer.padding), layer.w
    settings = (*window, 1, layer.groups)
    one, rest = out[0], (None, out[0], out[1])
    outs = out[0], out[1], out[2]
    match layer.kind, which:
        case "conv2d", "forward":
            return lambda: (m.conv2d(a["x"], a["w"], a["b"], *settings, out=one),)
        case "conv2d", "backward":
            return lambda: m.conv2d_backward(a["y"], a["x"], a["w"], *settings, out=outs)
        case "conv2d", "grad_x":
            x = np.empty(layer.x, a["y"].dtype)  # only its shape counts
            needs, first = (True, False, False), (one, None, None)
            return lambda: m.conv2d_backward(a["y"], x, a["w"], *settings, needs=needs, out=first)[:1]
        case "conv2d", "grad_w":
            w, needs = np.empty(layer.w, a["y"].dtype), (False, True, True)
            return lambda: m.conv2d_backward(a["y"], a["x"], w, *settings, needs=needs, out=rest)[1:]
        case (("max_pool2d" | "avg_pool2d"), "forward"):
            pool = getattr(m, layer.kind)
            return lambda: (pool(a["x"], kernel, *window, out=one),)
        case "max_pool2d", "grad_x" if m is functional:  # as training does it: forward has saved the winners
            pool = (kernel[0], kernel[1]), *window
            _, winners = functional.max_pool2d_winners(a["x"], *pool)
            return lambda: (functional.max_pool2d_winners_backward(a["y"], winners, layer.x, *pool, out=one),)
        case "max_pool2d", "grad_x":
            return lambda: (m.max_pool2d_backward(a["y"], a["x"], kernel, *window, out=one),)
        case "avg_pool2d", "grad_x":
            return lambda: (m.avg_pool2d_backward(a["y"], layer.x, kernel, *window, out=one),)
        case "linear", "forward":
            return lambda: (m.linear(a["x"], a["w"], a["b"], out=one),)
        case "linear", "grad_x":
            x, needs, first = np.empty(layer.x, a["y"].dtype), (True, False, False), (one, None, None)
            return lambda: m.linear_backward(a["y"], x, a["w"], needs=needs, out=first)[:1]
        case "linear", "grad_w":
            w, needs = np.empty(layer.w, a["y"].dtype), (False, True, True)
            return lambda: m.linear_backward(a["y"], a["x"], w, needs=needs, out=rest)[1:]
        case (("relu" | "sigmoid" | "tanh" | "leaky_relu" | "softmax"), "forward"):
            function = getattr(m, layer.kind)
            return lambda: (function(a["x"], out=one),)
        case (("relu" | "sigmoid" | "tanh" | "leaky_relu" | "softmax"), "grad_x"):
            gradient = getattr(m, f"{layer.kind}_backward")
            return lambda: (gradient(a["y"], a["x"], out=one),)
        case (("add" | "subtract" | "multiply" | "divide"), "forward"):
            function = getattr(m, layer.kind)
            return lambda: (function(a["x"], a["w"], out=one),)
        case "divide", _:
            return lambda: m.divide_backward(a["y"], a["w"], a["x"], out=outs[:2])
        case "affine", _:
            return lambda: (m.affine(a["x"], SCALE, OFFSET, out=one),)
        case "reciprocal", _:
            return lambda: (m.reciprocal(a["x"], SCALE, out=one),)
        case "prelu", "forward":
            return lambda: (m.prelu(a["x"], a["w"], out=one),)
        case "prelu", _:
            return lambda: m.prelu_backward(a["y"], a["x"], a["w"], out=outs[:2])
        case "batch_norm", "train":

            def train() -> Results:
                moments = m.batch_moments(a["x"])
                return m.batch_norm(a["x"], *moments, a["w"], a["b"], out=one), *moments

            return train
        case "batch_norm", "infer":
            moments = m.batch_moments(a["x"])
            return lambda: (m.batch_norm(a["x"], *moments, a["w"], a["b"], out=one),)
        case "batch_norm", _:
            moments = m.batch_moments(a["x"])
            return lambda: m.batch_norm_backward(a["y"], a["x"], *moments, a["w"], out=outs)
        case (("mse_loss" | "l1_loss"), _):
            function = getattr(m, layer.kind)
            return lambda: function(a["x"], a["w"], out=one)
        case "binary_cross_entropy", _:
            return lambda: m.binary_cross_entropy(a["x"], a["w"], from_logits=True, out=one)
        case "cross_entropy", _:
            return lambda: m.cross_entropy(a["x"], a["labels"], out=one)
        case "sgd", _:

            def sgd() -> Results:
                m.sgd_step(a["w"], a["dw"], a["m"], LEARNING_RATE, MOMENTUM, WEIGHT_DECAY)
                return a["w"], a["m"]

            return sgd

    def adam() -> Results:
        m.adam_step(a["w"], a["dw"], a["m"], a["v"], ADAM_STEP, LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        return a["w"], a["m"], a["v"]

    return adam


def error_of(results: Results, expected: Results, size: Callable[[Array], Any] = np.max) -> float:
    """Return the deviation over the expected value, the worst of all results; inf for a wrong shape or a NaN.

    size: what makes one number of the magnitudes of an array's elements, the largest or, with `np.linalg.norm` for
    vectors, their length.

    >>> error_of((np.array([1.0, 2.5]),), (np.array([1.0, 2.0]),))
    0.25
    """
    worst = 0.0
    for result, right in zip(results, expected, strict=True):
        if np.shape(result) != np.shape(right):
            return np.inf
        deviation = size(np.abs(np.ravel(result) - np.ravel(right))) / size(np.abs(np.ravel(right)))
        worst = max(worst, np.inf if np.isnan(deviation) else float(deviation))
    return worst


def verify(task: Task, name: str, contestant: Contestant) -> float:
    """Run `contestant` once and return its error; raises WrongResultError if it is beyond rounding."""
    error = task.error(contestant.results(contestant.run()))
    tolerance = task.tolerance if name in ("cnnlib", "reference") else max(task.tolerance, RIVAL_TOLERANCE)
    if error > tolerance:
        raise WrongResultError(
            f"{name}, {task.layer} {task.which} ({task.shape}): error {error:.1e} against float64, expected at most "
            f"{tolerance:.1e}; nothing was timed. If it is cnnlib that is wrong, please report it with `cnnlib info`"
        )
    return error
