"""Activations that are x times a gate between 0 and 1, and their gradients. Any shape; `out` may be either array.

Values are within 5 units of the last place of the true ones, but e^-|x| counts as 0 below the normal numbers, and GELU
by tanh is less exact far below 0 than its gate is small.
"""

from __future__ import annotations

from typing import Literal

from cnnlib import _kernels
from cnnlib.errors import ConfigError
from cnnlib.functional.shared import curve, curve_backward
from cnnlib.reference import Array

__all__ = [
    "check_approximate",
    "gelu",
    "gelu_backward",
    "hardswish",
    "hardswish_backward",
    "mish",
    "mish_backward",
    "silu",
    "silu_backward",
]

_GELUS = {"none": _kernels.GELU, "tanh": _kernels.GELU_TANH}


def gelu(x: Array, approximate: Literal["none", "tanh"] = "none", *, out: Array | None = None) -> Array:
    """Return x Φ(x), where Φ is the normal distribution, or, with "tanh", ½ x (1 + tanh(√(2/π) (x + 0.044715 x³))).

    >>> import numpy as np
    >>> gelu(np.array([-1000.0, 0.0, 1.0])).round(6).tolist()
    [-0.0, 0.0, 0.841345]
    """
    return curve(_GELUS[check_approximate(approximate)], x, out)


def gelu_backward(
    grad_output: Array, x: Array, approximate: Literal["none", "tanh"] = "none", *, out: Array | None = None
) -> Array:
    """Return grad_output·(Φ(x) + x φ(x)), φ being Φ's density, or what "tanh" puts in its place.

    >>> import numpy as np
    >>> gelu_backward(np.array([4.0, 4.0, 4.0]), np.array([-1000.0, 0.0, 1000.0])).tolist()
    [0.0, 2.0, 4.0]
    """
    return curve_backward(_GELUS[check_approximate(approximate)], grad_output, x, out)


def silu(x: Array, *, out: Array | None = None) -> Array:
    """Return x/(1 + e^-x), which is x sigmoid(x).

    >>> import numpy as np
    >>> silu(np.array([-1000.0, 0.0, 1000.0])).tolist()
    [-0.0, 0.0, 1000.0]
    """
    return curve(_kernels.SILU, x, out)


def silu_backward(grad_output: Array, x: Array, *, out: Array | None = None) -> Array:
    """Return grad_output·(s + x s (1 - s)) with s = sigmoid(x).

    >>> import numpy as np
    >>> silu_backward(np.array([4.0, 4.0, 4.0]), np.array([-1000.0, 0.0, 1000.0])).tolist()
    [0.0, 2.0, 4.0]
    """
    return curve_backward(_kernels.SILU, grad_output, x, out)


def mish(x: Array, *, out: Array | None = None) -> Array:
    """Return x tanh(log(1 + e^x)).

    >>> import numpy as np
    >>> mish(np.array([-1000.0, 0.0, 1000.0])).tolist()
    [-0.0, 0.0, 1000.0]
    """
    return curve(_kernels.MISH, x, out)


def mish_backward(grad_output: Array, x: Array, *, out: Array | None = None) -> Array:
    """Return grad_output·(t + x sigmoid(x) (1 - t²)) with t = tanh(log(1 + e^x)).

    >>> import numpy as np
    >>> mish_backward(np.array([4.0, 4.0, 4.0]), np.array([-1000.0, 0.0, 1000.0])).round(6).tolist()
    [0.0, 2.4, 4.0]
    """
    return curve_backward(_kernels.MISH, grad_output, x, out)


def hardswish(x: Array, *, out: Array | None = None) -> Array:
    """Return x min(max(x + 3, 0), 6)/6.

    >>> import numpy as np
    >>> hardswish(np.array([-3.0, 0.0, 1.5, 9.0])).tolist()
    [-0.0, 0.0, 1.125, 9.0]
    """
    return curve(_kernels.HARDSWISH, x, out)


def hardswish_backward(grad_output: Array, x: Array, *, out: Array | None = None) -> Array:
    """Return grad_output times 0 where x ≤ -3, x/3 + ½ between, 1 where x ≥ 3.

    >>> import numpy as np
    >>> hardswish_backward(np.array([4.0, 4.0, 4.0]), np.array([-3.0, 0.0, 3.0])).tolist()
    [0.0, 2.0, 4.0]
    """
    return curve_backward(_kernels.HARDSWISH, grad_output, x, out)


def check_approximate(approximate: Literal["none", "tanh"]) -> Literal["none", "tanh"]:
    """Return which GELU is asked for; ConfigError if there is no such one."""
    if not isinstance(approximate, str) or approximate not in _GELUS:
        raise ConfigError(f"approximate = {approximate!r}: expected 'none' or 'tanh'")
    return approximate
