"""Activations that bend, bound or lift each number, and their gradients. Any shape; `out` may be either array.

Values are within 4 units of the last place of the true ones (hardsigmoid: of 1), but e^-|x| counts as 0 below the
normal numbers.
"""

from __future__ import annotations

import math

from cnnlib import _kernels
from cnnlib.arrays import number
from cnnlib.errors import ConfigError
from cnnlib.functional.shared import curve, curve_backward
from cnnlib.reference import Array
from cnnlib.reference.curves import SELU_ALPHA, SELU_GAMMA

__all__ = [
    "bounds",
    "elu",
    "elu_backward",
    "hardsigmoid",
    "hardsigmoid_backward",
    "hardtanh",
    "hardtanh_backward",
    "positive",
    "selu",
    "selu_backward",
    "softplus",
    "softplus_backward",
    "softsign",
    "softsign_backward",
]


def elu(x: Array, alpha: float = 1.0, *, out: Array | None = None) -> Array:
    """Return x where x > 0, else alpha·(e^x - 1).

    >>> import numpy as np
    >>> elu(np.array([-1000.0, 0.0, 2.0]), 0.5).tolist()
    [-0.5, 0.0, 2.0]
    """
    return curve(_kernels.ELU, x, out, number(alpha, "alpha"), 1.0)


def elu_backward(grad_output: Array, x: Array, alpha: float = 1.0, *, out: Array | None = None) -> Array:
    """Return grad_output where x > 0, else grad_output·alpha·e^x.

    >>> import numpy as np
    >>> elu_backward(np.array([4.0, 4.0, 4.0]), np.array([-1000.0, 0.0, 2.0]), 0.5).tolist()
    [0.0, 2.0, 4.0]
    """
    return curve_backward(_kernels.ELU, grad_output, x, out, number(alpha, "alpha"), 1.0)


def selu(x: Array, alpha: float = SELU_ALPHA, gamma: float = SELU_GAMMA, *, out: Array | None = None) -> Array:
    """Return gamma·x where x > 0, else gamma·alpha·(e^x - 1).

    >>> import numpy as np
    >>> selu(np.array([-1000.0, 0.0, 2.0]), 0.5, 2.0).tolist()
    [-1.0, 0.0, 4.0]
    """
    return curve(_kernels.ELU, x, out, number(alpha, "alpha") * number(gamma, "gamma"), float(gamma))


def selu_backward(
    grad_output: Array, x: Array, alpha: float = SELU_ALPHA, gamma: float = SELU_GAMMA, *, out: Array | None = None
) -> Array:
    """Return grad_output·gamma where x > 0, else grad_output·gamma·alpha·e^x.

    >>> import numpy as np
    >>> selu_backward(np.array([4.0, 4.0, 4.0]), np.array([-1000.0, 0.0, 2.0]), 0.5, 2.0).tolist()
    [0.0, 4.0, 8.0]
    """
    return curve_backward(
        _kernels.ELU, grad_output, x, out, number(alpha, "alpha") * number(gamma, "gamma"), float(gamma)
    )


def softplus(x: Array, beta: float = 1.0, threshold: float = 20.0, *, out: Array | None = None) -> Array:
    """Return log(1 + e^(beta·x))/beta, or x itself where beta·x > threshold.

    >>> import numpy as np
    >>> softplus(np.array([-1000.0, 0.0, 1000.0])).round(6).tolist()
    [0.0, 0.693147, 1000.0]
    """
    return curve(_kernels.SOFTPLUS, x, out, positive(beta, "beta"), number(threshold, "threshold"))


def softplus_backward(
    grad_output: Array, x: Array, beta: float = 1.0, threshold: float = 20.0, *, out: Array | None = None
) -> Array:
    """Return grad_output/(1 + e^(-beta·x)), or grad_output itself where beta·x > threshold.

    >>> import numpy as np
    >>> softplus_backward(np.array([4.0, 4.0, 4.0]), np.array([-1000.0, 0.0, 1000.0])).tolist()
    [0.0, 2.0, 4.0]
    """
    return curve_backward(
        _kernels.SOFTPLUS, grad_output, x, out, positive(beta, "beta"), number(threshold, "threshold")
    )


