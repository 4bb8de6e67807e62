"""Activations that are a function of each number: exact, as PyTorch has them, differentiated, at extremes, in plans."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers import assert_close, assert_same_bits_for_any_threads, check_gradient, normal, num_threads, poisoned

from cnnlib import functional, layers, reference
from cnnlib.errors import ConfigError
from cnnlib.model import Sequential
from cnnlib.reference.curves import SELU_ALPHA, SELU_GAMMA
from cnnlib.selftest.kernels import CURVES

Array = np.ndarray
WIDE = np.longdouble
SETTINGS = {
    "hardtanh": ({}, {"min_val": -0.3, "max_val": None}, {"min_val": None, "max_val": 0.4}),
    "gelu": ({}, {"approximate": "tanh"}),
    "elu": ({}, {"alpha": 0.3}),
    "selu": ({}, {"alpha": 0.5, "gamma": 2.0}),
    "softplus": ({}, {"beta": 2.0, "threshold": 1.5}),
    "hardsigmoid": ({}, {"alpha": 0.2, "beta": 0.4}),
}
CALLS = [(name, settings) for name in CURVES for settings in SETTINGS.get(name, ({},))]


def normal_share(x: Array) -> Array:
    """Φ(x) within a unit of double's last place: erfc at the nearest double, and its slope from there on."""
    z = -x / np.sqrt(WIDE(2))
    near = z.astype(np.float64)
    erfc = np.array([math.erfc(value) for value in near], WIDE)
    return (erfc - 2 / math.sqrt(math.pi) * np.exp(-z * z) * (z - near)) / 2


def exact_selu(x: Array) -> Array:
    alpha, gamma = WIDE(SELU_ALPHA), WIDE(SELU_GAMMA)
    return gamma * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def bent(x: Array) -> Array:
    return np.tanh(np.log1p(np.exp(np.minimum(x, 100))))


# The true value, and the largest distance in units of the last place that was measured, rounded up.
EXACT = {
    "elu": (lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))), 2),
    "selu": (exact_selu, 3),
    "gelu": (lambda x: x * normal_share(x), 5),
    "mish": (lambda x: x * bent(x), 4),
    "silu": (lambda x: x / (1 + np.exp(-x)), 4),
    "softplus": (lambda x: np.where(x > 20, x, np.log1p(np.exp(np.minimum(x, 20)))), 4),
    "softsign": (lambda x: x / (1 + np.abs(x)), 2),
}


@pytest.mark.parametrize("name", EXACT)
def test_to_the_last_place(isa, dtype, name) -> None:
    x = np.concatenate([np.linspace(-30, 30, 6001), np.linspace(-1, 1, 2001), np.geomspace(1e-20, 1, 200)])
    x = np.concatenate([x, -x]).astype(dtype)
    if name == "gelu":
        x = x[x > -12]  # further out float32 has no normal numbers
    exact, units = EXACT[name]
    truth = exact(x.astype(WIDE))
    apart = np.abs(getattr(functional, name)(x) - truth) / np.spacing(np.abs(truth).astype(dtype))
    assert apart.max() <= units


@pytest.mark.parametrize("length", [1, 3, 8, 15, 16, 17, 33, 511, 512, 513, 1500])
@pytest.mark.parametrize(("name", "settings"), CALLS, ids=str)
def test_every_length(isa, rng, dtype, name, settings, length) -> None:
    x, grad = 3 * normal(rng, length, dtype=dtype), normal(rng, length, dtype=dtype)
    forward, backward = getattr(functional, name), getattr(functional, f"{name}_backward")
    y = forward(x, **settings, out=poisoned(x.shape, dtype))
    grad_x = backward(grad, x, **settings, out=poisoned(x.shape, dtype))
    wide = x.astype(np.float64), grad.astype(np.float64)
    assert_close(y, getattr(reference, name)(wide[0], **settings), 4)
    assert_close(grad_x, getattr(reference, f"{name}_backward")(wide[1], wide[0], **settings), 16, term=2.0)
    assert y.dtype == grad_x.dtype == dtype
    over = grad.copy()
    np.testing.assert_array_equal(backward(over, x, **settings, out=over), grad_x)
    again = x.copy()
    np.testing.assert_array_equal(backward(grad, again, **settings, out=again), grad_x)
    np.testing.assert_array_equal(forward(x, **settings, out=x), y)


