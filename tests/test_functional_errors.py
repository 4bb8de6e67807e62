"""Bad arguments of every array function: an error of cnnlib that names the argument, or, if it can work, it works."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cnnlib import functional, reference
from cnnlib.errors import CNNError, ConfigError, DataError, DTypeError, ShapeError
from cnnlib.selftest.kernels import CURVES
from tests.calls import GOOD, IN_PLACE, Array, call, good, some

ARGUMENTS = [(name, argument) for name, (arrays, _) in GOOD.items() for argument in arrays]
INPUTS = [pair for pair in ARGUMENTS if pair[1] not in IN_PLACE]
WRITTEN = [pair for pair in ARGUMENTS if pair[1] in IN_PLACE]
WITH_OUT = [name for name in GOOD if not name.endswith("_step") and name != "batch_moments"]


def assert_refused(
    error: type[CNNError] | tuple[type[CNNError], ...], words: list[str], attempt: Callable[[], Any]
) -> None:
    with pytest.raises(error) as caught:
        attempt()
    missing = [word for word in words if word not in str(caught.value)]
    assert not missing, f"{missing} not in: {caught.value}"


def test_every_function_is_in_the_table() -> None:
    assert set(GOOD) == set(reference.__all__) - {"as_input"}
    for name in GOOD:
        call(name, good(name))


@pytest.mark.parametrize(("name", "argument"), ARGUMENTS)
@pytest.mark.parametrize(
    "wrong", [np.int64, np.uint8, bool, np.float16, np.longdouble, np.complex64, object, ">f4", ">f8", "U4"], ids=str
)
def test_wrong_dtype(name, argument, wrong) -> None:
    arguments = good(name)
    arguments[argument] = arguments[argument].astype(wrong)
    assert_refused(DTypeError, [argument, str(np.dtype(wrong)), "float32"], lambda: call(name, arguments))


@pytest.mark.parametrize(("name", "argument"), [pair for pair in ARGUMENTS if len(GOOD[pair[0]][0]) > 1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_mixed_precision(name, argument, dtype) -> None:
    arguments = good(name, dtype)
    arguments[argument] = arguments[argument].astype(np.float64 if dtype == np.float32 else np.float32)
    assert_refused(DTypeError, ["float32", "float64"], lambda: call(name, arguments))


# The batch of these is free, so that a longer array is a good one.
IMAGES = ["conv2d", "conv_transpose2d", "max_pool2d", "avg_pool2d", "lp_pool2d", "depth_to_space", "space_to_depth"]
FREE = [(name, "x") for name in (*IMAGES, "linear", "prelu", "batch_norm", "group_norm")]
EVERYWHERE = ["pad", "resize", "relu", "sigmoid", "tanh", "leaky_relu", "softmax", "log_softmax"]
EVERYWHERE += ["batch_moments", "affine", "reciprocal", "dropout", "layer_norm", "local_response_norm"]
ANY_SHAPE = [(name, "x") for name in (*CURVES, *EVERYWHERE)]


@pytest.mark.parametrize(("name", "argument"), [pair for pair in ARGUMENTS if pair not in ANY_SHAPE])
@pytest.mark.parametrize("change", ["rank + 1", "rank - 1", "longer"])
def test_wrong_shape(name, argument, change) -> None:
    arguments = good(name)
    array = arguments[argument]
    changed = {"rank + 1": array[None], "rank - 1": array[0], "longer": np.concatenate([array, array])}[change]
    arguments[argument] = changed
    if change == "longer" and (name, argument) in FREE:
        assert len(call(name, arguments)[0]) == len(changed)
    elif name == "cross_entropy" and argument == "target" and change == "rank - 1":  # taken for labels
        assert_refused(DTypeError, ["target", "float32"], lambda: call(name, arguments))
    else:
        words = [str(len(changed)) if argument == "weight" and change == "longer" else str(changed.shape)]
        assert_refused(ShapeError, words, lambda: call(name, arguments))


@pytest.mark.parametrize(("name", "argument"), INPUTS)
@pytest.mark.parametrize("kind", ["strided", "reversed", "fortran", "read-only", "unaligned"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_unusual_inputs_work(name, argument, kind, dtype) -> None:
    arguments = good(name, dtype)
    array = arguments[argument]
    if kind == "strided":
        odd = np.repeat(array, 2, axis=-1)[..., ::2]
    elif kind == "reversed":
        odd = array[..., ::-1].copy()[..., ::-1]
    elif kind == "fortran":
        odd = np.asfortranarray(array)
    elif kind == "read-only":
        odd = array.copy()
        odd.flags.writeable = False
    else:
        odd = np.frombuffer(b"\0" + array.tobytes(), np.uint8)[1:].view(dtype).reshape(array.shape)
    written = {key: value.copy() for key, value in arguments.items() if key in IN_PLACE}
    expected = call(name, {**arguments, **{key: value.copy() for key, value in written.items()}})
    actual = call(name, {**arguments, **written, argument: odd})
    for got, wanted in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(got, wanted)
    np.testing.assert_array_equal(odd, array)


@pytest.mark.parametrize("name", WITH_OUT)
def test_lists_of_floats_are_float64_arrays(name) -> None:
    arguments = good(name, np.float64)
    expected = call(name, arguments)
    lists = {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in arguments.items()}
    for got, wanted in zip(call(name, lists), expected, strict=True):
        np.testing.assert_array_equal(got, wanted)
        assert got.dtype == np.float64


def out_like(name: str, arguments: dict[str, Any]) -> tuple[Array, ...]:
    """Return arrays that are right for `out`, one for each that the function takes."""
    result = getattr(functional, name)(**arguments)
    results = result if isinstance(result, tuple) else (result,)
    results = results[1:] if isinstance(results[0], float) else results
    return tuple(np.zeros_like(array) for array in results)


def bad_outs(fit: Array, arguments: dict[str, Any]) -> dict[str, tuple[Any, type[CNNError]]]:
    read_only = fit.copy()
    read_only.flags.writeable = False
    wide = np.zeros((*fit.shape[:-1], 2 * fit.shape[-1]), fit.dtype)
    unaligned = np.zeros(fit.nbytes + 1, np.uint8)[1:].view(fit.dtype).reshape(fit.shape)
    return {
        "read-only": (read_only, CNNError),
        "strided": (wide[..., ::2], CNNError),
        "reversed": (fit[..., ::-1], CNNError),
        "unaligned": (unaligned, CNNError),
        "shape": (np.zeros((*fit.shape, 2), fit.dtype), ShapeError),
        "longer": (np.concatenate([fit, fit]), ShapeError),
        "float64": (fit.astype(np.float64), DTypeError),
        "int32": (fit.view(np.int32), DTypeError),
        "byte-swapped": (fit.astype(">f4"), DTypeError),
        "list": (fit.tolist(), CNNError),
    }


@pytest.mark.parametrize("name", WITH_OUT)
def test_unfit_out(name) -> None:
    arguments = good(name)
    fits = out_like(name, arguments)
    for position, fit in enumerate(fits):
        for kind, (bad, error) in bad_outs(fit, arguments).items():
            outs = tuple(bad if i == position else None for i in range(len(fits)))
            out = outs if len(fits) > 1 else bad
            words = ["out", str(bad.shape), str(fit.shape)] if error is ShapeError else ["out"]
            try:
                assert_refused(error, words, lambda out=out: call(name, {**arguments, "out": out}))
            except BaseException as failure:
                raise AssertionError(f"{name}, out[{position}] {kind}: {failure!r}") from failure


@pytest.mark.parametrize("name", WITH_OUT)
def test_out_may_not_overlap_an_input(name) -> None:
    """Half over an input is wrong for all functions; only element-wise ones may write exactly over it."""
    arguments = good(name)
    fits = out_like(name, arguments)
    for argument in GOOD[name][0]:
        for position, fit in enumerate(fits):
            array = arguments[argument]
            memory = np.zeros(array.size + fit.size, np.float32)
            memory[: array.size] = array.ravel()
            over = memory[array.size // 2 :][: fit.size].reshape(fit.shape)
            outs = tuple(over if i == position else None for i in range(len(fits)))
            overlapping = {**arguments, argument: memory[: array.size].reshape(array.shape)}
            overlapping["out"] = outs if len(fits) > 1 else over
            assert_refused(CNNError, ["out", "overlap"], lambda again=overlapping: call(name, again))


def test_outs_may_not_overlap_each_other() -> None:
    arguments = good("linear_backward")
    memory = np.zeros(20, np.float32)
    outs = (memory.reshape(4, 5), memory[:15].reshape(3, 5), None)
    assert_refused(CNNError, ["out", "overlap"], lambda: call("linear_backward", {**arguments, "out": outs}))


@pytest.mark.parametrize(("name", "argument"), WRITTEN)
@pytest.mark.parametrize("kind", ["read-only", "strided", "list"])
def test_what_is_written_in_place_must_be_a_plain_array(name, argument, kind) -> None:
    arguments = good(name)
    array = arguments[argument]
    if kind == "read-only":
        array.flags.writeable = False
    elif kind == "strided":
        arguments[argument] = np.repeat(array, 2, axis=-1)[..., ::2]
    else:
        arguments[argument] = array.tolist()
    assert_refused(CNNError, [argument], lambda: call(name, arguments))


@pytest.mark.parametrize("name", GOOD)
def test_empty_batch(name) -> None:
    arguments = good(name)
    for key, value in arguments.items():
        if isinstance(value, np.ndarray) and key not in {"weight", "bias"}:
            arguments[key] = value[:0]
        elif key == "x":
            arguments[key] = (0, *value[1:])
    assert_refused((ShapeError, DataError), ["empty", "(0, "], lambda: call(name, arguments))


# A NaN there chooses where the gradient goes; slopes are not used for the positive x of a good call.
NAN_STOPS = {(f"{name}_backward", "x") for name in ("max_pool2d", "relu", "leaky_relu")}
NAN_STOPS |= {(f"{name}_backward", "x") for name in ("hardsigmoid", "hardswish", "hardtanh")}
NAN_STOPS |= {("prelu", "weight"), ("prelu_backward", "weight")}


@pytest.mark.parametrize("name", GOOD)
def test_nan_passes_through(name) -> None:
    for argument in GOOD[name][0]:
        arguments = good(name)
        arguments[argument].fill(np.nan)
        call(name, arguments)
        if (name, argument) not in NAN_STOPS:
            assert any(np.isnan(result).any() for result in call(name, arguments)), argument


SPECIFIC = [
    ("conv2d", {"x": some(2, 3, 6, 5)}, ShapeError, ["(2, 3, 6, 5)", "(6, 2, 3, 3)", "3", "4"]),
    ("conv2d", {"bias": some(5)}, ShapeError, ["bias", "(5,)", "(6,)"]),
    ("conv2d", {"x": some(2, 4, 6, 0)}, ShapeError, ["x", "(2, 4, 6, 0)"]),
    ("conv2d", {"x": some(2, 0, 6, 5)}, ShapeError, ["x", "(2, 0, 6, 5)"]),
    ("conv2d", {"weight": some(0, 2, 3, 3)}, ShapeError, ["weight", "(0, 2, 3, 3)"]),
    ("conv2d", {"weight": some(6, 2, 9, 3)}, ShapeError, ["height 6", "kernel 9"]),
    ("conv2d", {"groups": 4}, ShapeError, ["groups=4", "(6, 2, 3, 3)"]),
    ("conv2d", {"groups": 0}, ConfigError, ["groups"]),
    ("conv2d", {"groups": 2.0}, ConfigError, ["groups"]),
    ("conv2d", {"stride": 0}, ConfigError, ["stride"]),
    ("conv2d", {"stride": (1, 2, 3)}, ConfigError, ["stride", "(1, 2, 3)"]),
    ("conv2d", {"stride": 1.5}, ConfigError, ["stride", "1.5"]),
    ("conv2d", {"dilation": -1}, ConfigError, ["dilation"]),
    ("conv2d", {"dilation": 2**30}, ShapeError, ["height 6", "dilation"]),
    ("conv2d", {"padding": -1}, ConfigError, ["padding"]),
    ("conv2d", {"padding": "valid"}, ConfigError, ["padding", "valid"]),
    ("conv2d", {"padding": "same", "stride": 2}, ConfigError, ["padding", "stride"]),
    ("conv2d", {"padding": 2**40}, ConfigError, ["padding"]),
    ("conv2d", {"padding": 2**30}, ShapeError, ["padding", "large"]),
    ("conv2d_backward", {"grad_output": some(2, 6, 4, 4)}, ShapeError, ["grad_output", "(2, 6, 4, 4)", "(2, 6, 4, 3)"]),
    ("conv2d_backward", {"grad_output": some(2, 5, 4, 3)}, ShapeError, ["grad_output", "(2, 5, 4, 3)", "(2, 6, 4, 3)"]),
    ("linear", {"x": some(4, 6)}, ShapeError, ["(4, 6)", "(3, 5)", "6"]),
    ("linear", {"bias": some(4)}, ShapeError, ["bias", "(4,)", "(3,)"]),
    ("linear", {"weight": some(0, 5)}, ShapeError, ["weight", "(0, 5)"]),
    ("linear_backward", {"grad_output": some(4, 2)}, ShapeError, ["grad_output", "(4, 2)", "(4, 3)"]),
    ("relu_backward", {"grad_output": some(5, 4)}, ShapeError, ["grad_output", "(5, 4)", "(4, 5)"]),
    ("sigmoid_backward", {"grad_output": some(5, 4)}, ShapeError, ["grad_output", "(5, 4)", "(4, 5)"]),
    ("prelu", {"x": some(4)}, ShapeError, ["x", "(4,)", "(N, C)"]),
    ("prelu", {"weight": some(2)}, ShapeError, ["weight", "(2,)", "(3,)"]),
    ("batch_moments", {"x": some(4)}, ShapeError, ["x", "(4,)", "(N, C)"]),
    ("batch_norm", {"var": some(4)}, ShapeError, ["var", "(4,)", "(3,)"]),
    ("softmax", {"x": some(4, 0)}, ShapeError, ["x", "(4, 0)"]),
    ("softmax", {"x": some(4)}, ShapeError, ["dim = 1", "(4,)"]),
    ("log_softmax", {"dim": 2}, ShapeError, ["dim = 2", "(4, 5)"]),
    ("log_softmax", {"dim": 1.0}, ConfigError, ["dim = 1.0"]),
    ("softmax_backward", {"grad_output": some(4, 6)}, ShapeError, ["grad_output", "(4, 6)", "(4, 5)"]),
    ("cross_entropy", {"target": np.array([0, 1, 5, 2])}, DataError, ["target", "5"]),
    ("cross_entropy", {"target": np.array([0, -1, 3, 2])}, DataError, ["target", "-1"]),
    ("cross_entropy", {"target": np.array([0, 2**63, 3, 2], np.uint64)}, DataError, ["target"]),
    ("cross_entropy", {"target": np.array([0.0, 1, 2, 3])}, DTypeError, ["target", "float64", "integer"]),
    ("cross_entropy", {"target": np.array([True, False, True, True])}, DTypeError, ["target", "bool"]),
    ("cross_entropy", {"target": np.array([0, 1, 2])}, (ShapeError, DataError), ["target", "(3,)", "4"]),
    ("cross_entropy", {"target": some(4, 4)}, ShapeError, ["target", "(4, 4)", "(4, 5)"]),
    ("cross_entropy", {"target": np.eye(4, 5, dtype=int)}, DTypeError, ["target", "int64"]),
    ("dropout", {"p": 1}, ConfigError, ["p = 1"]),
    ("dropout", {"p": np.nan}, ConfigError, ["p = nan"]),
    ("dropout", {"seed": -1}, ConfigError, ["seed = -1"]),
    ("dropout", {"seed": 2**64}, ConfigError, ["seed"]),
    ("dropout", {"group": 3}, ShapeError, ["(4, 5)", "20", "groups of 3"]),
    ("dropout", {"group": 0}, ConfigError, ["group = 0"]),
    ("sgd_step", {"velocity": None}, ConfigError, ["velocity", "momentum"]),
    ("sgd_step", {"grad": some(4, 3)}, ShapeError, ["grad", "(4, 3)", "(3, 4)"]),
    ("adam_step", {"m": some(4, 3)}, ShapeError, ["m", "(4, 3)", "(3, 4)"]),
    ("adam_step", {"step": 0}, CNNError, ["step"]),
    ("rmsprop_step", {"velocity": None}, ConfigError, ["velocity", "momentum"]),
    ("rmsprop_step", {"alpha": 1.0}, ConfigError, ["alpha"]),
    ("adagrad_step", {"step": 0}, CNNError, ["step"]),
    ("adagrad_step", {"lr_decay": -1}, ConfigError, ["lr_decay"]),
    ("lion_step", {"beta2": 1}, ConfigError, ["beta2"]),
]


@pytest.mark.parametrize(
    ("name", "changes", "error", "words"), SPECIFIC, ids=lambda value: value if isinstance(value, str) else ""
)
def test_refused(name, changes, error, words) -> None:
    assert_refused(error, words, lambda: call(name, {**good(name), **changes}))


def test_a_refused_call_writes_nothing() -> None:
    param, grad, velocity = some(3), some(3), some(4)
    before = param.copy()
    with pytest.raises(ShapeError):
        functional.sgd_step(param, grad, velocity, 0.1, 0.9)
    np.testing.assert_array_equal(param, before)


@pytest.mark.parametrize(
    ("name", "argument"),
    [("sgd_step", "velocity"), ("adam_step", "m"), ("adam_step", "v"), ("rmsprop_step", "m"), ("lion_step", "m")],
)
def test_optimizer_state_may_not_be_the_parameter(name, argument) -> None:
    arguments = good(name)
    arguments[argument] = arguments["param"]
    assert_refused(CNNError, [argument, "overlap"], lambda: call(name, arguments))