def softsign(x: Array, *, out: Array | None = None) -> Array:
    """Return x/(1 + |x|).

    >>> import numpy as np
    >>> softsign(np.array([-1.0, 0.0, 3.0])).tolist()
    [-0.5, 0.0, 0.75]
    """
    return curve(_kernels.SOFTSIGN, x, out)


def softsign_backward(grad_output: Array, x: Array, *, out: Array | None = None) -> Array:
    """Return grad_output/(1 + |x|)².

    >>> import numpy as np
    >>> softsign_backward(np.array([4.0, 4.0, 4.0]), np.array([-1.0, 0.0, 3.0])).tolist()
    [1.0, 4.0, 0.25]
    """
    return curve_backward(_kernels.SOFTSIGN, grad_output, x, out)


def hardtanh(x: Array, min_val: float | None = -1.0, max_val: float | None = 1.0, *, out: Array | None = None) -> Array:
    """Return min(max(x, min_val), max_val), without a bound that is None.

    >>> import numpy as np
    >>> hardtanh(np.array([-2.0, 0.5, 2.0]), None, 1.0).tolist()
    [-2.0, 0.5, 1.0]
    """
    return curve(_kernels.HARDTANH, x, out, *bounds(min_val, max_val))


def hardtanh_backward(
    grad_output: Array, x: Array, min_val: float | None = -1.0, max_val: float | None = 1.0, *, out: Array | None = None
) -> Array:
    """Return grad_output where min_val < x < max_val, else 0.

    >>> import numpy as np
    >>> hardtanh_backward(np.array([4.0, 4.0, 4.0]), np.array([-2.0, 0.5, 2.0]), None, 1.0).tolist()
    [4.0, 4.0, 0.0]
    """
    return curve_backward(_kernels.HARDTANH, grad_output, x, out, *bounds(min_val, max_val))


def hardsigmoid(x: Array, alpha: float = 1 / 6, beta: float = 0.5, *, out: Array | None = None) -> Array:
    """Return min(max(alpha·x + beta, 0), 1).

    >>> import numpy as np
    >>> hardsigmoid(np.array([-3.0, 0.0, 2.0]), 0.25, 0.5).tolist()
    [0.0, 0.5, 1.0]
    """
    return curve(_kernels.HARDSIGMOID, x, out, number(alpha, "alpha"), number(beta, "beta"))


def hardsigmoid_backward(
    grad_output: Array, x: Array, alpha: float = 1 / 6, beta: float = 0.5, *, out: Array | None = None
) -> Array:
    """Return alpha·grad_output where 0 < alpha·x + beta < 1, else 0.

    >>> import numpy as np
    >>> hardsigmoid_backward(np.array([4.0, 4.0, 4.0]), np.array([-3.0, 0.0, 2.0]), 0.25, 0.5).tolist()
    [0.0, 1.0, 0.0]
    """
    return curve_backward(_kernels.HARDSIGMOID, grad_output, x, out, number(alpha, "alpha"), number(beta, "beta"))


def bounds(min_val: float | None, max_val: float | None) -> tuple[float, float]:
    """Return the two bounds, infinite where there is none; ConfigError if they are the wrong way round."""
    low = -math.inf if min_val is None else number(min_val, "min_val")
    high = math.inf if max_val is None else number(max_val, "max_val")
    if not low <= high:
        raise ConfigError(f"min_val = {min_val!r}, max_val = {max_val!r}: expected min_val <= max_val")
    return low, high


def positive(value: float, name: str) -> float:
    """Return a number above 0; ConfigError, naming it, for any other."""
    found = number(value, name)
    if not 0 < found < math.inf:
        raise ConfigError(f"{name} = {value!r}: expected a positive number")
    return found
