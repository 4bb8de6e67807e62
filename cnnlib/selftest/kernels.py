"""The self-test: every function of `cnnlib.functional` against its definition in `cnnlib.reference`, on this machine.

Each instruction set that the processor has computes each case in float32 and float64, into outputs full of NaN, on 1, 2
and 4 threads. It passes if the result is that of the definition in float64 up to the rounding of its longest sum, and
if the bits do not depend on the threads. At last LeNet-5 as a whole: its gradient against differences of its loss.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnlib import functional, reference
from cnnlib.config import get_isa, get_num_threads, supported_isas, using
from cnnlib.interpolation import MODES
from cnnlib.losses import CrossEntropyLoss
from cnnlib.models import lenet5
from cnnlib.optim import SGD
from cnnlib.shapes import BLOCK_ORDERS, PAD_MODES
from cnnlib.trainer import Trainer

__all__ = ["run"]

Array = NDArray[Any]

DTYPES = (np.float32, np.float64)
THREADS = (1, 2, 4)
TOLERANCE = 8  # in units of eps · √terms of the longest sum, relative to the largest element
# Functions of each number with a gradient from their input.
CURVES = ("elu", "gelu", "hardsigmoid", "hardswish", "hardtanh", "mish", "selu", "silu", "softplus", "softsign")
# N, C, H, W, K, R, S of a convolution, and its settings.
CONVOLUTIONS: tuple[tuple[tuple[int, ...], dict[str, Any]], ...] = (
    ((1, 1, 5, 5, 1, 3, 3), {}),
    ((2, 1, 28, 28, 20, 5, 5), {"padding": 2}),
    ((3, 20, 14, 14, 50, 5, 5), {"padding": 2}),
    ((3, 7, 4, 4, 5, 1, 1), {}),
    ((15, 4, 7, 6, 6, 2, 3), {"dilation": (2, 1), "groups": 2}),
    ((16, 16, 6, 6, 16, 3, 3), {"padding": 1}),
    ((17, 3, 9, 8, 7, 3, 3), {"stride": 2, "padding": 1}),
    ((17, 5, 6, 5, 5, 3, 3), {"padding": 1, "groups": 5}),
    ((33, 9, 7, 10, 11, 5, 5), {"padding": (0, 3)}),
)


@dataclass
class Case:
    """One call: arrays in float64 (and labels) and settings as `functional` takes them, terms of the longest sum."""

    function: str
    arrays: tuple[Any, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    terms: int = 1


@dataclass
class Outcome:
    """The largest error of some cases, relative and as a share of what is allowed; whether threads changed bits."""

    error: float = 0.0
    share: float = 0.0
    same_bits: bool = True
    crash: str = ""

    @property
    def passed(self) -> bool:
        """Whether there is nothing to complain about."""
        return self.share <= 1 and self.same_bits and not self.crash

    def __str__(self) -> str:
        if self.crash:
            return f"FAILED: {self.crash}"
        bits = "" if self.same_bits else ", FAILED: the bits depend on the number of threads"
        error = f"error {self.error:.1e}" if self.error else "exact"
        return f"{error:<13}{'' if self.share <= 1 else f', FAILED: {self.share:.1g} times the limit'}{bits}"


def run(write: Callable[[str], object] = print) -> bool:
    """Check all instruction sets of this machine, `write` a line a function, return whether all is right."""
    start, failures, checks = time.perf_counter(), 0, 0
    cases: dict[str, list[Case]] = {}
    for case in _cases(np.random.default_rng(371)):
        cases.setdefault(case.function, []).append(case)
    for isa in supported_isas():
        with using(isa=isa):
            write(f"{get_isa()}, {', '.join(map(str, THREADS))} threads")
            for function, group in cases.items():
                outcomes = {np.dtype(dtype).name: _caught(partial(check, group, dtype)) for dtype in DTYPES}
                passed = all(outcome.passed for outcome in outcomes.values())
                failures, checks = failures + (not passed), checks + 1
                texts = "   ".join(f"{dtype}: {outcome}" for dtype, outcome in outcomes.items())
                write(f"  {'ok    ' if passed else 'FAILED'}  {function:<19}  {len(group):2} cases   {texts}".rstrip())
            outcome = _caught(_check_lenet5)
            failures, checks = failures + (not outcome.passed), checks + 1
            write(f"  {'ok    ' if outcome.passed else 'FAILED'}  {'LeNet-5 as a whole':<19}  gradient   {outcome}")
    seconds = time.perf_counter() - start
    if failures:
        write(f"{failures} of {checks} checks FAILED: do not trust results on this machine; please report this output")
        write(f"(in use without CNNLIB_ISA: {get_isa()}, {get_num_threads()} threads)")
    else:
        write(f"all {checks} checks passed in {seconds:.1f} s")
    return not failures


def _caught(check: Callable[[], Outcome]) -> Outcome:
    """Return a check's outcome; whatever a broken build raises is a failed check, not the end of the test."""
    try:
        return check()
    except Exception as error:
        return Outcome(crash=f"{type(error).__name__}: {error}")


