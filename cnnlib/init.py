"""Initialisation: how weights are drawn, always from an explicit random generator.

======================  ==============================================  =========================================
name                    weights                                         biases
======================  ==============================================  =========================================
``"fan_in_uniform"``    uniform in ±1/√fan_in (PyTorch's default)       the same
``"he_normal"``         normal, σ = √(2/fan_in); for ReLU               0
``"he_uniform"``        uniform in ±√(6/fan_in); for ReLU               0
``"glorot_normal"``     normal, σ = √(2/(fan_in + fan_out))             0
``"glorot_uniform"``    uniform in ±√(6/(fan_in + fan_out))             0
``"zeros"``             0                                               0
======================  ==============================================  =========================================

fan_in and fan_out count the inputs that one output reads and the outputs that one input feeds. Sources: He et al.,
arXiv:1502.01852; Glorot and Bengio, AISTATS 2010.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from math import prod, sqrt
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from cnnlib.errors import ConfigError
from cnnlib.shapes import MOST_ELEMENTS

__all__ = ["DEFAULT", "RNG", "SCHEMES", "as_generator", "check_scheme", "draw", "fill", "undrawn", "zeros"]

RNG: TypeAlias = "np.random.Generator | int | None"  # in quotes: numpy.random is slow to import and may not be needed

DEFAULT = "fan_in_uniform"
SCHEMES = (DEFAULT, "he_normal", "he_uniform", "glorot_normal", "glorot_uniform", "zeros")

# How many numbers a parameter may hold that will come from a file; None: parameters are drawn.
_limit: ContextVar[int | None] = ContextVar("cnnlib_limit", default=None)


def as_generator(rng: RNG) -> np.random.Generator:
    """Return `rng` as a generator: itself, one seeded with it if it is an int, one of fresh entropy if it is None.

    Raises ConfigError for anything else.

    >>> int(as_generator(7).integers(100)) == int(as_generator(7).integers(100))
    True
    """
    if isinstance(rng, np.random.Generator):
        return rng
    if rng is None or (isinstance(rng, (int, np.integer)) and not isinstance(rng, bool) and rng >= 0):
        return np.random.default_rng(rng)
    raise ConfigError(f"rng = {rng!r}: expected a numpy.random.Generator, a seed of at least 0, or None")


def check_scheme(name: str) -> str:
    """Return `name` if it is one of `SCHEMES`, else raise ConfigError."""
    if not isinstance(name, str) or name not in SCHEMES:
        raise ConfigError(f"init = {name!r}: expected one of {', '.join(SCHEMES)}")
    return name


def draw(
    weight: NDArray[Any], bias: NDArray[Any] | None, scheme: str, fan_in: int, fan_out: int, rng: np.random.Generator
) -> None:
    """Fill a layer's `weight` and `bias` in place; the numbers are drawn in float64 and rounded to the arrays' dtype.

    >>> weight = np.empty((3, 4), np.float32)
    >>> draw(weight, None, "he_uniform", fan_in=4, fan_out=3, rng=np.random.default_rng(0))
    >>> bool(np.abs(weight).max() <= (6 / 4) ** 0.5)
    True
    """
    if _limit.get() is not None:
        return
    # A layer without inputs to an output (an empty group) does not exist, so both fans are at least 1.
    fans = fan_in + fan_out if scheme.startswith("glorot") else fan_in
    if scheme.endswith("_normal"):
        weight[...] = rng.normal(0.0, sqrt(2 / fans), weight.shape)
    elif scheme == "zeros":
        weight[...] = 0
    else:
        limit = 1 / sqrt(fans) if scheme == DEFAULT else sqrt(6 / fans)
        weight[...] = rng.uniform(-limit, limit, weight.shape)
    if bias is not None:
        bias[...] = rng.uniform(-limit, limit, bias.shape) if scheme == DEFAULT else 0


def zeros(shape: int | Sequence[int], dtype: DTypeLike) -> NDArray[Any]:
    """Return a new parameter's or buffer's array.

    Raises ConfigError for one that no memory can hold, or that is larger than the file it will come from.

    >>> zeros((10**6, 10**6, 10**6), np.float32)
    Traceback (most recent call last):
    cnnlib.errors.ConfigError: an array of shape (1000000, 1000000, 1000000) cannot be held in memory: check the sizes
    """
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    count, limit = prod(sizes), _limit.get()
    if limit is not None and count > limit:
        raise ConfigError(f"an array of shape {sizes} has more numbers than the file, {limit:,} in all")
    if count > MOST_ELEMENTS:
        raise ConfigError(f"an array of shape {sizes} cannot be held in memory: check the sizes")
    return np.zeros(sizes, dtype)


def fill(parameter: NDArray[Any], value: float) -> None:
    """Fill a parameter that starts at a fixed value; inside `undrawn` it stays as it is."""
    if _limit.get() is None:
        parameter[...] = value


@contextmanager
def undrawn(limit: int) -> Iterator[None]:
    """Leave new parameters at zero inside this context, and let none hold more than `limit` numbers: for layers whose
    weights come from a file, which may announce absurd ones.
    """
    token = _limit.set(limit)
    try:
        yield
    finally:
        _limit.reset(token)
