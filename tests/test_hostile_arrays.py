"""Arrays of every unusual kind, for every public function and layer: what docs/arrays.md states for the kind."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cnnlib import functional, reference
from cnnlib.errors import CNNError
from cnnlib.selftest.kernels import CURVES
from tests.calls import GOOD as CALLS
from tests.calls import IN_PLACE
from tests.helpers import Array


class Marked(np.ndarray):
    """A subclass that changes nothing."""


def unaligned(a: Array) -> Array:
    return np.frombuffer(b"\0" + a.tobytes(), np.uint8)[1:].view(a.dtype).reshape(a.shape)


def read_only(a: Array) -> Array:
    b = a.copy()
    b.flags.writeable = False
    return b


def structured(a: Array) -> Array:
    return a.astype([("value", a.dtype)])


# Kind → how it is made of a good array. Those of the first table are as good as their contiguous copy in native order.
TAKEN: dict[str, Callable[[Array], Any]] = {
    "strided": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "reversed": lambda a: a[..., ::-1].copy()[..., ::-1],
    "all reversed": lambda a: np.flip(np.flip(a).copy()),
    "Fortran": np.asfortranarray,
    "stride 0": lambda a: np.broadcast_to(a[..., :1], a.shape),
    "unaligned": unaligned,
    "read-only": read_only,
    "subclass": lambda a: a.view(Marked),
    "NaN": lambda a: np.where(np.arange(a.size).reshape(a.shape) % 3 == 1, a.dtype.type(np.nan), a),
    "infinite": lambda a: np.where(np.arange(a.size).reshape(a.shape) % 3 == 1, a.dtype.type(np.inf), a),
}
MATRIX: dict[str, Callable[[Array], Any]] = {"matrix": lambda a: a.view(np.matrix)}
NO_NUMBERS: dict[str, Callable[[Array], Any]] = {
    "masked": lambda a: np.ma.masked_array(a, np.arange(a.size).reshape(a.shape) % 2 == 0),
    "masked nowhere": lambda a: np.ma.masked_array(a),
    "a list of masked": lambda a: [np.ma.masked_array(part, True) for part in a],
    "objects": lambda a: a.astype(object),
    "text": lambda a: a.astype("U8"),
    "bytes": lambda a: a.astype("S8"),
    "dates": lambda a: a.astype("int64").astype("M8[s]"),
    "structured": structured,
    "complex": lambda a: a.astype(np.complex64),
    "None": lambda a: None,
    "a dict": lambda a: {"x": a},
    "a word": lambda a: "array",
    "a set": lambda a: {1.0},
    "ragged": lambda a: [[1.0], [1.0, 2.0]],
    "a function": lambda a: len,
}
# What models convert by value, and functions and layers refuse.
OTHER_NUMBERS: dict[str, Callable[[Array], Any]] = {
    "byte-swapped": lambda a: a.astype(a.dtype.newbyteorder()),
    "float16": lambda a: a.astype(np.float16),
    "longdouble": lambda a: a.astype(np.longdouble),
    "int64": lambda a: a.astype(np.int64),
    "bool": lambda a: a > 0,
}
EMPTY: dict[str, Callable[[Array], Any]] = {
    f"empty axis {axis}": lambda a, axis=axis: np.zeros((*a.shape[:axis], 0, *a.shape[axis + 1 :])[: a.ndim], a.dtype)
    for axis in range(4)
}
REFUSED = {**NO_NUMBERS, **OTHER_NUMBERS, **EMPTY}


def bits(values: Any) -> list[Any]:
    """Return all that was computed as comparable bytes; a NaN's sign and payload are no part of a result."""
    if isinstance(values, dict):
        values = list(values.values())
    values = values if isinstance(values, (tuple, list)) else [values]
    return [None if v is None else (np.where(np.isnan(v), np.nan, v).tobytes(), np.shape(v)) for v in values]