@pytest.mark.parametrize(("name", "settings"), CALLS, ids=str)
def test_definitions_are_differentiated_rightly(rng, name, settings) -> None:
    x = 2 * normal(rng, 5, 7)
    forward, backward = getattr(reference, name), getattr(reference, f"{name}_backward")
    bounds = [bound for bound in (settings.get("min_val", -1), settings.get("max_val", 1)) if bound is not None]
    alpha, beta = settings.get("alpha", 1 / 6), settings.get("beta", 0.5)
    kinks = {
        "hardtanh": bounds,
        "hardsigmoid": [-beta / alpha, (1 - beta) / alpha],
        "hardswish": [-3, 3],
        "softplus": [settings.get("threshold", 20) / settings.get("beta", 1)],
    }.get(name, [0])
    away = np.min([np.abs(x - kink) for kink in kinks], axis=0) > 1e-3
    check_gradient(lambda: forward(x, **settings), lambda g: backward(g, x, **settings), x, where=away)


# PyTorch's hard sigmoid and SELU have no settings.
IN_TORCH = [(name, settings) for name, settings in CALLS if not settings or name not in ("hardsigmoid", "selu")]


@pytest.mark.parametrize(("name", "settings"), IN_TORCH, ids=str)
def test_as_pytorch_has_it(dtype, name, settings) -> None:
    torch = pytest.importorskip("torch")
    # The kinks, too: 0, ±1, ±3.
    x = np.concatenate([np.linspace(-8, 8, 129), np.linspace(-60, 60, 25), [100, 1e5]]).astype(dtype)
    theirs = torch.from_numpy(x.copy()).requires_grad_()
    unbounded = {"min_val": -math.inf, "max_val": math.inf}
    given = {key: unbounded[key] if value is None else value for key, value in settings.items()}
    y = getattr(torch.nn.functional, name)(theirs, **given)
    y.sum().backward()
    short = dtype == np.float32 or name == "hardsigmoid"  # whose slope in PyTorch is 1/6 in float32
    tolerance = {"rtol": 1e-5, "atol": 2e-6} if short else {"rtol": 1e-12, "atol": 1e-14}
    np.testing.assert_allclose(getattr(functional, name)(x, **settings), y.detach().numpy(), **tolerance)
    grad = getattr(functional, f"{name}_backward")(np.ones_like(x), x, **settings)
    np.testing.assert_allclose(grad, theirs.grad.numpy(), **tolerance)