def check(cases: list[Case], dtype: type) -> Outcome:
    """Compare the cases with the definition in float64, and the bits on several numbers of threads."""
    outcome = Outcome()
    for case in cases:
        truth = _call(reference, case, dtype, np.float64)
        bits = set()
        for threads in THREADS:
            with using(threads=threads):
                result = _call(functional, case, dtype, dtype, _poisoned(case, truth, dtype))
            bits.add(b"".join(array.tobytes() for array in result))
        outcome.same_bits &= len(bits) == 1
        for actual, expected in zip(result, truth, strict=True):
            deviation = _error(actual, expected, case.terms)
            outcome.error = max(outcome.error, deviation)
            outcome.share = max(outcome.share, deviation / (TOLERANCE * np.finfo(dtype).eps * np.sqrt(case.terms)))
    return outcome


def _call(module: Any, case: Case, rounded: type, dtype: type, out: Any = None) -> list[Array]:
    """Call on fresh arrays, rounded to one dtype and given in another; return the results, or what was updated."""
    arrays = [a.astype(rounded).astype(dtype) if getattr(a, "dtype", None) == np.float64 else a for a in case.arrays]
    options = {} if out is None else {"out": out}
    result = getattr(module, case.function)(*arrays, **case.settings, **options)
    if result is None:
        return [array for array in arrays if array is not None]
    return [np.asarray(array) for array in (result if isinstance(result, tuple) else (result,))]


def _poisoned(case: Case, truth: list[Array], dtype: type) -> Any:
    """Return `out` full of NaN, which shows every element that a kernel fails to write or adds to."""
    if case.function.endswith("_step") or case.function == "batch_moments":
        return None
    outs: tuple[Array, ...] = tuple(np.full(array.shape, np.nan, dtype) for array in truth)
    return outs if len(outs) > 1 and case.function.endswith("_backward") else outs[-1]


def _error(actual: Array, expected: Array, terms: int) -> float:
    if actual.shape != expected.shape or not np.isfinite(actual).all():
        return float("inf")
    # A few sums may happen to cancel: terms of size 1 add up to about √terms.
    return float(np.abs(actual - expected).max() / max(np.abs(expected).max(), np.sqrt(terms)))