def outcome(attempt: Callable[[], Any]) -> Any:
    """Return the bits of what is computed, or the error of cnnlib; anything else is raised."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return bits(attempt())
        except CNNError as error:
            return error


def assert_as_its_copy(run: Callable[[Any], Any], odd: Array) -> None:
    plain = np.array(np.asarray(odd), order="C")
    got, wanted = outcome(lambda: run(odd)), outcome(lambda: run(plain))
    assert type(got) is type(wanted), (got, wanted)
    assert isinstance(wanted, CNNError) or got == wanted


def assert_refused(run: Callable[[Any], Any], odd: Any) -> None:
    got = outcome(lambda: run(odd))
    assert isinstance(got, CNNError), f"taken: {got}"


# Functions

RNG = np.random.default_rng(5)
_x = RNG.random((2, 3, 6, 4)).astype(np.float32)
_winners = functional.max_pool2d_winners(_x, 2)[1]
FUNCTIONS: dict[str, tuple[dict[str, tuple[int, ...]], dict[str, Any]]] = {
    **CALLS,
    "max_pool2d_winners": ({"x": (2, 3, 6, 4)}, {"kernel_size": 2}),
    "max_pool2d_winners_backward": (
        {"grad_output": (2, 3, 3, 2)},
        {"winners": _winners, "x_shape": (2, 3, 6, 4), "kernel_size": 2},
    ),
}
ANY_SHAPE = {
    "add",
    "subtract",
    "multiply",
    "divide",
    "divide_backward",
    "affine",
    "reciprocal",
    "relu",
    "sigmoid",
    "tanh",
}
ANY_SHAPE |= {"leaky_relu", "dropout", "relu_backward", "sigmoid_backward", "tanh_backward", "leaky_relu_backward"}
ANY_SHAPE |= {"sgd_step", "adam_step", "rmsprop_step", "adagrad_step", "lion_step"}
MAY_BE_NONE = {("sgd_step", "velocity"), ("rmsprop_step", "m")}
ANY_SHAPE |= {*CURVES, *(f"{name}_backward" for name in CURVES)}
PAIRS = [(name, argument) for name, (arrays, _) in FUNCTIONS.items() for argument in arrays]


def arguments(name: str) -> dict[str, Any]:
    arrays, settings = FUNCTIONS[name]
    values = {key: (0.1 + RNG.random(shape)).astype(np.float32) for key, shape in arrays.items()}
    return {**values, **settings}


def compute(name: str, given: dict[str, Any]) -> list[Any]:
    """Call a function; return what it gives and what it wrote."""
    result = getattr(functional, name)(**given)
    return [*(result if isinstance(result, tuple) else (result,)), *(given[key] for key in given if key in IN_PLACE)]


def runner(name: str, argument: str) -> tuple[Callable[[Any], Any], Array]:
    given = arguments(name)

    def run(odd: Any) -> list[Any]:
        others = {key: value.copy() if key in IN_PLACE else value for key, value in given.items() if key != argument}
        return compute(name, {**others, argument: odd})

    return run, given[argument]


def test_every_public_function_has_a_row() -> None:
    public = {name for name in vars(functional) if callable(getattr(functional, name)) and not name.startswith("_")}
    assert set(FUNCTIONS) | {"as_input", "warp"} == public >= set(functional.__all__)
    for name in FUNCTIONS:
        assert not isinstance(outcome(lambda name=name: compute(name, arguments(name))), CNNError), name


@pytest.mark.parametrize(("name", "argument"), PAIRS)
def test_functions(name: str, argument: str) -> None:
    run, array = runner(name, argument)
    wrong = []
    for kind, make in {**TAKEN, **(MATRIX if array.ndim == 2 else {}), **REFUSED}.items():
        if kind.startswith("empty") and int(kind[-1]) >= array.ndim:
            continue
        if argument in IN_PLACE and kind in (
            "strided",
            "reversed",
            "all reversed",
            "Fortran",
            "stride 0",
            "unaligned",
            "read-only",
        ):
            check: Any = assert_refused if array.ndim > 1 or kind != "Fortran" else assert_as_its_copy
        else:
            check = assert_refused if kind in REFUSED else assert_as_its_copy
        optional = inspect.signature(getattr(functional, name)).parameters[argument].default is None
        if kind == "None" and (optional or (name, argument) in MAY_BE_NONE):
            continue
        if name == "cross_entropy" and argument == "target" and kind in ("int64",):
            continue
        try:
            check(run, make(array))
        except Exception as error:
            wrong.append(f"{kind}: {type(error).__name__}: {str(error)[:150]}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_0_d_arrays(name: str) -> None:
    given = arguments(name)
    scalars = {
        key: np.array(value.reshape(-1)[0]) if key in FUNCTIONS[name][0] else value for key, value in given.items()
    }
    longer = {key: value.reshape(1).copy() if key in FUNCTIONS[name][0] else value for key, value in scalars.items()}
    got = outcome(lambda: compute(name, scalars))
    if name not in ANY_SHAPE:
        assert isinstance(got, CNNError)
    else:
        assert [part and part[0] for part in got] == [
            part and part[0] for part in outcome(lambda: compute(name, longer))
        ]


# Settings: every argument that is no array

BAD: list[Any] = [
    None,
    "x",
    "",
    {},
    [],
    object(),
    len,
    -1,
    0,
    1,
    2,
    3,
    True,
    False,
    1.5,
    0.5,
    float("nan"),
    float("inf"),
    -0.5,
]
BAD += [
    2**31,
    2**63,
    2**70,
    -(2**70),
    10**400,
    (1, 2),
    (1, 2, 3),
    (),
    [1, 1],
    np.array(2),
    np.array([1, 2]),
    np.int8(2),
    np.float32(1),
]
BAD += [b"x", 1j, (None, None), ("a", "b"), (True, True, True), (0.5, 2), np.bool_(True), slice(None), _x, (2, 3, 6, 4)]


def settings(function: Any, skip: set[str]) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name not in skip]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_settings_of_functions(name: str) -> None:
    """Each is refused by an error of cnnlib, or the result is the reference's."""
    function, twin = getattr(functional, name), getattr(reference, name, None)
    wrong = []
    for setting in settings(function, set(FUNCTIONS[name][0])):
        for bad in BAD:
            given = {**arguments(name), setting: bad}
            copies = {key: value.copy() if isinstance(value, np.ndarray) else value for key, value in given.items()}
            try:
                got = outcome(lambda given=given: compute(name, given))
                if isinstance(got, CNNError) or twin is None or setting in ("out", "needs"):
                    continue
                with np.errstate(all="ignore"), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    try:
                        expected = twin(**copies)
                    except Exception:  # the reference is not strict, and fails as NumPy does
                        continue
                for value, wanted in zip(
                    compute(name, given), expected if isinstance(expected, tuple) else (expected,), strict=False
                ):
                    if wanted is not None:
                        np.testing.assert_allclose(value, wanted, rtol=1e-3, atol=1e-5)
            except Exception as error:
                wrong.append(f"{setting} = {str(bad)[:40]!r}: {type(error).__name__}: {str(error)[:120]!r}")
    assert not wrong, "\n".join(wrong)