def test_extremes(isa, dtype) -> None:
    huge, inf = np.finfo(dtype).max, np.inf
    x = np.array([-inf, -huge, -1000, -0.0, 0.0, 1000, huge, inf, np.nan], dtype)
    a, nan = -1.0, np.nan
    values = {
        "elu": [a, a, a, 0, 0, 1000, huge, inf, nan],
        "gelu": [nan, 0, 0, 0, 0, 1000, huge, inf, nan],
        "hardsigmoid": [0, 0, 0, 0.5, 0.5, 1, 1, 1, nan],
        "hardswish": [nan, 0, 0, 0, 0, 1000, huge, inf, nan],
        "hardtanh": [-1, -1, -1, 0, 0, 1, 1, 1, nan],
        "mish": [nan, 0, 0, 0, 0, 1000, huge, inf, nan],
        "silu": [nan, 0, 0, 0, 0, 1000, huge, inf, nan],
        "softplus": [0, 0, 0, dtype(math.log(2)), dtype(math.log(2)), 1000, huge, inf, nan],
    }
    slopes = {
        "elu": [0, 0, 0, 1, 1, 1, 1, 1, nan],
        "gelu": [0, 0, 0, 0.5, 0.5, 1, 1, 1, nan],
        "hardswish": [0, 0, 0, 0.5, 0.5, 1, 1, 1, 0],
        "hardtanh": [0, 0, 0, 1, 1, 0, 0, 0, 0],
        "softplus": [0, 0, 0, 0.5, 0.5, 1, 1, 1, nan],
        "softsign": [0, 0, *dtype([1 / 1001]) ** 2, 1, 1, *dtype([1 / 1001]) ** 2, 0, 0, nan],
    }
    for name, expected in values.items():
        np.testing.assert_allclose(getattr(functional, name)(x), np.array(expected, dtype), rtol=1e-6, err_msg=name)
    for name, expected in slopes.items():
        got = getattr(functional, f"{name}_backward")(np.ones_like(x), x)
        np.testing.assert_allclose(got, np.array(expected, dtype), rtol=1e-6, err_msg=name)
    tanh = functional.gelu(x, "tanh"), functional.gelu_backward(np.ones_like(x), x, "tanh")
    np.testing.assert_array_equal(tanh, np.array([values["gelu"], slopes["gelu"]], dtype))


def test_kinks() -> None:
    one = np.ones(1)
    for name, kink, slope in (
        ("elu", 0, 1),
        ("hardtanh", -1, 0),
        ("hardtanh", 1, 0),
        ("hardsigmoid", -3, 0),
        ("hardsigmoid", 3, 0),
        ("hardswish", -3, 0),
        ("hardswish", 3, 1),
    ):
        assert getattr(functional, f"{name}_backward")(one, kink * one)[0] == slope, (name, kink)


@pytest.mark.parametrize("name", CURVES)
def test_same_bits_for_any_threads(isa, rng, dtype, name) -> None:
    x, grad = normal(rng, 3, 8, 61, 67, dtype=dtype), normal(rng, 3, 8, 61, 67, dtype=dtype)
    forward, backward = getattr(functional, name), getattr(functional, f"{name}_backward")
    assert_same_bits_for_any_threads(lambda: (forward(x), backward(grad, x)))
    with num_threads(2):
        np.testing.assert_array_equal(forward(x)[1:2], forward(x[1:2].copy()))


def test_plans_keep_them_in_lanes(isa, rng) -> None:
    model = Sequential(
        layers.Conv2d(2, 4, 3, padding=1, rng=0),
        layers.GELU(),
        layers.Hardtanh(-0.5, None),
        layers.Conv2d(4, 3, 3, rng=1),
        layers.SiLU(),
        input_shape=(2, 8, 7),
    )
    x, dy = normal(rng, 32, 2, 8, 7, dtype=np.float32), normal(rng, 32, 3, 6, 5, dtype=np.float32)
    assert str(model.plan(32)).count("lanes") >= 3
    y = model.forward(x, training=True)
    dx = model.backward(dy)
    alone, back = x, dy
    for layer in (node.layer for node in model.graph.nodes if node.layer is not None):
        alone = layer.forward(alone, training=True)
    for layer in reversed([node.layer for node in model.graph.nodes if node.layer is not None]):
        back = layer.backward(back)
    np.testing.assert_allclose(y, alone, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(dx, back, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.Hardtanh(1, -1), "min_val = 1.0, max_val = -1.0"),
        (lambda: layers.Hardtanh(math.nan), "min_val = nan"),
        (lambda: layers.GELU("fast"), "approximate = 'fast'"),
        (lambda: layers.Softplus(0), "beta = 0"),
        (lambda: layers.ELU("1"), "alpha = '1'"),
        (lambda: functional.hardtanh(np.ones(1), 2, 1), "min_val = 2, max_val = 1"),
        (lambda: functional.gelu(np.ones(1), None), "approximate = None"),
        (lambda: functional.softplus(np.ones(1), -1.0), r"beta = -1\.0"),
    ],
)
def test_impossible_settings_are_refused(make, message) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