def _cases(rng: np.random.Generator) -> Iterator[Case]:
    """Sizes below, at and above the lanes (4, 8, 16) and tiles; strides, padding, dilation and groups."""
    normal = rng.normal
    for (n, c, h, w, k, r, s), settings in CONVOLUTIONS:
        x, weight = normal(size=(n, c, h, w)), normal(size=(k, c // settings.get("groups", 1), r, s))
        y = reference.conv2d(x, weight, **settings)
        yield Case("conv2d", (x, weight, normal(size=k)), settings, weight[0].size + 1)
        terms = max(y.size // k, weight[:, 0].size)
        yield Case("conv2d_backward", (normal(size=y.shape), x, weight), settings, terms)
        larger = reference.conv_transpose2d(y, weight, **settings)
        yield Case("conv_transpose2d", (y, weight, normal(size=c)), settings, weight[:, 0].size + 1)
        yield Case(
            "conv_transpose2d_backward", (normal(size=larger.shape), y, weight), settings, max(terms, larger.size)
        )
    for shape, *window in (
        ((1, 1, 2, 2), 2),
        ((17, 1, 8, 8), 2),
        ((3, 5, 7, 9), 3, 2, 1),
        ((2, 33, 6, 5), (2, 3), (1, 2), (1, 1)),
        ((3, 5, 8, 6), 3, 2, (0, 0, 1, 1)),
    ):
        settings = dict(zip(("kernel_size", "stride", "padding"), window, strict=False))
        x = rng.integers(-3, 4, size=shape).astype(np.float64)  # many ties
        for name in ("max_pool2d", "avg_pool2d"):
            y = getattr(reference, name)(x, **settings)
            yield Case(name, (x,), settings)
            yield Case(f"{name}_backward", (normal(size=y.shape), x), settings, 9)
        norms = reference.lp_pool2d(x, 2, **settings)
        yield Case("lp_pool2d", (x, 2), settings, 9)
        yield Case("lp_pool2d_backward", (normal(size=norms.shape), x, norms, 2), settings, 9)
    for mode in PAD_MODES:
        x, ends = normal(size=(2, 3, 5, 4)), {"padding": ((2, -1), (3, 6)), "mode": mode}
        yield Case("pad", (x,), ends)
        yield Case("pad_backward", (normal(size=(2, 3, 6, 13)), x), ends, 9)
    for mode in MODES:
        x, how = normal(size=(2, 3, 5, 4)), {"scale_factor": (0.7, 2.3), "mode": mode}
        yield Case("resize", (x,), how, 9)
        yield Case("resize_backward", (normal(size=(2, 3, 3, 9)), x), how, 9)
    for mode in BLOCK_ORDERS:
        yield Case("depth_to_space", (normal(size=(3, 18, 2, 5)), 3, mode))
        yield Case("space_to_depth", (normal(size=(3, 2, 6, 9)), 3, mode))
    for n, inputs, outputs in ((1, 1, 1), (15, 17, 16), (17, 33, 9), (64, 500, 10), (3, 2450, 70)):
        x, weight = normal(size=(n, inputs)), normal(size=(outputs, inputs))
        yield Case("linear", (x, weight, normal(size=outputs)), {}, inputs + 1)
        yield Case("linear_backward", (normal(size=(n, outputs)), x, weight), {}, max(n, outputs))
    for size in (1, 15, 16, 17, 1001):
        x, grad, velocity = normal(size=(3, size)).round(1)
        yield Case("relu", (x,))
        yield Case("relu_backward", (grad, x))
        for name in ("add", "subtract", "multiply"):
            yield Case(name, (x, grad))
        yield Case("dropout", (x,), {"p": 0.3, "seed": 2**63 - 5})
        yield Case("dropout", (np.stack([x] * 7),), {"p": 0.3, "seed": 5, "group": size})
        yield Case("divide", (x, velocity**2 + 0.5))
        yield Case("divide_backward", (grad, velocity**2 + 0.5, x))
        yield Case("affine", (x, 3, -1))
        yield Case("reciprocal", (velocity**2 + 0.5, 3))
        for name in (*CURVES, "sigmoid", "tanh", "leaky_relu"):
            yield Case(name, (x,))
            yield Case(f"{name}_backward", (grad, x))
        yield Case("gelu", (x,), {"approximate": "tanh"})
        yield Case("gelu_backward", (grad, x), {"approximate": "tanh"})
        yield Case("sgd_step", (x, grad, velocity), {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01})
        yield Case("sgd_step", (x, grad, velocity), {"lr": 0.1, "momentum": 0.9, "nesterov": True})
        yield Case("sgd_step", (x, grad, None), {"lr": 0.1})
        for decoupled in (False, True):
            settings = {"step": 3, "lr": 0.1, "beta1": 0.9, "beta2": 0.999, "weight_decay": 0.01}
            yield Case("adam_step", (x, grad, velocity, normal(size=size) ** 2), settings | {"decoupled": decoupled})
        square, mean = normal(size=size) ** 2 + 4, normal(size=size)  # a mean of squares is no less than the mean's
        yield Case("rmsprop_step", (x, grad, square, mean / 2, velocity), {"lr": 0.1, "momentum": 0.9})
        yield Case("rmsprop_step", (x, grad, square, None, None), {"lr": 0.1, "weight_decay": 0.01})
        yield Case("adagrad_step", (x, grad, square), {"step": 3, "lr": 0.1, "lr_decay": 0.1})
        yield Case("lion_step", (x, normal(size=size), mean), {"lr": 0.1, "weight_decay": 0.01})
    for sizes in ((2, 1), (65, 17), (3, 5, 2, 9), (5, 33, 7, 7)):
        x, grad = normal(size=sizes), normal(size=sizes)
        weight, bias, mean = normal(size=(3, sizes[1]))
        terms, var = x.size // sizes[1], weight**2 + 0.5
        yield Case("prelu", (x, weight))
        yield Case("prelu_backward", (grad, x, weight), {}, terms)
        yield Case("prelu_backward", (grad, x, weight[:1]), {}, x.size)
        yield Case("batch_moments", (x,), {}, terms)
        yield Case("batch_norm", (x, mean, var, weight, bias))
        yield Case("group_norm", (x, 1, weight, bias), {}, x[0].size)
        yield Case("group_norm_backward", (grad, x, sizes[1], weight), {}, x.size)
        yield Case("local_response_norm", (x, 4, 0.5, 0.6, 2.0))
        yield Case("local_response_norm_backward", (grad, x, 4, 0.5, 0.6, 2.0), {}, 4)
        yield Case("layer_norm", (x, sizes[1:]), {}, x[0].size)
        yield Case("layer_norm_backward", (grad, x, sizes[-1], normal(size=sizes[-1])), {}, x.size)
        yield Case("batch_norm_backward", (grad, x, mean, var, weight), {}, terms)
    for n, classes in ((1, 2), (17, 10), (5, 33)):
        x = normal(size=(n, classes), scale=5)
        y = reference.softmax(x)
        yield Case("softmax", (x,), {}, classes)
        yield Case("softmax_backward", (normal(size=x.shape), y), {}, classes)
        yield Case("log_softmax", (x,), {}, classes)
        yield Case("log_softmax_backward", (normal(size=x.shape), np.log(y)), {}, classes)
        yield Case("cross_entropy", (x, rng.integers(classes, size=n)), {}, n * classes)
        for name in ("mse_loss", "l1_loss"):
            yield Case(name, (x, normal(size=x.shape)), {}, x.size)
        for settings in ({}, {"from_logits": True}):
            yield Case("binary_cross_entropy", (0.1 + 0.8 * y, reference.sigmoid(x)), settings, x.size)
        yield Case("cross_entropy", (x, reference.softmax(normal(size=x.shape))), {}, n * classes)


def _check_lenet5() -> Outcome:
    """The gradient of LeNet-5's loss along a random direction against a central difference; bits after two steps."""
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(5, 1, 28, 28)), rng.integers(10, size=5)
    model, loss = lenet5(rng=0, dtype=np.float64), CrossEntropyLoss()
    weights = {name: parameter.data for name, parameter in model.parameters().items()}
    start = model.state_dict()
    loss.forward(model.forward(x, training=True), y)
    model.backward(loss.backward(), input_grad=False)
    direction = {name: rng.normal(size=array.shape) for name, array in weights.items()}
    grads = {name: parameter.grad for name, parameter in model.parameters().items()}
    slope = sum(float(np.vdot(direction[name], grad)) for name, grad in grads.items() if grad is not None)
    values, step = [], 1e-7
    for sign in (1, -1):
        for name, array in weights.items():
            array[...] = start[name] + sign * step * direction[name]
        values.append(loss.forward(model.forward(x), y))
    error = abs((values[0] - values[1]) / (2 * step) / slope - 1)
    bits = set()
    for threads in THREADS:
        model.load_state_dict(start)
        trainer = Trainer(model, loss, SGD(0.1, momentum=0.9))
        with using(threads=threads):
            for _ in range(2):
                trainer.train_step(x, y)
        bits.add(b"".join(array.tobytes() for array in weights.values()))
    return Outcome(error, error / 1e-5, len(bits) == 1)
